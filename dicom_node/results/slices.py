"""A result on a CT series in words: which series and slices were read, what each slice gave, where a slice is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.core.findings import Finding, SliceScore, probability_text
from dicom_node.core.study import HeaderFacts

if TYPE_CHECKING:
    from dicom_node.results.context import ResultContext

#: What ``SliceScore.how`` says, for people.
HOW = {"marked": "marked by a person", "automatic": "chosen automatically"}


def slice_name(context: ResultContext, sop_instance_uid: str, frame: int | None) -> str:
    """Return where a viewer shows a slice, by the numbers of its header: ``series 2, image 57``, ``series 3, frame 12``."""
    held = {i.sop_instance_uid: i for i in context.study.instances}
    return slice_words(held[sop_instance_uid].facts if sop_instance_uid in held else HeaderFacts(), frame)


def slice_words(facts: HeaderFacts, frame: int | None) -> str:
    """Return the same of header facts alone."""
    series = f"series {facts.series_number}" if facts.series_number.isdigit() else ""
    image = f"image {facts.instance_number}" if facts.instance_number.isdigit() else ""
    place = f"frame {frame}" if frame is not None else image
    return ", ".join(part for part in (series, place) if part) or "a slice without numbers"


def decided_finding(context: ResultContext) -> Finding | None:
    """Return the finding that the slices' probabilities are of: the first that is assessed."""
    return next((f for f in context.findings.findings if f.probability is not None), None)


def result_lines(context: ResultContext) -> list[str]:
    """Return what was found slice by slice and measured beside it; nothing for a radiograph."""
    lines = []
    finding, scores = decided_finding(context), context.findings.slices
    if finding is not None and scores:
        each = "; ".join(f"{slice_name(context, s.sop_instance_uid, s.frame)}: {probability_text(s.probability)}" for s in scores)
        lines.append(f"{finding.code.meaning}, probability by slice: {each}.")
    for one in context.findings.measurements:
        unit = "" if one.unit.value == "1" else f" {one.unit.value}"
        lines.append(f"{one.code.meaning}: {one.value:.3f}{unit}.")
    return lines


def images_lines(context: ResultContext) -> list[str]:
    """Return which series was read and why, and how many of its slices; nothing for a refusal or a radiograph."""
    findings = context.findings
    if not context.volumetric or findings.abstention:
        return []
    chosen = findings.provenance.get("series")
    lines = [f"Read: {chosen[:1].lower()}{chosen[1:]}"] if isinstance(chosen, str) and chosen else []
    return [*lines, f"{_count(findings.slices)} of the {len(findings.read)} images of the series{_how(findings.slices)}."]


def _count(scores: tuple[SliceScore, ...]) -> str:
    return f"The model read {len(scores)} {'slice' if len(scores) == 1 else 'slices'}" if scores else "The model read all"


def _how(scores: tuple[SliceScore, ...]) -> str:
    ways = list(dict.fromkeys(HOW.get(one.how, one.how) for one in scores))
    return f", {' or '.join(ways)}" if ways else ""
