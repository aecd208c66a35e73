"""What a person filled in -> what that says of each finding. Pure: no tables, no requests.

Nothing is guessed and nothing is left out in silence: a form that says two things, or nothing, is a mistake with a sentence.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_node.core.feedback import REASONS, ReferenceStandard, Region, Statement, Verdict
from dicom_node.core.findings import Decision, Finding
from dicom_node.inference.shown import Shown

MAX_COMMENT = 2000
_MOST_REGIONS, _MOST_POINTS = 40, 200
_LABELS = ("present", "absent", "unsure")
_AGREES = {Decision.POSITIVE: "present", Decision.NEGATIVE: "absent"}

#: Steps of "how likely", least first, as shown; the value is the step's share of the way from 0 to 1.
STEPS = ("very unlikely", "unlikely", "even", "likely", "very likely")
REASON_WORDS = {
    "image_quality": "Image quality",
    "wrong_region": "Wrong region",
    "artefact_or_marker": "Artefact or marker",
    "post_treatment": "After treatment",
    "other_finding": "Another finding",
    "known_finding": "Known finding",
    "laterality": "Wrong side",
    "wrong_patient_or_study": "Wrong patient or study",
    "other": "Other",
}


class FormMistake(ValueError):
    """The form cannot be taken; the message is a sentence for the person who filled it in."""


@dataclass(frozen=True)
class Answer:
    """A form, understood."""

    statements: tuple[Statement, ...]
    regions: tuple[Region, ...] = ()
    reason: str = ""
    comment: str = ""
    reference_standard: ReferenceStandard = ReferenceStandard.NONE
    reference_value: str = ""
    reference_date: str = ""  # DA


def read_answer(form: Mapping[str, Any], findings: Sequence[Finding], images: Sequence[Shown], *, blinded: bool = False) -> Answer:
    """Read a form.

    Parameters
    ----------
    form
        Field -> text.
    findings
        Those of the result.
    images
        The pictures shown, in their order; without any nothing can be drawn. A region names its picture by its place, from 0.
    blinded
        The AI's result was not shown: only what the person sees can be said.

    Raises
    ------
    FormMistake
        With what to change.
    """
    kind = _text(form, "answer")
    comment = _text(form, "comment", MAX_COMMENT)
    if blinded and kind != "amend":
        raise FormMistake("Say what you see first; the result is shown afterwards.")
    if kind == "accept":
        return Answer((Statement(Verdict.ACCEPTED),), comment=comment)
    if kind == "withdraw":
        return Answer((Statement(Verdict.WITHDRAWN),), comment=comment)
    regions = _regions(_text(form, "regions", 200_000), images, {one.key for one in findings})
    if kind == "reject":
        reason = _text(form, "reason")
        if reason not in REASONS:
            raise FormMistake("Choose why you reject the result.")
        return Answer((Statement(Verdict.REJECTED),), regions, reason, comment)
    if kind != "amend":
        raise FormMistake("Choose accept, reject or amend.")
    return _amended(form, findings, regions, comment)


def _amended(form: Mapping[str, Any], findings: Sequence[Finding], regions: tuple[Region, ...], comment: str) -> Answer:
    confidence = _step(form, "confidence", 1, 5)
    statements = []
    for finding in findings:
        label = _one_of(form, f"label.{finding.key}", _LABELS)
        likely = _step(form, f"likely.{finding.key}", 0, len(STEPS) - 1)
        seen = _one_of(form, f"map.{finding.key}", ("yes", "no", "unsure"))
        if not label:
            if likely is not None or seen:
                raise FormMistake(f"Say whether {finding.code.meaning.lower()} is present, absent or unsure.")
            continue
        statements.append(
            Statement(
                Verdict.ACCEPTED if _AGREES.get(finding.decision) == label else Verdict.AMENDED,
                finding.key,
                label_after=label,
                assessment=None if likely is None else likely / (len(STEPS) - 1),
                confidence=confidence,
                map_relevant=seen,
            )
        )
    if not statements:
        raise FormMistake("Say of at least one finding whether it is present, absent or unsure.")
    reason = _one_of(form, "reason", REASONS)
    return Answer(tuple(statements), regions, reason, comment, *_reference(form))


def _reference(form: Mapping[str, Any]) -> tuple[ReferenceStandard, str, str]:
    standard = ReferenceStandard(_one_of(form, "reference", tuple(ReferenceStandard)) or "none")
    value = _one_of(form, "reference_value", ("positive", "negative"))
    date = _text(form, "reference_date", 10)
    if standard is ReferenceStandard.NONE:
        if value or date:
            raise FormMistake("Say what the reference is, culture for instance, or leave its value and date empty.")
        return standard, "", ""
    if not value:
        raise FormMistake("Say whether the reference is positive or negative.")
    try:
        day = dt.date.fromisoformat(date).strftime("%Y%m%d") if date else ""
    except ValueError:
        raise FormMistake("The reference's date cannot be read.") from None
    return standard, value, day


def _regions(text: str, images: Sequence[Shown], keys: set[str]) -> tuple[Region, ...]:
    if not text:
        return ()
    try:
        drawn = json.loads(text)
        if not isinstance(drawn, list) or len(drawn) > _MOST_REGIONS:
            raise ValueError
        return tuple(_region(one, images, keys) for one in drawn)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise FormMistake("The drawing cannot be read; draw it again, or leave it out.") from None


def _region(one: dict[str, Any], images: Sequence[Shown], keys: set[str]) -> Region:
    place = int(one.get("place", 0))
    if not 0 <= place < len(images):
        raise ValueError
    image = images[place]
    rows, columns = image.shape
    points = tuple((round(float(x), 2), round(float(y), 2)) for x, y in one["points"])
    finding, sign = str(one.get("finding", "")), int(one.get("sign", 1))
    if not 2 <= len(points) <= _MOST_POINTS or sign not in (1, -1) or (finding and finding not in keys):
        raise ValueError
    if not all(0 <= x <= columns and 0 <= y <= rows for x, y in points):
        raise ValueError
    if len(points) == 2 and (points[0][0] == points[1][0] or points[0][1] == points[1][1]):
        raise ValueError
    return Region(image.sop_instance_uid, points, finding, sign, image.frame or 1)


def _text(form: Mapping[str, Any], name: str, most: int = 64) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise FormMistake("A file is no answer.")
    value = value.replace("\r\n", "\n")  # browsers count the end of a line as one character, and send two
    if len(value) > most:
        raise FormMistake(f"The comment has more than {most} characters." if name == "comment" else "The form cannot be read.")
    return value.strip()


def _one_of(form: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
    value = _text(form, name)
    if value and value not in known:
        raise FormMistake("The form cannot be read; open the page again.")
    return value


def _step(form: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = _text(form, name)
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
        raise FormMistake("The form cannot be read; open the page again.")
    return int(value)
