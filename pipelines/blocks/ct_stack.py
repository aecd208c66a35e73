"""One stack of CT slices by its headers: thickness, coverage, kernel, contrast; and whether it makes a volume."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.core.study import HeaderFacts, Instance
from dicom_node.imaging.slice_header import MULTI_FRAME_CT
from dicom_node.imaging.stack import (
    LEAST_SLICES,
    DuplicateSlices,
    MixedGeometry,
    TooFewSlices,
    degrees_from_axial,
    is_sheared,
    stack_of,
)

#: Kernels that sharpen, by manufacturer (a part of its name), in upper case. Siemens from its manuals (B50 to B80 for the thorax;
#: Bl is "lung"), Canon's FC5x from studies that name it, General Electric's and Philips' by common use: assumed. A kernel that is
#: not listed is not called soft, only not preferred.
_LUNG_KERNELS = (
    ("SIEMENS", re.compile(r"[BIJ][5-8]\d[A-Z]*(\b|\\)|[BJ]L\d\d|B[RVU](5[4-9]|[67]\d)|Q[RV](5[6-9]|[67]\d)|QL\d\d")),
    ("GE", re.compile(r"LUNG|BONE|EDGE|ULTRA")),
    ("PHILIPS", re.compile(r"^(L|D|E|Y[A-D]|LUNG.*)$")),
    ("TOSHIBA", re.compile(r"FC5\d|FC8\d|LUNG")),
    ("CANON", re.compile(r"FC5\d|FC8\d|LUNG")),
)
_NO_CONTRAST = re.compile(r"^(|NO|NONE|N/?A|NATIVE?|NIL|0|WITHOUT.*|NO CONTRAST.*|OHNE.*)$")
_CONTRAST_WORDS = re.compile(
    r"\bC\+|\+C\b|\bCE\b|\bCTA\b|ANGIO|ARTERIAL|VENOUS|PORTAL|DELAYED|WITH CONTRAST|POST[ _-]?CONTRAST|\bKM\b", re.IGNORECASE
)
_WITHOUT_WORDS = re.compile(r"WITHOUT|NON[ _-]?CON|\bNO CONTRAST|NATIV|\bC-", re.IGNORECASE)
#: Degrees: what counts as axial.
AXIAL_DEGREES = 5.0


@dataclass(frozen=True)
class CtStack:
    """Parallel slices of one series that make a volume.

    ``instances``: in slice order, feet to head; several frames lie in one. ``slices``: images, missing ones not counted.
    ``thickness_mm``: the larger of Slice Thickness and the distance between slices. ``coverage_mm``: along the normal, outer edges.
    ``lung_kernel``, ``contrast``: ``None`` where the header does not say. ``problems``: flags of its geometry.
    """

    instances: tuple[Instance, ...]
    slices: int
    spacing_mm: float
    thickness_mm: float
    coverage_mm: float
    degrees: float
    kernel: str
    lung_kernel: bool | None
    contrast: bool | None
    problems: tuple[str, ...] = ()

    @property
    def facts(self) -> HeaderFacts:
        """What the header of the first slice says."""
        return self.instances[0].facts

    @property
    def words(self) -> str:
        """The stack in one phrase: ``1.0 mm slices, lung kernel B60f, without contrast agent, 31 cm``."""
        kernel = {True: "lung kernel", False: "kernel", None: "kernel not stated"}[self.lung_kernel]
        contrast = {True: "with contrast agent", False: "without contrast agent", None: "contrast agent not stated"}[self.contrast]
        named = f"{kernel} {self.kernel[:16]}".strip() if self.lung_kernel is not None else kernel
        return f"{self.thickness_mm:.1f} mm slices, {named}, {contrast}, {self.coverage_mm / 10:.0f} cm"


def groups_of(instances: Iterable[Instance]) -> list[tuple[Instance, ...]]:
    """Split a series into parallel slices of one matrix and frame of reference; repeated scans by Acquisition Number.

    A multi-frame object is a group of its own. The order of the instances does not matter.
    """
    groups: dict[tuple[object, ...], list[Instance]] = {}
    for one in sorted(instances, key=lambda i: i.sop_instance_uid):
        facts = one.facts
        key: tuple[object, ...] = (
            one.sop_instance_uid if one.sop_class_uid in MULTI_FRAME_CT else "",
            tuple(round(v, 2) + 0.0 for v in facts.image_orientation),
            tuple(round(v, 3) for v in facts.pixel_spacing_mm),
            facts.frame_of_reference_uid,
            facts.rows,
            facts.columns,
        )
        groups.setdefault(key, []).append(one)
    return [part for group in groups.values() for part in _acquisitions(group)]


def _acquisitions(group: list[Instance]) -> list[tuple[Instance, ...]]:
    numbers = {one.facts.acquisition_number for one in group}
    positions = [tuple(round(v, 2) for v in one.facts.image_position_mm) for one in group]
    if len(numbers) < 2 or len(set(positions)) == len(positions):
        return [tuple(group)]
    return [tuple(one for one in group if one.facts.acquisition_number == number) for number in sorted(numbers)]


def is_axial(group: Sequence[Instance]) -> bool:
    """Say whether slices lie across the body: within 5 degrees, or tilted by the gantry while the table moved straight.

    Raises
    ------
    MixedGeometry
        The header gives no orientation.
    """
    degrees = degrees_from_axial(group[0].facts.image_orientation)
    if degrees <= AXIAL_DEGREES:
        return True
    ends = np.asarray([one.facts.image_position_mm for one in group if one.facts.image_position_mm], float)
    if degrees > 31 or len(ends) < LEAST_SLICES:  # no gantry tilts further
        return False
    way = ends[int(np.argmax(ends[:, 2]))] - ends[int(np.argmin(ends[:, 2]))]
    return bool(abs(way[2]) > np.cos(np.radians(AXIAL_DEGREES)) * np.linalg.norm(way) > 0)


def stack_facts(group: Sequence[Instance]) -> CtStack:
    """Return what the headers say of parallel slices.

    Raises
    ------
    InconsistentSeries
        They make no volume (``imaging.stack``); of unlike pixels at one position only the pixels can tell, see ``imaging.volume``.
    """
    facts = group[0].facts
    kernel = " ".join(facts.kernel).strip()
    problems: list[str] = []
    if group[0].sop_class_uid in MULTI_FRAME_CT:
        if facts.frame_span_mm is None or not facts.frames:
            raise MixedGeometry("The functional groups of the multi-frame object do not place its frames in one stack.")
        ordered, slices, span = tuple(group), facts.frames, facts.frame_span_mm
        if slices < LEAST_SLICES:
            raise TooFewSlices(f"The series has {slices} frame(s).")
        spacing = span / (slices - 1)
    else:
        if any(not one.facts.image_position_mm for one in group):
            raise MixedGeometry("Image Position (Patient) is missing.")
        positions = [one.facts.image_position_mm for one in group]
        stack = stack_of(facts.image_orientation, positions)
        if len(group) > 1.5 * len(set(stack.places)):
            raise DuplicateSlices(f"{len(group)} images lie at {len(set(stack.places))} positions.")
        by_place = sorted(range(len(group)), key=lambda n: (stack.places[n], group[n].sop_instance_uid))
        ordered, slices, spacing = tuple(group[n] for n in by_place), len(group), stack.spacing_mm
        span = spacing * (stack.count - 1)
        problems += stack.flags
        if len(facts.pixel_spacing_mm) == 2 and is_sheared(facts.image_orientation, positions, facts.pixel_spacing_mm):
            problems.append("gantry_tilt")
    stated = facts.slice_thickness_mm or 0.0
    return CtStack(
        instances=ordered,
        slices=slices,
        spacing_mm=spacing,
        thickness_mm=max(stated, spacing),
        coverage_mm=span + (stated if stated > 0 else spacing),
        degrees=degrees_from_axial(facts.image_orientation),
        kernel=kernel,
        lung_kernel=is_lung_kernel(facts.manufacturer, facts.kernel),
        contrast=has_contrast(facts),
        problems=tuple(problems),
    )


def is_lung_kernel(manufacturer: str, kernel: Sequence[str]) -> bool | None:
    """Say whether this is a kernel for lungs or bone; ``None`` where the header names none."""
    names = [name.strip().upper() for name in kernel if name.strip()]
    if not names:
        return None
    made_by = manufacturer.upper()
    of_maker = [known for part, known in _LUNG_KERNELS if re.search(rf"\b{part}\b", made_by)]
    if not of_maker:  # Philips' single letters mean something only on its own machines
        of_maker = [known for part, known in _LUNG_KERNELS if part != "PHILIPS"]
    return any(known.search(name) for known in of_maker for name in names)


def has_contrast(facts: HeaderFacts) -> bool | None:
    """Say whether a contrast agent was given: Contrast/Bolus Agent first, then the descriptions; ``None`` where nothing says."""
    agent = facts.contrast_agent.strip().upper()
    if agent:
        return not _NO_CONTRAST.match(agent)
    described = f"{facts.series_description} {facts.protocol_name} {facts.study_description}"
    if _WITHOUT_WORDS.search(described):
        return False
    return True if _CONTRAST_WORDS.search(described) else None
