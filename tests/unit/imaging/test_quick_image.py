"""Ordinary images are read as pydicom reads them; everything else is left to pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_node.imaging.pixels import read_dataset, stored_values
from dicom_node.imaging.quick_image import quick_image
from models.phantoms.ct import thorax
from models.phantoms.ct_dicom import as_series


@pytest.fixture(scope="module")
def slice_() -> Dataset:
    return as_series(thorax(5, slices=3, size=32))[1]


def file_of(data_set: Dataset, syntax: str, path: Path) -> Path:
    data_set.file_meta.TransferSyntaxUID = syntax
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    data_set.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_ordinary_image_is_what_pydicom_reads(slice_: Dataset, syntax: str, tmp_path: Path) -> None:
    path = file_of(slice_, syntax, tmp_path / "image.dcm")
    found, theirs = quick_image(path.read_bytes()), read_dataset(path)
    assert found is not None
    assert list(found) == list(theirs)
    np.testing.assert_array_equal(stored_values(found)[0], stored_values(theirs)[0])
    assert stored_values(found)[1] == stored_values(theirs)[1]


def test_padding_behind_the_pixels_is_left_out(slice_: Dataset, tmp_path: Path) -> None:
    path = file_of(slice_, ExplicitVRLittleEndian, tmp_path / "image.dcm")
    found = quick_image(path.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0\0\0\0\0")
    assert found is not None
    assert found.PixelData == slice_.PixelData


def test_what_is_not_ordinary_is_left_to_pydicom(slice_: Dataset, tmp_path: Path) -> None:
    whole = file_of(slice_, ExplicitVRLittleEndian, tmp_path / "image.dcm").read_bytes()
    assert quick_image(whole[:-10]) is None  # cut off
    assert quick_image(whole[132:]) is not None  # no preamble, but file meta
    assert quick_image(b"") is None
    deflated = file_of(slice_, DeflatedExplicitVRLittleEndian, tmp_path / "deflated.dcm")
    assert quick_image(deflated.read_bytes()) is None
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_.compress(RLELossless)
    slice_.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    assert quick_image((tmp_path / "rle.dcm").read_bytes()) is None
