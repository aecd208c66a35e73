"""Which slices of a volume a person marked: its own images, and by position those of other reconstructions of the same scan.

A nodule is often marked on the soft-tissue or the thick reconstruction, while the thin one with a lung kernel is read. Both were
made from one scan, so they lie in one Frame of Reference (PS3.3 C.7.4.1), and the marked image covers the slices that lie within
its thickness (PS3.3 C.7.6.2). Nothing is guessed: another frame of reference, another scan (the patient has breathed meanwhile),
planes that are not parallel, a place without slices or a slab too thick to mean one place leave a mark where it is, and say why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.core.errors import InconsistentSeries, StudyError
from dicom_node.core.study import Instance, Mark, Study
from dicom_node.imaging.located_slices import located_slices
from dicom_node.imaging.slice_header import MULTI_FRAME_CT, SliceHeader
from dicom_node.imaging.stack import LARGEST_MM, SAME_POSITION_MM, normal_of
from dicom_node.imaging.volume import Volume

#: Degrees between two planes up to which they count as parallel: 1 mm at the edge of a chest.
PARALLEL_DEGREES = 0.25


@dataclass(frozen=True)
class ByPosition:
    """Slices of the volume that one marked image of another series covers."""

    series: str  # Series Number of the marked image; may be empty
    places: tuple[int, ...]


@dataclass(frozen=True)
class MarkedPlaces:
    """What became of the marks. ``own``: slices of the volume that were marked themselves. ``nowhere``: why others are not read."""

    own: tuple[int, ...]
    by_position: tuple[ByPosition, ...]
    nowhere: tuple[str, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """All marked slices of the volume, feet to head, each once."""
        return tuple(sorted({*self.own, *(place for one in self.by_position for place in one.places)}))


@dataclass(frozen=True)
class Planes:
    """The parallel planes that marks are looked for in.

    ``normal``: unit vector, three numbers. ``along_mm``: position of each plane on it, ``None`` of one without an image.
    ``spacing_mm``: between them.
    """

    normal: Sequence[float]
    along_mm: tuple[float | None, ...]
    spacing_mm: float
    most_thickness_mm: float


def marked_places(
    marks: Iterable[Mark], study: Study, read: Sequence[Instance], volume: Volume, most_thickness_mm: float
) -> MarkedPlaces:
    """Return the slices of ``volume`` that ``marks`` mean.

    Parameters
    ----------
    study
        Holds the marked images; a mark on any other object is nowhere.
    read
        The images that the volume was made of.
    most_thickness_mm
        A marked slab that is thicker does not say which slice is meant.
    """
    places = {(ref.sop_instance_uid, ref.frame): n for n, ref in enumerate(volume.slices) if ref is not None}
    own, elsewhere = set(), []
    for mark in dict.fromkeys(marks):
        if mark in places:
            own.add(places[mark])
        else:
            elsewhere.append(mark)
    along = tuple(None if ref is None else ref.position_mm for ref in volume.slices)
    planes = Planes(volume.direction[0].tolist(), along, volume.spacing_mm[0], most_thickness_mm)
    held = {one.sop_instance_uid: one for one in study.instances}
    found: list[ByPosition] = []
    nowhere: list[str] = []
    for uid, frame in elsewhere:
        covered, why = _looked_for(held.get(uid), frame, read, planes)
        if covered:
            found.append(ByPosition(held[uid].facts.series_number, covered))
        else:
            nowhere.append(why)
    return MarkedPlaces(tuple(sorted(own)), tuple(found), tuple(nowhere))


def _looked_for(
    instance: Instance | None, frame: int | None, read: Sequence[Instance], planes: Planes
) -> tuple[tuple[int, ...], str]:
    """Return the planes that a marked image covers; else none, and why."""
    if instance is None:
        return (), "an image that is not held"
    why = other_scan(instance, read)
    if why:
        return (), why
    try:
        header = slice_header(instance, frame)
    except StudyError:
        return (), "its place cannot be read"
    # of the very series that is read one image is one slice, however thick: a copy of a slice that came twice
    of_this_series = any(one.series_instance_uid == instance.series_instance_uid for one in read)
    return covered_by(header, planes, alone=of_this_series)


def other_scan(instance: Instance, read: Sequence[Instance]) -> str:
    """Return why an image shows another space than the images that are read; ``""`` where it was made from the same scan.

    Two scans of one visit may share the Frame of Reference, yet the lungs have moved. Irradiation Event UID tells them apart,
    and Acquisition Number where that is missing (PS3.3 C.7.10.1).
    """
    space = instance.facts.frame_of_reference_uid
    if not space or {one.facts.frame_of_reference_uid for one in read} != {space}:
        return "another frame of reference"
    for name in ("irradiation_event_uid", "acquisition_number"):
        said, theirs = getattr(instance.facts, name), {getattr(one.facts, name) for one in read} - {""}
        if said and theirs:
            return "" if said in theirs else "another scan"
    return ""


def slice_header(instance: Instance, frame: int | None) -> SliceHeader | None:
    """Return where a slice lies; ``None`` where a multi-frame object has no such frame. Only of such an object the file is read.

    Raises
    ------
    StudyError
        The file of a multi-frame object cannot be read.
    """
    if instance.sop_class_uid in MULTI_FRAME_CT:
        return next((one.header for one in located_slices([instance])[1] if one.header.frame == frame), None)
    facts = instance.facts
    placed = (facts.image_orientation, facts.image_position_mm, facts.pixel_spacing_mm, facts.slice_thickness_mm)
    return SliceHeader(None, *placed, None, None)


def covered_by(header: SliceHeader | None, planes: Planes, *, alone: bool = False) -> tuple[tuple[int, ...], str]:
    """Return the planes that lie within a marked slice, of one thinner than their distance the nearest; else none, and why.

    ``alone``: one plane at most, whatever the thickness.
    """
    if header is None or len(header.position_mm) != 3 or not all(abs(mm) <= LARGEST_MM for mm in header.position_mm):
        return (), "its place is not known"
    try:
        normal = normal_of(header.orientation)
    except InconsistentSeries:
        return (), "its place is not known"
    if not float(np.linalg.norm(np.cross(normal, planes.normal))) <= np.sin(np.radians(PARALLEL_DEGREES)):
        return (), "planes that are not parallel"
    thickness = header.thickness_mm or 0.0
    if thickness > planes.most_thickness_mm * 1.001:
        return (), f"a slab of {thickness:.0f} mm"
    at = float(np.asarray(header.position_mm) @ np.asarray(planes.normal))
    away = {n: along - at for n, along in enumerate(planes.along_mm) if along is not None}
    half = 0.0 if alone else thickness / 2
    # of two planes that lie on both its faces one counts, so that 5 mm are five slices of 1 mm wherever they begin
    within = [n for n, mm in away.items() if -half - SAME_POSITION_MM <= mm < half - SAME_POSITION_MM]
    if within:
        return tuple(within), ""
    nearest = min(away, key=lambda n: (abs(away[n]), n), default=None)
    if nearest is None or abs(away[nearest]) > planes.spacing_mm / 2 + SAME_POSITION_MM:
        return (), "a place without slices"
    return (nearest,), ""
