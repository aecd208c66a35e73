"""From stored values to one grayscale picture: modality LUT, VOI LUT, polarity; or an error that says what is wrong.

Steps and their sources: Modality LUT PS3.3 C.11.1; VOI LUT PS3.3 C.11.2; MONOCHROME1 and Presentation LUT Shape
PS3.3 C.7.6.3.1.2 and C.8.11.3.1.2; pixel padding PS3.3 C.7.5.1.1.2.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_node.core.errors import PixelDataError, UnsupportedInstance
from dicom_node.imaging.pixels import image_matrix, is_lossy, stored_values


class NotGrayscale(UnsupportedInstance):
    """Colour, palette, or more than one sample a pixel."""

    code = "not_grayscale"


class MultiFrame(UnsupportedInstance):
    """More than one frame."""

    code = "multi_frame"


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


def grayscale(ds: Dataset) -> GrayImage:
    """Return the picture: modality LUT, VOI LUT (sequence, else first window, else percentiles), polarity, padding black.

    Raises
    ------
    UnsupportedInstance
        Colour (``not_grayscale``), several frames (``multi_frame``), ``matrix_size``, ``unsupported_transfer_syntax``.
    PixelDataError
        As ``stored_values``, or Photometric Interpretation missing: black and white could not be told apart.
    """
    _, _, frames, samples = image_matrix(ds)
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
    flags = ["lossy"] if is_lossy(ds, record["transfer_syntax"]) else []
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
