"""Hounsfield units of one slice, and whether a whole volume's values are Hounsfield units at all.

Rescale Slope and Intercept PS3.3 C.11.1.1.2 (their unit for CT is HU, C.8.2.1); pixel padding PS3.3 C.7.5.1.1.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from dicom_node.core.errors import PixelDataError, UnsupportedInstance
from dicom_node.imaging.pixels import is_lossy, read_dataset, stored_values
from dicom_node.imaging.quick_image import quick_image

#: What lies outside the field of view; nothing in a body is lower.
LOWEST = -1024.0
#: Bits a stored value needs, to hold air, tissue and bone.
LEAST_BITS = 9
#: Air: values below; at least this share of a chest in its surroundings; where their median may lie.
AIR_BELOW, LEAST_AIR, AIR_MEDIAN = -500.0, 0.02, (-1100.0, -550.0)
#: Soft tissue: where it lies, and its least share.
TISSUE, LEAST_TISSUE = (-200.0, 300.0), 0.03
_SAMPLE = 2_000_000

_DESCRIBING = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsAllocated", "BitsStored",
    "HighBit", "PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit", "LossyImageCompression",
)  # fmt: skip


class NotHounsfield(UnsupportedInstance):
    """Values without a rescale to Hounsfield units, with too few bits, or that are none by their look."""

    code = "not_hounsfield"


def images_of(path: str, frames: int | None) -> Iterator[Dataset]:
    """Yield an object's images one by one, each as a single-frame data set: ``stored_values`` decodes them alike.

    Parameters
    ----------
    frames
        How many, of a multi-frame object; ``None`` for a single image.

    Raises
    ------
    PixelDataError
        The file cannot be read; or fewer frames are there than the header says.
    """
    if frames is None:
        yield quick_image(Path(path).read_bytes()) or read_dataset(Path(path))
        return
    whole = read_dataset(Path(path))
    if "PixelData" not in whole or not whole.PixelData:
        raise PixelDataError("The object has no pixel data.")
    syntax = UID(str(whole.file_meta.get("TransferSyntaxUID", "")))
    yield from (_single(whole, data) for data in _pieces(whole, frames, encapsulated=syntax.is_encapsulated))


def _pieces(whole: Dataset, frames: int, *, encapsulated: bool) -> Iterator[bytes]:
    data: bytes = whole.PixelData
    if encapsulated:
        count = 0
        try:
            for piece in generate_frames(data, number_of_frames=frames):
                count += 1
                yield encapsulate([piece])
        except (ValueError, EOFError, IndexError, TypeError) as error:
            raise PixelDataError(f"The pixel data is cut off after frame {count} of {frames}.") from error
        if count < frames:
            raise PixelDataError(f"The pixel data has {count} frames of {frames}.")
        return
    size = int(whole.Rows) * int(whole.Columns) * int(whole.get("SamplesPerPixel", 1)) * int(whole.BitsAllocated) // 8
    if len(data) < size * frames:
        raise PixelDataError(f"The pixel data is cut off: {len(data) // size if size else 0} of {frames} frames are whole.")
    for n in range(frames):
        yield data[n * size : (n + 1) * size]


def _single(whole: Dataset, data: bytes) -> Dataset:
    one = Dataset()
    for keyword in _DESCRIBING:
        if keyword in whole:
            one[keyword] = whole[keyword]
    one.add_new(0x7FE00010, "OB" if whole["PixelData"].VR == "OB" else "OW", data)
    one.file_meta = whole.file_meta
    return one


def hounsfield(image: Dataset, slope: float, intercept: float, into: NDArray[np.float32]) -> dict[str, Any]:
    """Decode one image into ``into``, as Hounsfield units: float32 (rows, columns); padding and all below -1024 become -1024.

    Returns
    -------
    dict
        ``transfer_syntax``, ``decoder``, ``lossy``, ``padded`` (share of pixels that padding names).

    Raises
    ------
    NotHounsfield
        Colour, or 8 bits or fewer.
    PixelDataError, UnsupportedInstance
        As ``pixels.stored_values``.
    """
    if int(image.get("SamplesPerPixel", 1) or 1) != 1:
        raise NotHounsfield("The slice is a colour picture.")
    stored, record = stored_values(image)
    if int(record["bits_stored"]) < LEAST_BITS:
        raise NotHounsfield(f"The slice has {record['bits_stored']} bits a pixel: too few for Hounsfield units.")
    rows, columns = stored.shape[-2:]
    if (rows, columns) != into.shape:
        raise PixelDataError(f"The slice is {rows} x {columns}, the series {into.shape[0]} x {into.shape[1]}.")
    stored = stored.reshape(rows, columns)
    if slope == 1:  # nearly always: one pass instead of two
        np.add(stored, np.float32(intercept), out=into, dtype=np.float32, casting="same_kind")
    else:
        np.multiply(stored, np.float32(slope), out=into, dtype=np.float32, casting="same_kind")
        into += np.float32(intercept)
    padding = _padding(image, stored)
    if padding is not None:
        into[padding] = LOWEST
    if stored.min() * slope + intercept < LOWEST:
        np.maximum(into, np.float32(LOWEST), out=into)
    return {
        "transfer_syntax": record["transfer_syntax"],
        "decoder": record["decoder"],
        "lossy": is_lossy(image, record["transfer_syntax"]),
        "padded": 0.0 if padding is None else float(padding.mean()),
    }


def _padding(image: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    value, limit = image.get("PixelPaddingValue"), image.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return None
    ends = [int(value), int(limit) if isinstance(limit, int) else int(value)]
    if int(image.get("PixelRepresentation", 0) or 0) == 1:
        # written as an unsigned number although the pixels are signed: more than one vendor does
        ends = [end - 65536 if end > 32767 else end for end in ends]
    low, high = sorted(ends)
    return (stored >= low) & (stored <= high)


def refuse_unless_hounsfield(hu: NDArray[np.float32]) -> dict[str, float]:
    """Look at a sample of the volume: is there air, and is there tissue, where Hounsfield units have them?

    Returns
    -------
    dict
        ``air_share``, ``air_median_hu``, ``tissue_share`` of what is not padding.

    Raises
    ------
    NotHounsfield
        No air, air elsewhere, or no soft tissue: a slope or an intercept is wrong, or this is no body.
    """
    step = max(1, round((hu.size / _SAMPLE) ** (1 / 3)))
    seen = hu[::step, ::step, ::step].ravel()
    seen = seen[seen > LOWEST]
    if not seen.size:
        raise NotHounsfield("The series is empty: every pixel is padding.")
    air = seen[seen < AIR_BELOW]
    tissue_share = float(((seen >= TISSUE[0]) & (seen <= TISSUE[1])).mean())
    air_share, air_median = air.size / seen.size, float(np.median(air)) if air.size else 0.0
    if air_share < LEAST_AIR:
        raise NotHounsfield("No air is in the values: neither around the body nor in lungs.")
    if not AIR_MEDIAN[0] <= air_median <= AIR_MEDIAN[1]:
        raise NotHounsfield(f"Air has {air_median:.0f} HU.")
    if tissue_share < LEAST_TISSUE:
        raise NotHounsfield(f"Only {tissue_share:.0%} of the values are those of soft tissue.")
    return {"air_share": round(air_share, 4), "air_median_hu": round(air_median, 1), "tissue_share": round(tissue_share, 4)}
