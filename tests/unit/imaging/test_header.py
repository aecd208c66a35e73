"""From a header to facts: odd values are unknown, never an error."""

from __future__ import annotations

import io
import random
import struct
import time
import warnings
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.core.errors import StudyError, UnsupportedInstance
from dicom_node.core.study import HeaderFacts
from dicom_node.imaging import encoded as encoded_module
from dicom_node.imaging.encoded import read_header
from dicom_node.imaging.header import read_facts, read_instance
from tests.factories.received_objects import encoded, part10, radiograph

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


def element(group: int, number: int, vr: str, value: bytes) -> bytes:
    """Encode one element, explicit little endian, whatever sense it makes."""
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value


def facts_of(*elements: bytes) -> HeaderFacts:
    return read_facts(read_header(b"".join(elements), EXPLICIT).dataset)


def item(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def test_facts_of_a_plain_radiograph() -> None:
    facts = read_facts(radiograph(Modality="DX", ImageType=["DERIVED", "PRIMARY"], PixelSpacing=["0.14", "0.15"]))
    assert facts.patient_id.reveal() == "PID-1"
    assert facts.patient_name.reveal() == "DOE^JOHN"
    assert (facts.modality, facts.view_position, facts.body_part) == ("DX", "PA", "CHEST")
    assert facts.image_type == ("DERIVED", "PRIMARY")
    assert facts.pixel_spacing_mm == (0.14, 0.15)
    assert (facts.rows, facts.columns, facts.bits_stored, facts.has_pixel_data) == (16, 16, 12, True)
    assert not facts.made_by_this_node


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_facts_are_the_same_in_every_native_encoding(syntax: str) -> None:
    ds = radiograph(NumberOfFrames="1", PixelSpacing=["0.14", "0.15"])
    expected = read_facts(ds)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        data = packer.compress(encoded(ds)) + packer.flush()
    else:
        ds.file_meta.TransferSyntaxUID = syntax
        data = encoded(ds)
    header = read_header(data, syntax)
    assert header.has_pixel_data
    assert not header.truncated
    assert read_facts(header.dataset, has_pixel_data=header.has_pixel_data) == expected


def test_everything_absent_is_unknown() -> None:
    assert read_facts(Dataset()) == HeaderFacts()


def test_everything_empty_is_unknown() -> None:
    ds = radiograph()
    for found in list(ds):
        ds[found.tag] = DataElement(found.tag, found.VR, None)
    assert read_facts(ds) == HeaderFacts()


def test_values_that_break_their_representation_are_unknown_or_plain_text_and_print_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        facts = facts_of(
            element(0x0008, 0x0020, "DA", b"2026.1.1"),
            element(0x0008, 0x002A, "DT", b"yesterday "),
            element(0x0010, 0x0010, "PN", b"SECRET^NAME^A^B^C^D^E^F=G=H=I "),
            element(0x0010, 0x1010, "AS", b"46"),
            element(0x0018, 0x1164, "DS", b"a\\b "),
            element(0x0020, 0x0013, "IS", b"first "),
            element(0x0028, 0x0008, "IS", b"many"),
            element(0x0028, 0x0010, "IS", b"512 "),
            element(0x0028, 0x0011, "US", b"\x01"),
            element(0x0028, 0x0030, "DS", b"0.1,0.1 "),
        )
    assert facts.study_date == "2026.1.1"
    assert facts.acquisition_datetime == ""
    assert facts.imager_pixel_spacing_mm == facts.pixel_spacing_mm == ()
    assert facts.instance_number == "first"
    assert facts.frames is None
    assert facts.rows == 512
    assert facts.columns is None
    assert not [str(warning.message) for warning in caught if "SECRET" in str(warning.message)]
    assert "SECRET" not in "".join(capsys.readouterr())


def test_one_value_is_taken_where_a_sender_wrote_several() -> None:
    facts = facts_of(element(0x0010, 0x0020, "LO", b"A\\B "), element(0x0028, 0x0010, "US", struct.pack("<2H", 7, 8)))
    assert facts.patient_id.reveal() == "A"
    assert facts.rows == 7


def test_numbers_of_unknown_representation_are_read_by_the_dictionary() -> None:
    unknown = struct.pack("<HH2sHI", 0x0028, 0x0010, b"UN", 0, 2) + struct.pack("<H", 300)
    assert facts_of(unknown).rows == 300


@pytest.mark.parametrize("spacing", ["0\\0", "-1\\1"])
def test_a_spacing_that_cannot_be_meant_is_kept_as_written(spacing: str) -> None:
    facts = facts_of(element(0x0028, 0x0030, "DS", spacing.encode().ljust(6)))
    assert len(facts.pixel_spacing_mm) == 2
    assert min(facts.pixel_spacing_mm) <= 0


@pytest.mark.parametrize(
    ("charset", "raw", "name"),
    [
        (b"", b"DOE^JOHN", "DOE^JOHN"),
        (b"ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        (b"ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
        (b"ISO_IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
        (b"ISO_IR 127", "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار"),
        (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        (b"ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東"),
        (
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        (b"NO_SUCH_SET", b"DOE^JOHN", "DOE^JOHN"),
    ],
)
def test_names_are_decoded_with_all_component_groups(charset: bytes, raw: bytes, name: str) -> None:
    def even(value: bytes) -> bytes:
        return value + b" " * (len(value) % 2)

    facts = facts_of(element(0x0008, 0x0005, "CS", even(charset)), element(0x0010, 0x0010, "PN", even(raw)))
    assert facts.patient_name.reveal() == name


def test_view_and_region_also_come_from_code_sequences() -> None:
    ds = radiograph(
        ViewPosition=None,
        BodyPartExamined=None,
        ViewCodeSequence=Sequence([item(CodeValue="399348003", CodingSchemeDesignator="SCT", CodeMeaning="PA")]),
        AnatomicRegionSequence=Sequence([item(CodeValue="51185008"), item(LongCodeValue="L" * 20), Dataset()]),
    )
    facts = read_facts(ds)
    assert facts.view_codes == ("399348003",)
    assert facts.anatomic_regions == ("51185008", "L" * 20)
    assert facts.view_position == facts.body_part == ""


def test_two_accessions_of_a_grouped_procedure_keep_their_order_and_stand_once() -> None:
    requests = Sequence([item(AccessionNumber="B"), item(AccessionNumber="A"), item(AccessionNumber="B"), Dataset()])
    facts = read_facts(radiograph(RequestAttributesSequence=requests))
    assert [accession.reveal() for accession in facts.requested_accessions] == ["B", "A"]


@pytest.mark.parametrize(
    ("elements", "moment"),
    [
        ({"AcquisitionDateTime": "20260102030405.6+0530"}, "20260102030405.600000"),
        ({"AcquisitionDateTime": "20260102"}, "20260102000000.000000"),
        ({"AcquisitionDate": "20260102", "AcquisitionTime": "0304"}, "20260102030400.000000"),
        ({"AcquisitionDate": "2026.01.02", "AcquisitionTime": "03:04:05"}, "20260102030405.000000"),
        ({"AcquisitionTime": "030405"}, ""),
    ],
)
def test_acquisition_moment(elements: dict[str, str], moment: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        facts = read_facts(radiograph(**elements))
    assert facts.acquisition_datetime == moment


def test_references_of_documents_and_presentation_states_are_found() -> None:
    image = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.2.3.4")
    evidence = item(ReferencedSeriesSequence=Sequence([item(ReferencedSOPSequence=Sequence([image]))]))
    document = radiograph("sr", CurrentRequestedProcedureEvidenceSequence=Sequence([evidence]))
    state = radiograph("pr", ReferencedSeriesSequence=Sequence([item(ReferencedImageSequence=Sequence([image]))]))
    assert read_facts(document).references == read_facts(state).references == ("1.2.3.4",)


def test_what_this_node_made_is_known_by_its_model_name() -> None:
    assert read_facts(radiograph(ManufacturerModelName="dicom-node")).made_by_this_node
    assert not read_facts(radiograph(ManufacturerModelName="dicom-node 2000")).made_by_this_node


def test_a_damaged_sequence_is_unknown() -> None:
    broken = struct.pack("<HH2sHI", 0x0054, 0x0220, b"SQ", 0, 6) + b"abcdef"
    assert facts_of(broken).view_codes == ()


def test_random_damage_gives_facts_or_a_plain_error() -> None:
    """Whatever bytes come, the answer is facts or StudyError, never another exception."""
    data, noise = bytearray(encoded(radiograph())), random.Random(7)
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(noise.randint(1, 8)):
            damaged[noise.randrange(len(damaged) - 520)] = noise.randrange(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_facts(read_header(bytes(damaged), noise.choice([EXPLICIT, IMPLICIT, BIG])).dataset)
            outcomes.add("facts")
        except StudyError:
            outcomes.add("error")
    assert "facts" in outcomes


def test_a_header_cut_off_anywhere_is_called_truncated_or_unreadable() -> None:
    data = encoded(radiograph(PixelData=None, SpecificCharacterSet=None))
    whole = read_header(data, EXPLICIT)
    assert not whole.truncated
    ends = {0}
    for found in whole.dataset.values():
        ends.add(found.value_tell + found.length)
    for size in range(1, len(data)):
        if size not in ends:  # cut between two elements, it is a whole, shorter data set
            assert read_header(data[:size], EXPLICIT).truncated, size


def test_zeros_after_the_last_element_are_padding() -> None:
    data = encoded(radiograph(PixelData=None))
    assert not read_header(data + b"\0", EXPLICIT).truncated
    assert read_header(data + b"\x28\0", EXPLICIT).truncated


def test_elements_out_of_order_are_not_a_truncation() -> None:
    data = element(0x0028, 0x0010, "US", b"\x07\0") + element(0x0010, 0x0020, "LO", b"AB")
    header = read_header(data, EXPLICIT)
    assert not header.truncated
    assert read_facts(header.dataset).rows == 7
    assert read_header(data[:-1], EXPLICIT).truncated


def test_a_nul_inside_a_text_is_dropped() -> None:
    assert facts_of(element(0x0010, 0x0020, "LO", b"A\0B ")).patient_id.reveal() == "AB"


def test_a_deflated_object_is_unpacked_only_as_far_as_a_header_may_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels behind that are left packed; a header that goes on behind it is refused."""
    monkeypatch.setattr(encoded_module, "MAX_INFLATED_BYTES", 1000)
    packer = zlib.compressobj(wbits=-15)
    header = read_header(packer.compress(encoded(radiograph()) + bytes(100_000)) + packer.flush(), DEFLATED)
    assert (header.has_pixel_data, header.truncated) == (True, False)
    assert read_facts(header.dataset).modality == "CR"
    packer = zlib.compressobj(wbits=-15)
    private = bytes.fromhex("09000110") + b"UT\0\0" + (100_000).to_bytes(4, "little")
    endless = element(0x0008, 0x0060, "CS", b"CR") + private + bytes(100_000)
    with pytest.raises(StudyError, match="more than"):
        read_header(packer.compress(endless) + packer.flush(), DEFLATED)


@pytest.mark.parametrize("vr", ["FD", "UL"])
def test_a_character_set_in_another_value_representation_is_no_valid_header(vr: str) -> None:
    """The library wants to convert it at once and cannot."""
    with pytest.raises(StudyError, match="not valid DICOM"):
        read_header(element(0x0008, 0x0005, vr, b"ISO_IR 192") + encoded(radiograph(SpecificCharacterSet=None)), EXPLICIT)


def test_an_empty_element_of_an_unknown_value_representation_is_an_unknown_value() -> None:
    facts = facts_of(element(0x0008, 0x0060, "CS", b"CR") + element(0x0028, 0x0011, "ZZ", b""))
    assert (facts.modality, facts.columns) == ("CR", None)


def test_a_header_of_millions_of_elements_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros are empty elements, eight bytes each; also inside a sequence."""
    monkeypatch.setattr(encoded_module, "MAX_READS", 2000)
    with pytest.raises(StudyError, match="does not end"):
        read_header(encoded(radiograph(PixelData=None)) + bytes(80_000), EXPLICIT)
    opening = bytes.fromhex("08004011") + b"SQ\0\0" + b"\xff" * 4 + bytes.fromhex("feff00e0") + b"\xff" * 4
    with pytest.raises(StudyError, match="does not end"):
        read_header(encoded(radiograph(PixelData=None)) + opening + bytes(80_000), EXPLICIT)


@pytest.mark.parametrize("nested", [False, True])
def test_a_list_of_character_sets_without_end_is_refused_in_time(nested: bool) -> None:
    """Each unknown one costs the library a warning."""
    endless = element(0x0008, 0x0005, "CS", b"\\X" * 20_000)
    if nested:
        endless = bytes.fromhex("08004011") + b"SQ\0\0" + b"\xff" * 4 + bytes.fromhex("feff00e0") + b"\xff" * 4 + endless
    began = time.process_time()
    with pytest.raises(StudyError, match="does not end"):
        read_header(endless + encoded(radiograph(SpecificCharacterSet=None, PixelData=None)), EXPLICIT)
    assert time.process_time() - began < 2


# --- files --------------------------------------------------------------------------------------------------------------


def test_a_part_10_file_and_its_bare_data_set_are_the_same_instance(tmp_path: Path) -> None:
    ds = radiograph()
    (tmp_path / "a").write_bytes(part10(ds))
    (tmp_path / "b").write_bytes(encoded(ds))
    a, b = read_instance(tmp_path / "a"), read_instance(tmp_path / "b")
    assert (a.sop_instance_uid, a.digest, a.facts, a.transfer_syntax_uid) == (b.sop_instance_uid, b.digest, b.facts, EXPLICIT)
    assert a.sop_instance_uid == ds.SOPInstanceUID
    assert Path(a.path) == (tmp_path / "a").resolve()


def test_a_group_length_that_lies_does_not_move_the_data_set(tmp_path: Path) -> None:
    content = bytearray(part10(radiograph()))
    content[140:144] = struct.pack("<I", 9999)
    (tmp_path / "a").write_bytes(part10(radiograph()))
    (tmp_path / "b").write_bytes(bytes(content))
    assert read_instance(tmp_path / "a").digest == read_instance(tmp_path / "b").digest


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello, this is a text file of some length\n" * 9, "not a DICOM file"),
        (b"\0" * 128 + b"DICM", "cut off"),
        (encoded(radiograph(StudyInstanceUID=None)), "no Study Instance UID"),
        (encoded(radiograph(PixelData=None))[:-3], "cut off"),
    ],
)
def test_what_is_no_usable_file_is_said_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(StudyError, match=words):
        read_instance(tmp_path / "x")


def test_a_missing_file_and_a_folder_are_said_in_words(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(StudyError, match="cannot be opened"):
            read_instance(path)


def test_a_dicomdir_is_said_to_be_a_table_of_contents() -> None:
    with pytest.raises(UnsupportedInstance, match="DICOMDIR"):
        read_instance(Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests" / "DICOMDIR")


def test_facts_agree_with_pydicom_on_its_own_files() -> None:
    checked = 0
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                facts = read_instance(path).facts
            except StudyError:
                continue
            ds = pydicom.dcmread(io.BytesIO(path.read_bytes()), force=True)
            assert facts.patient_id.reveal() == str(ds.get("PatientID", "") or "").strip(), path
            assert facts.patient_name.reveal() == str(ds.get("PatientName", "") or "").rstrip("="), path
            assert (facts.rows, facts.columns) == (ds.get("Rows"), ds.get("Columns")), path
            assert facts.has_pixel_data == ("PixelData" in ds and bool(ds.PixelData)) or "FloatPixelData" in ds, path
        checked += 1
    assert checked > 50
