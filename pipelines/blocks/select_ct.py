"""Which CT series of a study is read, by headers alone, and why the others are not.

Slices across an adult's chest, not thicker than 8 mm, over at least 18 cm, as the scanner made them. Of several such series the
thin one with a lung kernel and without contrast agent is read, then the one that covers more, then the newest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from pydicom.uid import UID

from dicom_node.core.errors import StudyError
from dicom_node.core.findings import NotRead
from dicom_node.core.run import Selection
from dicom_node.core.study import HeaderFacts, Instance, Mark, Study
from dicom_node.imaging.slice_header import CT_CLASSES, MULTI_FRAME_CT
from dicom_node.imaging.stack import normal_of
from dicom_node.imaging.volume import MAX_VOXELS
from pipelines.blocks.ct_stack import CtStack, groups_of, is_axial, stack_facts
from pipelines.blocks.marked_places import Planes, covered_by, other_scan, slice_header
from pipelines.blocks.quality import Gate, Outcome, age_gate, body_part_gate

_LOCALIZER = re.compile(r"scout|topogram|surview|scanogra|locali[sz]er|\bpilot\b", re.IGNORECASE)
_REFORMATTED = re.compile(
    r"\bm(in)?ips?\b|\bmprs?\b|\bvrt?\b|reformat|projection|\bcor(onal)?\b|\bsag(ittal)?\b|\bobl(ique)?\b|curved|average",
    re.IGNORECASE,
)
_CHEST_WORDS = re.compile(r"chest|thora|lung|pulmo", re.IGNORECASE)
_PART_OF_TRUNK = re.compile(r"CHEST|THORA|LUNG|WHOLE ?BODY|^BODY$|TRUNK|TORSO")

#: Of several reasons the study's refusal is that of the series which came closest to being read.
_CLOSEST = (
    "too_young", "age_unknown", "short_coverage", "thick_slices", "uneven_spacing", "incomplete_series", "duplicate_slices",
    "matrix_size", "not_hounsfield", "mixed_geometry", "not_chest", "reformatted", "not_axial", "too_few_slices", "derived_image",
    "localizer", "unreadable_pixels", "phantom", "unsupported_object",
)  # fmt: skip

FLAG_TEXTS = {
    "age_unknown": "Patient age unknown; the model is for adults only.",
    "contrast_agent": "The series was made with contrast agent.",
    "duplicates_dropped": "Some slices came twice; each is read once.",
    "gantry_tilt": "The gantry was tilted; the slices were shifted to undo it.",
    "interpolated_slices": "Missing slices were interpolated from their neighbours.",
    "lossy": "The images were compressed with loss.",
    "no_lung_kernel": "The series was not made with a lung kernel.",
    "odd_pixel_spacing": "Unusual pixel spacing for a chest CT.",
    "part_not_stated": "The header does not say that this is a chest.",
    "thick_slices": "The slices are thicker than 5 mm.",
    "uneven_spacing": "The slices are not quite evenly spaced.",
}


class SeriesLimits(BaseModel):
    """Which CT series is read. Lengths in mm, along the body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_age_years: float = Field(default=18, ge=0, description="Younger patients are refused.")
    accept_age_unknown: bool = Field(default=False, description="Read studies whose patient age is unknown; the result is flagged.")
    best_thickness_mm: float = Field(default=3, gt=0, description="Up to this, thinner slices are not preferred to thicker ones.")
    flagged_thickness_mm: float = Field(default=5, gt=0, description="Thicker slices are read, and the result is flagged.")
    most_thickness_mm: float = Field(default=8, gt=0, description="Thicker slices are refused.")
    least_coverage_mm: float = Field(default=180, gt=0, description="Shorter series are refused: lungs are longer.")
    least_pixel_mm: float = Field(default=0.4, gt=0, description="Smaller pixels are flagged.")
    most_pixel_mm: float = Field(default=1.2, gt=0, description="Larger pixels are flagged.")


