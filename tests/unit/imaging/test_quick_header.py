"""The quick reader says what pydicom's reader says, or nothing."""

from __future__ import annotations

import random

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.core.errors import StudyError
from dicom_node.imaging import encoded as encoded_module
from dicom_node.imaging.encoded import Header, read_header
from dicom_node.imaging.header import read_facts
from dicom_node.imaging.quick_header import quick_header
from tests.factories.received_objects import encoded, radiograph

SYNTAXES = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]


def _rich(syntax: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "51185008", "SCT", "Chest"
    ds = radiograph(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Jörg",
        AccessionNumber="",
        AnatomicRegionSequence=Sequence([code]),
        RequestAttributesSequence=Sequence([]),
        ImageType=["ORIGINAL", "PRIMARY"],
        PixelSpacing=[0.7, 0.7],
    )
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def _slow(data: bytes, syntax: str, monkeypatch: pytest.MonkeyPatch) -> Header:
    with monkeypatch.context() as patch:
        patch.setattr(encoded_module, "quick_header", lambda *_args, **_kwargs: None)
        return read_header(data, syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_ordinary_object_is_read_quickly_with_the_same_facts(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(_rich(syntax))
    assert quick_header(data, implicit=syntax == SYNTAXES[1]) is not None
    quick, slow = read_header(data, syntax), _slow(data, syntax, monkeypatch)
    assert (quick.has_pixel_data, quick.truncated) == (slow.has_pixel_data, slow.truncated) == (True, False)
    facts = read_facts(quick.dataset, has_pixel_data=True)
    assert facts == read_facts(slow.dataset, has_pixel_data=True)
    assert (facts.patient_name.reveal(), facts.anatomic_regions) == ("Müller^Jörg", ("51185008",))
    assert quick.dataset.to_json_dict() == slow.dataset.to_json_dict()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_damaged_bytes_are_read_as_pydicom_reads_them(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = random.Random(20261121)
    whole = encoded(_rich(syntax))[:1500]
    same = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(noise.randint(1, 4)):
            damaged[noise.randrange(len(damaged))] = noise.choice([0, 1, 2, 8, 0xFF, noise.randrange(256)])
        data = bytes(damaged[: noise.choice([len(damaged), noise.randrange(len(damaged))])])
        try:
            expected = _slow(data, syntax, monkeypatch)
        except StudyError:
            with pytest.raises(StudyError):
                read_header(data, syntax)
            continue
        found = read_header(data, syntax)
        assert (found.has_pixel_data, found.truncated) == (expected.has_pixel_data, expected.truncated)
        assert read_facts(found.dataset, has_pixel_data=True) == read_facts(expected.dataset, has_pixel_data=True)
        same += 1
    assert same > 50


def test_what_is_not_ordinary_is_left_to_pydicom() -> None:
    data = encoded(_rich(SYNTAXES[0]))
    assert quick_header(data, implicit=True) is None  # another encoding than is said
    assert quick_header(data[:200], implicit=False) is None  # the pixels are not here
    assert quick_header(data[12:36] + data, implicit=False) is None  # elements out of order
    assert quick_header(bytes(64), implicit=True) is None
