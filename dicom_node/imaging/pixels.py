"""From pixel data to one grayscale picture: decode, modality LUT, VOI LUT, polarity; or an error that says what is wrong.

Steps and their sources: stored values PS3.5 8.1.1; Modality LUT PS3.3 C.11.1; VOI LUT PS3.3 C.11.2; MONOCHROME1 and Presentation
LUT Shape PS3.3 C.7.6.3.1.2 and C.8.11.3.1.2; pixel padding PS3.3 C.7.5.1.1.2.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
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


class NotGrayscale(UnsupportedInstance):
    """Colour, palette, or more than one sample a pixel."""

    code = "not_grayscale"


class MultiFrame(UnsupportedInstance):
    """More than one frame."""

    code = "multi_frame"


class MatrixSize(UnsupportedInstance):
    """Rows or Columns zero, or far more pixels than a radiograph has."""

    code = "matrix_size"


@dataclass(frozen=True)
class GrayImage:
    """One radiograph as it is meant to be seen.

    ``values``: float32 (rows, columns), 0..1, brighter = more X-ray attenuation.
    ``flags``: ``lossy``, ``window_unusable``, ``polarity_contradiction``. ``record``: JSON facts: decoder, transfer syntax, steps.
    """

    values: NDArray[np.float32]
    flags: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def window(self) -> str:
        """Where the grey scale comes from: ``voi_lut``, ``window`` or ``percentiles``."""
        return str(self.record.get("voi", ""))


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
    rows, columns, frames, samples = _matrix(ds)
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


def grayscale(ds: Dataset) -> GrayImage:
    """Return the picture: modality LUT, VOI LUT (sequence, else first window, else percentiles), polarity, padding black.

    Raises
    ------
    UnsupportedInstance
        Colour (``not_grayscale``), several frames (``multi_frame``), ``matrix_size``, ``unsupported_transfer_syntax``.
    PixelDataError
        As ``stored_values``, or Photometric Interpretation missing: black and white could not be told apart.
    """
    _, _, frames, samples = _matrix(ds)
    photometric = str(ds.get("PhotometricInterpretation", "") or "").strip().upper()
    if samples != 1 or (photometric and photometric not in ("MONOCHROME1", "MONOCHROME2")):
        raise NotGrayscale(
            f"The image is not grayscale: {samples} samples a pixel, {photometric or 'no photometric interpretation'}."
        )
    if frames > 1:
        raise MultiFrame(f"The object has {frames} frames; one radiograph has one.")
    if not photometric:
        raise PixelDataError("Photometric Interpretation is missing: black and white cannot be told apart.")
    stored, record = stored_values(ds)
    stored = stored.reshape(stored.shape[-2:])
    flags = ["lossy"] if _lossy(ds, record["transfer_syntax"]) else []
    padding = _padding(ds, stored)
    values = _modality(ds, stored, record)
    values, record["voi"] = _voi(ds, values, padding, flags)

    shape = str(ds.get("PresentationLUTShape", "") or "").strip().upper()
    inverted = photometric == "MONOCHROME1" or shape == "INVERSE"
    # the pairs MONOCHROME1 + INVERSE and MONOCHROME2 + IDENTITY say one thing twice: it is done once
    if (photometric == "MONOCHROME2" and shape == "INVERSE") or (photometric == "MONOCHROME1" and shape == "IDENTITY"):
        flags.append("polarity_contradiction")
    if inverted:
        np.subtract(np.float32(1), values, out=values)
    if padding is not None:
        values[padding] = 0
    record |= {"photometric": photometric, "presentation_lut_shape": shape, "inverted": inverted, "padding": padding is not None}
    return GrayImage(values, tuple(flags), record)


def _matrix(ds: Dataset) -> tuple[int, int, int, int]:
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


def _lossy(ds: Dataset, transfer_syntax: str) -> bool:
    lossy_syntaxes = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
    return str(ds.get("LossyImageCompression", "") or "").strip() == "01" or transfer_syntax in lossy_syntaxes


def _padding(ds: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    value = ds.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = ds.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(limit) if isinstance(limit, int) else int(value)))
    mask = (stored >= low) & (stored <= high)
    share = float(mask.mean())
    # a padding value that covers everything is a wrong tag, not an empty image
    return mask if 0 < share < 0.95 else None


def _modality(ds: Dataset, stored: NDArray[Any], record: dict[str, Any]) -> NDArray[np.float32]:
    table = _lut(ds, "ModalityLUTSequence")
    if table is not None:
        record["modality_lut"] = "lut"
        return _looked_up(stored, *table)
    slope, intercept = _number(ds, "RescaleSlope"), _number(ds, "RescaleIntercept")
    values = stored.astype(np.float32)
    if slope is None or intercept is None or slope == 0:
        record["modality_lut"] = "none"
        return values
    record["modality_lut"] = "rescale"
    if (slope, intercept) != (1.0, 0.0):
        values *= np.float32(slope)
        values += np.float32(intercept)
    return values


def _voi(
    ds: Dataset, values: NDArray[np.float32], padding: NDArray[np.bool_] | None, flags: list[str]
) -> tuple[NDArray[np.float32], str]:
    """Return values 0..1 and the kind of VOI that was used; a VOI that leaves an even picture is not used, and flagged."""
    seen = _sample(values, padding)
    table = _lut(ds, "VOILUTSequence")
    if table is not None:
        data, first = table
        if _varies(_looked_up(seen, data, first)):
            out = _looked_up(values, data, first)
            out -= data.min()
            out /= max(float(data.max() - data.min()), 1.0)
            return out, "voi_lut"
        flags.append("window_unusable")
    centre, width = _number(ds, "WindowCenter"), _number(ds, "WindowWidth")
    if centre is not None and width is not None:
        function = str(ds.get("VOILUTFunction", "") or "LINEAR").strip().upper()
        if (width >= 1 or (function != "LINEAR" and width > 0)) and _varies(_windowed(seen.copy(), centre, width, function)):
            return _windowed(values, centre, width, function), "window"
        flags.append("window_unusable")
    low, high = (float(p) for p in np.percentile(seen, (0.5, 99.5)))
    values -= np.float32(low)
    values /= np.float32(high - low if high > low else 1.0)
    return np.clip(values, 0, 1, out=values), "percentiles"


def _windowed(values: NDArray[np.float32], centre: float, width: float, function: str) -> NDArray[np.float32]:
    """Apply PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (SIGMOID, LINEAR_EXACT), output 0..1, in place."""
    if function == "SIGMOID":
        values -= np.float32(centre)
        values *= np.float32(-4.0 / width)
        np.clip(values, -60, 60, out=values)
        np.exp(values, out=values)
        values += np.float32(1)
        return np.reciprocal(values, out=values)
    low, span = (
        (centre - width / 2, width) if function == "LINEAR_EXACT" else (centre - 0.5 - (width - 1) / 2, max(width - 1, 1e-6))
    )
    values -= np.float32(low)
    values /= np.float32(span)
    return np.clip(values, 0, 1, out=values)


def _sample(values: NDArray[np.float32], padding: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Return about a hundred thousand pixels on a regular grid, without padding: enough for percentiles, the same every time."""
    step = max(1, int((values.size / 100_000) ** 0.5))
    grid = values[::step, ::step]
    if padding is None:
        return grid.ravel()
    kept = grid[~padding[::step, ::step]]
    return kept if kept.size else grid.ravel()