def select_series(study: Study, limits: SeriesLimits | None = None, marks: Sequence[Mark] = ()) -> Selection:
    """Return the slices to read, feet to head, all of one series; and for every other image the reason why not.

    ``marks``: slices that a person marked. Of several series that can be read, the one that shows most of them is: itself marked,
    or by position (``marked_places``). Where several do, one with a lung kernel comes first, then the one that was marked itself.
    """
    limits = limits or SeriesLimits()
    instances = sorted((i for i in study.instances if not i.facts.made_by_this_node), key=lambda i: i.sop_instance_uid)
    refused: dict[str, NotRead] = {}

    def leave(group: Sequence[Instance], reason: str, detail: str) -> None:
        for one in group:
            refused.setdefault(one.sop_instance_uid, NotRead(one.sop_instance_uid, reason, f"{_series(one)}{detail}".strip()))

    usable: dict[str, list[Instance]] = {}
    for instance in instances:
        reason, detail = _unusable(instance)
        if reason:
            leave([instance], reason, detail)
        else:
            usable.setdefault(instance.series_instance_uid, []).append(instance)

    stacks: list[CtStack] = []
    for of_series in usable.values():
        for group in groups_of(of_series):
            try:
                reason, detail, stack = _judged(group, limits)
            except StudyError as error:
                reason, detail, stack = error.code, str(error), None
            if stack is None:
                leave(group, reason, detail)
            else:
                stacks.append(stack)

    if stacks:
        named = {uid for uid, _ in marks}
        marked = [i for i in instances if i.sop_instance_uid in named]
        best, *others = sorted(stacks, key=lambda stack: (_marks_in(stack, marked, limits), _rank(stack, limits)))
        age = age_gate(best.facts, youngest=limits.min_age_years, accept_unknown=limits.accept_age_unknown)
        for other in others:
            leave(other.instances, "other_series", other.words)
        if age.outcome is not Outcome.REJECT:
            of_ct = {i.sop_instance_uid for i in instances if i.sop_class_uid in CT_CLASSES}
            on_slices = tuple(mark for mark in marks if mark[0] in of_ct)
            return Selection(best.instances, tuple(refused.values()), marked=on_slices, why=why_chosen(best.instances))
        leave(best.instances, age.code, age.detail)
    if not any(i.sop_class_uid in CT_CLASSES for i in instances):
        return Selection((), tuple(refused.values()), "no_image", "the study holds no CT image" if instances else "")
    reasons = {n.reason: n for n in reversed(refused.values())}
    closest = next((reasons[r] for r in _CLOSEST if r in reasons), None)
    if closest is None:
        return Selection((), tuple(refused.values()), "no_image")
    return Selection((), tuple(refused.values()), closest.reason, closest.detail)


def why_chosen(read: Sequence[Instance]) -> str:
    """Return in words what was chosen: ``Series 3: axial, 1.0 mm slices, lung kernel B60f, without contrast agent, 31 cm.``"""
    return f"{_series(read[0]).capitalize()}axial, {stack_facts(read).words}." if read else ""


def header_flags(read: Sequence[Instance], limits: SeriesLimits) -> tuple[Gate, ...]:
    """Return what a reader must know of the chosen series, by its headers: codes are keys of ``FLAG_TEXTS``."""
    stack = stack_facts(read)
    facts = stack.facts
    found = [Gate("geometry", Outcome.FLAG, key) for key in stack.problems]
    if stack.thickness_mm > limits.flagged_thickness_mm * 1.001:
        found.append(Gate("thickness", Outcome.FLAG, "thick_slices", f"{stack.thickness_mm:.1f} mm"))
    if stack.contrast:  # an empty Contrast/Bolus Agent is what native scans have: no flag
        found.append(Gate("contrast", Outcome.FLAG, "contrast_agent"))
    if not stack.lung_kernel:
        found.append(Gate("kernel", Outcome.FLAG, "no_lung_kernel", stack.kernel[:16]))
    if facts.pixel_spacing_mm and not all(limits.least_pixel_mm <= mm <= limits.most_pixel_mm for mm in facts.pixel_spacing_mm):
        found.append(Gate("pixel_spacing", Outcome.FLAG, "odd_pixel_spacing", f"{facts.pixel_spacing_mm[0]:.2f} mm"))
    if _body_part(facts).outcome is Outcome.UNKNOWN:
        found.append(Gate("body_part", Outcome.FLAG, "part_not_stated"))
    age = age_gate(facts, youngest=limits.min_age_years, accept_unknown=True)
    return (*found, age) if age.outcome is Outcome.FLAG else tuple(found)


def _unusable(instance: Instance) -> tuple[str, str]:
    """Say why an object is no slice to be read, whatever lies beside it; two empty texts where it may be."""
    facts = instance.facts
    if instance.sop_class_uid not in CT_CLASSES:  # a missing Modality says nothing: the SOP class says what the object is
        return "unsupported_object", _kind(instance)
    if facts.modality not in ("", "CT"):
        return "unsupported_object", f"Modality {facts.modality[:16]}"
    if not facts.has_pixel_data:
        return "unreadable_pixels", "the object has no pixel data"
    if facts.quality_control_image in ("YES", "BOTH"):
        return "phantom", "Quality Control Image"
    kind = facts.image_type
    described = f"{facts.series_description} {facts.derivation_description}"
    if "LOCALIZER" in kind or "SCOUT" in kind:
        return "localizer", "Image Type says LOCALIZER"
    if match := _LOCALIZER.search(facts.series_description):
        return "localizer", f'Series Description says "{match.group(0)}"'
    if (facts.samples_per_pixel or 1) > 1 or (facts.photometric and not facts.photometric.startswith("MONOCHROME")):
        return "derived_image", f"a colour picture, {facts.photometric[:16]}".rstrip(", ")
    if match := _REFORMATTED.search(" ".join(kind[2:]).replace("_", " ")):
        return "reformatted", f'Image Type says "{match.group(0)}"'
    if match := _REFORMATTED.search(described.replace("_", " ")):
        return "reformatted", f'Series Description says "{match.group(0)}"'
    only_compressed = facts.lossy == "01" and kind[1:2] == (
        "PRIMARY",
    )  # compression with loss makes an image DERIVED (PS3.3 C.7.6.1.1.5)
    if (kind[:1] == ("DERIVED",) and not only_compressed) or kind[1:2] == ("SECONDARY",):
        return "derived_image", f"Image Type says {kind[0] if kind[0] == 'DERIVED' else 'SECONDARY'}"
    if facts.bits_stored is not None and facts.bits_stored <= 8:
        return "not_hounsfield", f"{facts.bits_stored} bits a pixel"
    part = _body_part(facts)
    return (part.code, part.detail) if part.outcome is Outcome.REJECT else ("", "")


