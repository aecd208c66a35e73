"""Are the pixels of two files the same? Decoded losslessly, so that a recompressed twin is known for what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.core.errors import StudyError
from dicom_node.imaging import pixels
from dicom_node.studies import identity, repository
from dicom_node.studies.arrivals import Verdict, verdict
from dicom_node.studies.files import object_path

_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def same_pixels(one: Path, other: Path) -> bool:
    """Say whether two objects show the same. Objects without pixels on either side (documents) count as the same.

    What cannot be decoded is compared byte by byte; if those differ too, the answer is no: a person must look.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    try:
        a, b = pixels.read_dataset(one), pixels.read_dataset(other)
    except StudyError:
        return False
    encoded_a, encoded_b = _encoded(a), _encoded(b)
    if not encoded_a or not encoded_b:
        return encoded_a == encoded_b
    if encoded_a == encoded_b and a.file_meta.TransferSyntaxUID == b.file_meta.TransferSyntaxUID and _same_meaning(a, b):
        return True
    try:
        values_a, values_b = pixels.lossless_pixels(a), pixels.lossless_pixels(b)
    except StudyError:
        return False
    return values_a.shape == values_b.shape and bool(np.array_equal(values_a, values_b)) and _same_meaning(a, b)


def _encoded(ds: Dataset) -> bytes:
    return b"".join(bytes(ds[keyword].value or b"") for keyword in _KEYWORDS if keyword in ds)


def _same_meaning(a: Dataset, b: Dataset) -> bool:
    """The same numbers mean another picture when grey scale or matrix are described otherwise."""
    described = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsStored", "PixelRepresentation")
    if any(str(a.get(keyword, "")) != str(b.get(keyword, "")) for keyword in described):
        return False
    inverted = [str(ds.get("PhotometricInterpretation", "")) == "MONOCHROME1" for ds in (a, b)]
    return inverted[0] == inverted[1]


class Compared(NamedTuple):
    """The outcome of one comparison; ``base_id`` is the version it was compared with."""

    instance_id: int
    base_id: int | None
    verdict: Verdict


def compare(pending: list[Any], current: dict[str, Any], home: Path) -> list[Compared]:
    """Compare each repeated object with the version before it, in order of arrival."""
    base, outcome = dict(current), []
    for row in pending:
        known = base.get(row.sop_instance_uid)
        if known is None:
            found = Verdict.CORRECTED  # nothing to compare with: it counts as new
        else:
            gone = known.deleted_utc is not None  # retention took the earlier file: what can still be compared is the identity
            found = verdict(
                same_pixels=gone or same_pixels(object_path(home, known.storage_key), object_path(home, row.storage_key)),
                same_identity=identity.same_identity(repository.facts_of(known), repository.facts_of(row)),
            )
        outcome.append(Compared(row.instance_id, None if known is None else known.instance_id, found))
        if found is not Verdict.CHANGED:
            base[row.sop_instance_uid] = row
    return outcome
