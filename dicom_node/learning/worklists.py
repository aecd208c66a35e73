"""Which results people are asked to look at, and why (W1 to W6). Pure: what is known of a result goes in, what is asked out."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicom_node.core.findings import Decision, Zone
from dicom_node.learning.labels import Label, LabelStatus
from dicom_node.learning.settings import WorklistSettings


class Worklist(enum.StrEnum):
    """The lists. The values are kinds of tasks."""

    MANDATORY_AUDIT = "mandatory_audit"  # W1: called normal, and perhaps is not
    GRAY_ZONE = "gray_zone"  # W2: a person decides before it is reported
    HIGH_CONFIDENCE_CONFUSION = "high_confidence_confusion"  # W3: certain and contradicted, or certain for the wrong reason
    LOW_CONSENSUS = "low_consensus"  # W4: readers differ
    RANDOM_AUDIT = "random_audit"  # W5: drawn at random
    GOLDEN_CASE = "golden_case"  # W6: the answer is known; the reader sees a random audit
    CHOSEN = "chosen_to_learn"  # by the query score, when somebody asks for a batch (dicom-node learning next --ask)


#: What a reader is told of a case drawn at random: and of a golden one, word for word.
DRAWN = "Drawn at random, to know how well the model does here."
#: What a reader is told of a case that the query score chose.
CHOSEN_WHY = "Chosen because an answer teaches much: the model is unsure of it, or has seen few like it."


@dataclass(frozen=True)
class Said:
    """What the model says of one finding; assessed ones only."""

    finding: str
    probability: float
    decision: Decision
    threshold_low: float | None = None


@dataclass(frozen=True)
class Case:
    """A result that stands. ``answered``: a radiologist has said something of it. ``drawn``: chance chose it."""

    zone: Zone | None
    said: tuple[Said, ...]
    flags: tuple[str, ...] = ()
    answered: bool = False
    drawn: bool = False
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True)
class Asked:
    """One entry: the list, and why in a sentence without identifiers."""

    worklist: Worklist
    why: str


def asked_of(case: Case, settings: WorklistSettings) -> list[Asked]:
    """Return the lists a result belongs on, each once.

    What nobody has answered is audited (W1) or read (W2), not both, and may be drawn (W5); W3 and W4, and W1 after a reference
    test, come of answers.
    """
    asked = list(_after_answers(case, settings))
    if not case.answered:
        asked += _before_answers(case, settings)
    first: dict[Worklist, Asked] = {}
    for one in asked:
        first.setdefault(one.worklist, one)
    if Worklist.MANDATORY_AUDIT in first:
        first.pop(Worklist.GRAY_ZONE, None)
    return list(first.values())


def due_golden(answers: int, opened: int, share: float) -> int:
    """Return how many golden cases a reader of so many results is still to be given, after those opened so far."""
    return max(0, int(answers * share + 1e-9) - opened)


def _before_answers(case: Case, settings: WorklistSettings) -> Iterator[Asked]:
    certain = 1 - max((one.probability for one in case.said), default=0.0)
    if case.zone is Zone.NOT_SUSPECTED and certain < settings.least_certain_normal:
        yield Asked(Worklist.MANDATORY_AUDIT, f"Called not suspected with a certainty of only {certain:.2f}.")
    for one in case.said:
        low = one.threshold_low
        if case.flags and one.decision is Decision.NEGATIVE and low is not None and one.probability >= low:
            text = f"Negative for {one.finding}, at or above the lower threshold, and the image has warnings."
            yield Asked(Worklist.MANDATORY_AUDIT, text)
    if case.zone is Zone.GRAY:
        yield Asked(Worklist.GRAY_ZONE, "In the gray zone: a person decides before it is reported.")
    if "shortcut_suspect" in case.flags:
        yield Asked(Worklist.HIGH_CONFIDENCE_CONFUSION, "Much of the network's attention lies at the image border.")
    if case.drawn:
        yield Asked(Worklist.RANDOM_AUDIT, DRAWN)


def _after_answers(case: Case, settings: WorklistSettings) -> Iterator[Asked]:
    said = {one.finding: one for one in case.said}
    for label in case.labels:
        one = said.get(label.finding)
        known = {row.reference_positive for row in label.reads if row.reference_positive is not None}
        if one is not None and True in known and one.decision is Decision.NEGATIVE:
            yield Asked(Worklist.MANDATORY_AUDIT, f"A reference test found {label.finding}; the result was negative.")
        if one is not None and _contradicted(one, label, known, settings.very_certain):
            who = "A reference test" if known else "A reader"
            certainty = max(one.probability, 1 - one.probability)
            text = f"{who} contradicts the result on {label.finding}, which was certain ({certainty:.2f})."
            yield Asked(Worklist.HIGH_CONFIDENCE_CONFUSION, text)
        if label.status in (LabelStatus.LOW_CONSENSUS, LabelStatus.CONFLICTED):
            tests = label.basis == "reference"
            text = "Reference tests contradict each other" if tests else f"{label.n_readers} readers differ"
            yield Asked(Worklist.LOW_CONSENSUS, f"{text} on {label.finding}: one more reader is asked.")


def _contradicted(one: Said, label: Label, references: set[bool], very_certain: float) -> bool:
    """Say whether the model was very certain and a reference test, else any reader, is on the other side."""
    if max(one.probability, 1 - one.probability) <= very_certain:
        return False
    positive = one.probability > 0.5
    if references:
        return (not positive) in references
    values: Sequence[float] = [row.value for row in label.reads if row.value is not None]
    return any(value != 0.5 and (value > 0.5) != positive for value in values)