def _varies(values: NDArray[np.float32]) -> bool:
    low, high = np.percentile(values, (2, 98))
    return bool(high > low)


def _lut(ds: Dataset, keyword: str) -> tuple[NDArray[np.float32], int] | None:
    """Return a LUT's data and the first value that it maps; ``None`` when absent or unusable (PS3.3 C.11.1.1, C.11.2.1.1)."""
    sequence = ds.get(keyword)
    if not sequence:
        return None
    item = sequence[0]
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if descriptor is None or data is None or len(descriptor) != 3:
        return None
    entries = int(descriptor[0]) or 65536
    bits = int(descriptor[2])
    first = int(descriptor[1])
    if isinstance(data, bytes):
        order = "<" if ds.original_encoding[1] is not False else ">"
        raw = np.frombuffer(data, np.uint8 if len(data) == entries and bits <= 8 else np.dtype(f"{order}u2"))
    else:
        raw = np.asarray(data, dtype=np.int64) & 0xFFFF
    if raw.size < entries or entries < 2:
        return None
    signed = int(ds.get("PixelRepresentation", 0) or 0) == 1
    if signed and first > 32767:
        first -= 65536  # read as US although the stored values are signed
    return raw[:entries].astype(np.float32), first


def _looked_up(values: NDArray[Any], data: NDArray[np.float32], first: int) -> NDArray[np.float32]:
    index = np.rint(values).astype(np.int32) if values.dtype.kind == "f" else values.astype(np.int32)
    index -= first
    np.clip(index, 0, data.size - 1, out=index)
    return np.asarray(data[index], np.float32)


def _number(ds: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric element; ``None`` when absent, empty or not finite."""
    value = ds.get(keyword)
    if value is None or value == "":
        return None
    if not isinstance(value, str | int | float):
        with contextlib.suppress(TypeError, IndexError):
            value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
