"""Pixel data: every transfer syntax is decoded or refused by name, and grey values mean what the header says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.core.abstentions import REASONS
from dicom_node.core.errors import PixelDataError, StudyError
from dicom_node.imaging.grayscale import MultiFrame, NotGrayscale, grayscale
from dicom_node.imaging.pixels import (
    MAX_PIXELS,
    MatrixSize,
    UnsupportedTransferSyntax,
    lossless_pixels,
    read_dataset,
    stored_values,
)
from models.phantoms.dicom import as_radiograph, to_bytes
from tests.factories.phantom_dicom import picture

RAMP = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))


def ramp(**elements: Any) -> Dataset:
    return as_radiograph(RAMP, **elements)


def test_every_file_that_pydicom_ships_is_decoded_or_refused_with_a_known_reason() -> None:
    folder = Path(pydicom.data.__file__).parent / "test_files"  # by path: asking by name would download
    files = [str(f) for f in sorted(folder.glob("*.dcm")) if f.stat().st_size < 3_000_000]
    assert len(files) > 50
    decoded, refusals = 0, []
    for file in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, about the odd files
            try:
                ds = read_dataset(file)
                image = grayscale(ds)
            except StudyError as error:
                refusals.append((error.code, str(error)))
                continue
        assert image.values.shape == (ds.Rows, ds.Columns), file
        assert image.values.dtype == np.float32, file
        assert np.isfinite(image.values).all(), file
        assert 0 <= image.values.min() <= image.values.max() <= 1, file
        decoded += 1
    assert decoded > 15
    assert len(refusals) > 15
    assert all(code in REASONS and text.endswith(".") for code, text in refusals)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, ExplicitVRBigEndian])
def test_a_losslessly_compressed_twin_has_the_same_stored_values(tmp_path: Path, syntax: str) -> None:
    ds = as_radiograph(picture(side=128), bits_stored=12)
    expected = lossless_pixels(ds)
    if syntax == ExplicitVRBigEndian:
        ds["PixelData"].value = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        (tmp_path / "twin.dcm").write_bytes(to_bytes(ds))
        ds = read_dataset(tmp_path / "twin.dcm")
    else:
        ds.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(lossless_pixels(ds), expected)


def test_jpeg_lossless_and_uncompressed_of_one_exposure_decode_to_the_same_values() -> None:
    raw, compressed = (get_testdata_file(name) for name in ("MR_small.dcm", "MR_small_jp2klossless.dcm"))
    assert np.array_equal(lossless_pixels(read_dataset(str(raw))), lossless_pixels(read_dataset(str(compressed))))


def test_a_retired_syntax_is_refused_by_name() -> None:
    ds = ramp()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.53"
    with pytest.raises(UnsupportedTransferSyntax, match=r"1\.2\.840\.10008\.1\.2\.4\.53"):
        grayscale(ds)


def test_twelve_bit_jpeg_extended_is_read_with_its_own_decoder_or_refused_by_name() -> None:
    ds = read_dataset(str(get_testdata_file("JPEG-lossy.dcm")))
    assert ds.file_meta.TransferSyntaxUID == JPEGExtended12Bit
    with pytest.raises(UnsupportedTransferSyntax, match="JPEG Extended"):
        grayscale(ds)


def test_a_missing_transfer_syntax_is_refused() -> None:
    ds = ramp()
    del ds.file_meta.TransferSyntaxUID
    with pytest.raises(UnsupportedTransferSyntax):
        stored_values(ds)


def test_monochrome1_is_inverted_so_that_dense_is_bright() -> None:
    one, two = grayscale(ramp(monochrome1=True)), grayscale(ramp())
    assert one.values == pytest.approx(two.values, abs=1e-3)
    assert one.record["inverted"] is True
    assert one.values[0, 0] < one.values[0, -1]


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "flagged"),
    [
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME1", "INVERSE", True, False),
        ("MONOCHROME2", "INVERSE", True, True),
        ("MONOCHROME1", "IDENTITY", True, True),
        ("MONOCHROME1", None, True, False),
        ("MONOCHROME2", None, False, False),
    ],
)
def test_presentation_lut_shape_inverts_once(photometric: str, shape: str | None, inverted: bool, flagged: bool) -> None:
    image = grayscale(ramp(PhotometricInterpretation=photometric, PresentationLUTShape=shape))
    assert image.record["inverted"] is inverted
    assert (image.values[0, 0] > image.values[0, -1]) is np.True_ or not inverted
    assert ("polarity_contradiction" in image.flags) is flagged


def test_the_first_window_is_used_and_clips() -> None:
    image = grayscale(ramp(WindowCenter=["1024", "3000"], WindowWidth=["1024", "10"]))
    assert image.window == "window"
    values = image.values[0]
    assert values[int(64 * 512 / 4095) - 1] == 0
    assert values[int(64 * 1600 / 4095)] == 1
    assert values[16] == pytest.approx(((16 / 63) * 4095 - 512) / 1023, abs=0.02)


def test_a_sigmoid_window_is_a_half_at_its_centre() -> None:
    image = grayscale(ramp(WindowCenter="2047", WindowWidth="1000", VOILUTFunction="SIGMOID"))
    assert image.values[0, 31:33].mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("window", [{"WindowWidth": "0"}, {"WindowCenter": "90000", "WindowWidth": "10"}, {"WindowWidth": "-5"}])
def test_an_unusable_window_falls_back_to_percentiles_and_is_flagged(window: dict[str, str]) -> None:
    image = grayscale(ramp(**window))
    assert image.window == "percentiles"
    assert "window_unusable" in image.flags
    assert image.values.max() == 1


def test_without_any_window_percentiles_are_used() -> None:
    assert grayscale(ramp(WindowCenter=None, WindowWidth=None)).window == "percentiles"


def test_a_voi_lut_goes_before_the_window() -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.LUTData = list(range(65535, 65535 - 4096 * 15, -15))
    image = grayscale(ramp(VOILUTSequence=[item]))
    assert image.window == "voi_lut"
    assert image.values[0, 0] == 1
    assert image.values[0, -1] == 0


def test_rescale_is_applied_before_the_window() -> None:
    image = grayscale(ramp(RescaleSlope="2", RescaleIntercept="-1000", WindowCenter="3095", WindowWidth="8191"))
    assert image.values[0, 0] == pytest.approx(0, abs=1e-3)
    assert image.values[0, -1] == pytest.approx(1, abs=1e-3)


def test_bits_beside_the_stored_ones_are_cut_away_and_signs_extended() -> None:
    stored = np.arange(-2048, 2048, 64, dtype=np.int16).reshape(8, 8)
    raw = (stored.astype(np.uint16) & 0x0FFF) | 0xF000
    ds = as_radiograph(np.zeros((8, 8), np.float32), PixelData=raw.astype("<u2").tobytes(), PixelRepresentation=1)
    assert np.array_equal(lossless_pixels(ds), stored)
    shifted = as_radiograph(np.zeros((8, 8), np.float32), PixelData=((raw & 0x0FFF) << 4).astype("<u2").tobytes(), HighBit=15)
    assert np.array_equal(lossless_pixels(shifted), (stored.astype(np.uint16) & 0x0FFF))


def test_padding_is_black_and_does_not_move_the_percentiles() -> None:
    ds = ramp(WindowCenter=None, WindowWidth=None, PixelPaddingValue=0)
    values = np.frombuffer(ds.PixelData, "<u2").reshape(48, 64).copy()
    values[:, :20] = 0
    values[:, 20:] -= 100
    ds.PixelData = values.tobytes()
    image = grayscale(ds)
    assert image.record["padding"] is True
    assert image.values[:, :20].max() == 0
    assert image.values[0, 20] < 0.05


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"PixelData": None}, PixelDataError),
        ({"PixelData": b""}, PixelDataError),
        ({"PixelData": b"\0" * 100}, PixelDataError),
        ({"Rows": 20}, PixelDataError),
        ({"Rows": 0}, MatrixSize),
        ({"Rows": 60000, "Columns": 60000}, MatrixSize),
        ({"NumberOfFrames": "3"}, MultiFrame),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, NotGrayscale),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, NotGrayscale),
        ({"PhotometricInterpretation": None}, PixelDataError),
        ({"BitsStored": 17}, PixelDataError),
        ({"BitsAllocated": None}, PixelDataError),
        ({"HighBit": 3}, PixelDataError),
    ],
)
def test_broken_pixel_descriptions_are_named_errors(changes: dict[str, Any], error: type[StudyError]) -> None:
    with pytest.raises(error):
        grayscale(ramp(**changes))


def test_missing_but_harmless_elements_are_taken_by_their_only_sense() -> None:
    expected = grayscale(ramp()).values
    gone = ramp(SamplesPerPixel=None, PixelRepresentation=None, HighBit=None, RescaleSlope=None, RescaleIntercept=None)
    assert np.array_equal(grayscale(gone).values, expected)


def test_a_cut_off_jpeg_is_an_error_not_half_a_picture() -> None:
    ds = as_radiograph(picture(side=128))
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]
    with pytest.raises(PixelDataError):
        grayscale(ds)


def test_a_cut_off_file_is_an_error(tmp_path: Path) -> None:
    whole = to_bytes(as_radiograph(picture(side=128)))
    for share in (0.1, 0.5, 0.95):
        path = tmp_path / f"{share}.dcm"
        path.write_bytes(whole[: int(len(whole) * share)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(StudyError):
                grayscale(read_dataset(path))


def test_a_bare_data_set_without_file_meta_is_read(tmp_path: Path) -> None:
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        ds = as_radiograph(picture(side=128))
        ds.file_meta.TransferSyntaxUID = syntax
        data = to_bytes(ds)
        path = tmp_path / "bare"
        path.write_bytes(data[_end_of_meta(data) :])
        assert np.array_equal(grayscale(read_dataset(path)).values, grayscale(ds).values)


def test_what_is_no_dicom_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("This is a note, and a rather long one, so that there are bytes enough to look at. " * 4)
    with pytest.raises(PixelDataError):
        read_dataset(path)


def test_the_limit_of_pixels_holds_before_anything_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 10
    with pytest.raises(MatrixSize):
        grayscale(ramp(Rows=side, Columns=side))


def _end_of_meta(data: bytes) -> int:
    """Where group 0002 ends: 0 when there is neither preamble nor file meta."""
    if data[128:132] != b"DICM":
        return 0
    return 144 + int.from_bytes(data[140:144], "little")