def _body_part(facts: HeaderFacts) -> Gate:
    """Chest passes; another part is rejected unless a description names the chest; the whole trunk, or silence, is unknown."""
    if _PART_OF_TRUNK.search(facts.body_part):
        return Gate("body_part", Outcome.PASS if _CHEST_WORDS.search(facts.body_part) else Outcome.UNKNOWN)
    gate = body_part_gate(facts)
    named = _CHEST_WORDS.search(f"{facts.series_description} {facts.protocol_name}")
    return Gate("body_part", Outcome.UNKNOWN) if gate.outcome is Outcome.REJECT and named else gate


def _judged(group: Sequence[Instance], limits: SeriesLimits) -> tuple[str, str, CtStack | None]:
    """Say why parallel slices are not read, or return their stack. Raises ``StudyError`` where they make no volume."""
    facts = group[0].facts
    if not facts.image_orientation:
        return "mixed_geometry", "Image Orientation (Patient) is missing", None
    if not is_axial(group):
        return "not_axial", "its slices do not lie across the body", None
    stack = stack_facts(group)
    count = facts.frames or 1 if group[0].sop_class_uid in MULTI_FRAME_CT else stack.slices
    if count * (facts.rows or 0) * (facts.columns or 0) > MAX_VOXELS:
        return "matrix_size", f"{count} slices of {facts.rows} x {facts.columns} pixels", None
    if stack.thickness_mm > limits.most_thickness_mm * 1.001:
        return "thick_slices", f"{stack.thickness_mm:.1f} mm", None
    if stack.coverage_mm < limits.least_coverage_mm:
        return "short_coverage", f"{stack.coverage_mm / 10:.1f} cm of at least {limits.least_coverage_mm / 10:.0f} cm", None
    return "", "", stack


def _rank(stack: CtStack, limits: SeriesLimits) -> tuple[float, float, tuple[int, ...], str]:
    """Return what to sort by, the best first: points, coverage in cm (more than 35 counts no more), then the newest."""
    thin = stack.thickness_mm <= limits.best_thickness_mm * 1.001
    points = 3 * thin + 2 * (thin or stack.thickness_mm <= limits.flagged_thickness_mm * 1.001)
    points += 2 * (stack.lung_kernel is True) + (stack.contrast is False) - (stack.contrast is True) - bool(stack.problems)
    moment = stack.facts.acquisition_datetime or stack.facts.content_datetime
    newest = tuple(-ord(c) for c in moment) or (1,)
    return -points, -min(35, round(stack.coverage_mm / 10)), newest, stack.instances[0].sop_instance_uid


def _marks_in(stack: CtStack, marked: Sequence[Instance], limits: SeriesLimits) -> tuple[int, bool, int]:
    """Return what to sort by, the best first: marked images that a stack shows, a lung kernel, marked images of its own.

    A multi-frame object counts as one, and only where it is marked itself: where its frames lie is not in the facts.
    """
    if not marked:
        return 0, False, 0
    uids = {one.sop_instance_uid for one in stack.instances}
    others = [one for one in marked if one.sop_instance_uid not in uids]
    own = shown = len(marked) - len(others)
    if others and stack.instances[0].sop_class_uid not in MULTI_FRAME_CT:
        normal = normal_of(stack.facts.image_orientation)
        along = tuple(float(normal @ one.facts.image_position_mm) for one in stack.instances)
        planes = Planes(normal.tolist(), along, stack.spacing_mm, limits.most_thickness_mm)
        single = (one for one in others if one.sop_class_uid not in MULTI_FRAME_CT)
        same_scan = (one for one in single if not other_scan(one, stack.instances))
        shown += sum(bool(covered_by(slice_header(one, None), planes)[0]) for one in same_scan)
    return -shown, shown > 0 and stack.lung_kernel is not True, -own


def _series(instance: Instance) -> str:
    number = instance.facts.series_number
    return f"series {int(number)}: " if number.isdigit() else ""


def _kind(instance: Instance) -> str:
    name = str(UID(instance.sop_class_uid).name)
    return name.removesuffix(" Storage") if name != instance.sop_class_uid else "object of a kind that the standard does not list"
