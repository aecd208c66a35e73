"""From pixel data to stored values (PS3.5 8.1.1): decode any transfer syntax, or raise an error that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGExtended12Bit, RLELossless

from dicom_node.core.errors import PixelDataError, UnsupportedInstance

#: Twice the largest stitched radiograph that detectors make; above it a header lies, or an attacker asks for all our memory.
MAX_PIXELS = 100_000_000

#: Tried in this order. gdcm is fastest for JPEG lossless; any of them may be absent.
_PLUGINS = ("gdcm", "pyjpegls", "pylibjpeg", "pillow", "pydicom")

_JPEG_END = b"\xff\xd9"  # EOI and EOC: the last two bytes of every JPEG, JPEG-LS and JPEG 2000 stream


class UnsupportedTransferSyntax(UnsupportedInstance):
    """No decoder here for this compression."""

    code = "unsupported_transfer_syntax"


class MatrixSize(UnsupportedInstance):
    """Rows or Columns zero, or far more pixels than a radiograph has."""

    code = "matrix_size"


def read_dataset(path: Path | str) -> Dataset:
    """Read a Part 10 file, or a bare data set (its transfer syntax is then guessed from the first bytes).

    Raises
    ------
    PixelDataError
        The bytes are not DICOM.
    """
    try:
        try:
            return dcmread(path)
        except InvalidDicomError:
            ds = dcmread(path, force=True)
    except (EOFError, ValueError, NotImplementedError, OverflowError, AttributeError, TypeError, KeyError) as error:
        raise PixelDataError(f"The file is not readable as DICOM ({type(error).__name__}): it is damaged.") from error
    if "SOPClassUID" not in ds:
        raise PixelDataError("The file is not DICOM: there is neither a Part 10 header nor a SOP Class UID.")
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        ds.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )
    return ds


def stored_values(ds: Dataset) -> tuple[NDArray[Any], dict[str, Any]]:
    """Decode the pixel data without changing a value.

    Returns
    -------
    tuple
        The stored values: (rows, columns), (frames, rows, columns), each with a last axis of samples if there are several; integer,
        only the bits that Bits Stored and High Bit name. And what was done: ``transfer_syntax``, ``decoder``.

    Raises
    ------
    UnsupportedInstance
        No decoder for the compression, a matrix size that cannot be meant, a depth that is not 8, 16 or 32 bits.
    PixelDataError
        No pixel data, cut off, longer than the matrix, or not decodable.
    """
    rows, columns, frames, samples = image_matrix(ds)
    allocated = _whole(ds, "BitsAllocated", None)
    if allocated not in (8, 16, 32):
        raise UnsupportedInstance(f"Bits Allocated is {allocated}; a radiograph has 8, 16 or 32.")
    stored = _whole(ds, "BitsStored", allocated)
    high = _whole(ds, "HighBit", stored - 1)
    signed = _whole(ds, "PixelRepresentation", 0)
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated or signed not in (0, 1):
        raise PixelDataError(f"Bits Stored {stored}, High Bit {high} and Bits Allocated {allocated} contradict each other.")
    if "PixelData" not in ds or not ds.PixelData:
        raise PixelDataError("The object has no pixel data.")
    uid = UID(str(getattr(ds.file_meta, "TransferSyntaxUID", "") or ""))
    data = bytes(ds.PixelData)
    options = {
        "rows": rows,
        "columns": columns,
        "number_of_frames": frames,
        "samples_per_pixel": samples,
        "photometric_interpretation": str(ds.get("PhotometricInterpretation", "") or "MONOCHROME2"),
        "pixel_representation": signed,
        "bits_allocated": allocated,
        "bits_stored": stored,
        "pixel_keyword": "PixelData",
        "pixel_vr": ds["PixelData"].VR if ds["PixelData"].VR in ("OB", "OW") else "OW",
        "planar_configuration": _whole(ds, "PlanarConfiguration", 0),
    }
    if not uid.is_valid or not uid.is_transfer_syntax:
        raise UnsupportedTransferSyntax("The transfer syntax is missing or unknown.")
    containers = not uid.is_encapsulated or uid == RLELossless  # whole containers: what lies beside the stored bits is cut below
    if containers:
        options["bits_stored"] = allocated
    values, decoder = _compressed(data, uid, options) if uid.is_encapsulated else _native(data, uid, options)
    record = {"transfer_syntax": str(uid), "decoder": decoder, "bits_stored": stored, "signed": bool(signed)}
    return _only_stored_bits(values, allocated, stored, high, bool(signed), containers=containers), record


def lossless_pixels(ds: Dataset) -> NDArray[Any]:
    """Return the stored values, to compare two objects: a JPEG-lossless twin equals the raw one. Errors as ``stored_values``."""
    return stored_values(ds)[0]


def is_lossy(ds: Dataset, transfer_syntax: str) -> bool:
    """Say whether the picture lost something to compression, now or earlier (PS3.3 C.7.6.1.1.5)."""
    lossy_syntaxes = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
    return str(ds.get("LossyImageCompression", "") or "").strip() == "01" or transfer_syntax in lossy_syntaxes


def image_matrix(ds: Dataset) -> tuple[int, int, int, int]:
    rows, columns = _whole(ds, "Rows", 0), _whole(ds, "Columns", 0)
    frames, samples = _whole(ds, "NumberOfFrames", 1) or 1, _whole(ds, "SamplesPerPixel", 1) or 1
    if "PixelData" not in ds and not rows and not columns:
        raise PixelDataError("The object has no pixel data.")
    if rows <= 0 or columns <= 0 or frames <= 0:
        raise MatrixSize(f"The image matrix is {rows} x {columns}.")
    if rows * columns * frames * samples > MAX_PIXELS:
        raise MatrixSize(f"The image matrix is {rows} x {columns} with {frames} frames: too large to be read here.")
    return rows, columns, frames, samples


def _whole(ds: Dataset, keyword: str, default: int | None) -> int:
    value = ds.get(keyword)
    if value is None or value == "":
        value = default
    if value is None:
        raise PixelDataError(f"{keyword} is missing.")
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise PixelDataError(f"{keyword} is not one whole number.") from error


def _native(data: bytes, uid: UID, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    row = options["columns"] * options["samples_per_pixel"] * options["bits_allocated"] // 8
    expected = row * options["rows"] * options["number_of_frames"]
    if options["photometric_interpretation"] == "YBR_FULL_422":
        expected = expected * 2 // 3
    if len(data) < expected:
        raise PixelDataError(f"The pixel data is cut off: {len(data)} of {expected} bytes are there.")
    if len(data) - expected > row:
        raise PixelDataError(f"The pixel data has {len(data)} bytes, the image matrix needs {expected}: one of them is wrong.")
    try:
        values, _ = get_decoder(uid).as_array(data[:expected] + b"\0" * (expected % 2), raw=True, **options)
    except (ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, IndexError) as error:
        raise PixelDataError(f"The pixel data cannot be read ({type(error).__name__}).") from error
    return values, "native"


def _compressed(data: bytes, uid: UID, options: dict[str, Any]) -> tuple[NDArray[Any], str]:
    try:
        decoder = get_decoder(uid)
    except NotImplementedError as error:
        raise UnsupportedTransferSyntax(f"Transfer syntax {uid.name} ({uid}) cannot be decoded.") from error
    present = decoder.available_plugins
    if uid == JPEGExtended12Bit and options["bits_stored"] > 8:
        present = tuple(p for p in present if p == "pylibjpeg")  # the others read 8 bits only
    plugins = [p for p in _PLUGINS if p in present] + [p for p in present if p not in _PLUGINS]
    if not plugins:
        raise UnsupportedTransferSyntax(f"Transfer syntax {uid.name} ({uid}): no decoder for it is installed.")
    if "JPEG" in uid.name.upper() and not data.rstrip(b"\x00").endswith(_JPEG_END) and _JPEG_END not in data[-16:]:
        raise PixelDataError("The compressed pixel data is cut off: its end marker is missing.")
    for plugin in plugins:
        try:
            values, _ = decoder.as_array(data, raw=True, decoding_plugin=plugin, **options)
        except (
            ValueError,
            TypeError,
            AttributeError,
            NotImplementedError,
            RuntimeError,
            IndexError,
            OSError,
            EOFError,
            MemoryError,
        ):
            continue  # the next decoder may read what this one cannot
        return values, plugin
    raise PixelDataError(f"The pixel data cannot be decoded ({uid.name}); tried {', '.join(plugins)}.")


def _only_stored_bits(
    values: NDArray[Any], allocated: int, stored: int, high: int, signed: bool, *, containers: bool
) -> NDArray[Any]:
    """Cut away overlay planes and rubbish beside the stored bits, and extend the sign (PS3.5 8.1.1)."""
    if stored == allocated or not containers:
        return values  # JPEG codecs carry the stored bits only
    low, high_value = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    if high == stored - 1 and values.size and low <= values.min() and values.max() <= high_value:
        return values.astype(values.dtype.newbyteorder("="), copy=False)  # nothing lies beside: the usual case, and cheap to see
    values = values.astype(values.dtype.newbyteorder("="), copy=False)  # big endian arrives as big-endian dtype
    width = values.dtype.itemsize * 8
    unsigned = values.view(np.dtype(f"u{values.dtype.itemsize}"))
    moved = (unsigned << (width - 1 - high)).astype(unsigned.dtype)
    if signed:
        return moved.view(np.dtype(f"i{values.dtype.itemsize}")) >> (width - stored)
    return moved >> (width - stored)
