"""From answers to labels: who counts, for how much, and whether readers agree.

Only answers of authenticated radiologists become labels; of one reader the latest answer to a finding counts, and what was taken
back does not. A reference standard (culture, PCR, pathology, follow-up) decides alone; after it an adjudication; else every reader
weighs in, one who read before seeing the AI fully, one who read after it half, and one who merely accepted it a quarter.
"""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dicom_node.core.feedback import OPINIONS, Context, ReferenceStandard, Verdict
from dicom_node.learning.dawid_skene import dawid_skene

#: A reader's weight is 1 until they share this many cases with others.
ENOUGH_OVERLAP = 30
#: Two readers who differ say nothing of who is right: accuracies can be estimated from three on.
ENOUGH_READERS = 3
#: No reader counts for more than this times the mean.
MOST_WEIGHT = 2.0
AFTER_AI, PLAIN_ACCEPT = 0.5, 0.25
#: What a label from one read counts in training.
SINGLE_READ = 0.5


class LabelStatus(enum.StrEnum):
    """How far the readers of a finding agree."""

    REFERENCE = "reference"  # known from a reference standard
    CONSENSUS = "consensus"  # all on one side, or adjudicated
    LOW_CONSENSUS = "low_consensus"  # a majority, and somebody who differs or is in the middle
    SINGLE_READ = "single_read"
    CONFLICTED = "conflicted"  # as many on one side as on the other, or reference tests that contradict each other


@dataclass(frozen=True)
class Read:
    """One row of the log about one finding, as labels need it.

    ``value``: 0..1, how far the reader holds the finding to be there; ``None``: the answer does not say. ``number``: the row's
    place in the log: a higher one is later.
    """

    number: int
    feedback_id: str
    run_key: str
    study_key: str
    finding: str
    reader: str
    verdict: Verdict
    context: Context
    value: float | None
    plain_accept: bool = False
    ai_shown: bool = True
    reference_standard: ReferenceStandard = ReferenceStandard.NONE
    reference_positive: bool | None = None
    of_whole: bool = False  # the answer was to the whole result


@dataclass(frozen=True)
class Label:
    """What is known of one finding of one result.

    ``label``: 0..1, ``None`` when nothing can be said. ``entropy``: bits, 0 (certain) to 1. ``basis``: reference, adjudication or
    reads. ``weight``: what it counts in training; 0: it is not used. ``reads``: the answers it was made of.
    """

    run_key: str
    study_key: str
    finding: str
    label: float | None
    n_readers: int
    entropy: float
    status: LabelStatus
    basis: str
    weight: float
    reads: tuple[Read, ...]

    @property
    def eligible(self) -> bool:
        """Whether a model may be trained on it."""
        return self.weight > 0


@dataclass(frozen=True)
class ReaderWeight:
    """How a reader counts for one finding. ``accuracy``: by Dawid and Skene, ``None`` while too little is known."""

    overlap: int
    accuracy: float | None = None
    weight: float = 1.0


def value_of(verdict: Verdict, label_before: str, label_after: str, assessment: float | None) -> float | None:
    """Return how far an answer says the finding is there, 0..1; ``None`` where it does not say.

    ``label_before``: what the AI had said (positive, negative, review, not_assessed). To accept or reject a result that itself took
    no side says nothing of the patient.
    """
    if verdict not in OPINIONS:
        return None
    if assessment is not None:
        return min(1.0, max(0.0, assessment))
    if label_after:
        return {"present": 1.0, "absent": 0.0}.get(label_after)
    said = {"positive": 1.0, "negative": 0.0}.get(label_before)
    if said is None or verdict is Verdict.AMENDED:
        return None
    return said if verdict is Verdict.ACCEPTED else 1.0 - said


def standing_reads(rows: Iterable[Read]) -> list[Read]:
    """Return what still holds: nothing taken back, and of each reader, finding and context the latest answer.

    A row that withdraws takes back what its reader said of the finding before, in whichever context. What a reader said before the
    AI was shown is not corrected by what they said after it, and the outcome of a test is not changed by an opinion.
    """
    latest: dict[tuple[str, str, str], dict[Context | ReferenceStandard, Read]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.number):
        if not row.reader:
            continue
        held = latest[row.run_key, row.finding, row.reader]
        if row.verdict is Verdict.WITHDRAWN:
            held.clear()
            continue
        if row.verdict in OPINIONS and not _adds_nothing(row, held.get(row.context)):
            held[row.context] = replace(row, reference_positive=None)
        if row.reference_positive is not None:
            held[row.reference_standard] = replace(row, value=None)
    return sorted((row for held in latest.values() for row in held.values()), key=lambda row: row.number)


def _adds_nothing(row: Read, held: Read | None) -> bool:
    """Say whether somebody who has accepted the finding now accepts the whole of several: that unsays nothing."""
    accepts_whole = row.of_whole and row.value is None and row.verdict is Verdict.ACCEPTED
    return accepts_whole and held is not None and held.verdict is Verdict.ACCEPTED


def aggregate(rows: Iterable[Read]) -> tuple[list[Label], dict[tuple[str, str], ReaderWeight]]:
    """Return one label a result and finding, in order of the first answer, and how each (reader, finding) counts.

    Rows of golden cases label nothing: their answer is known, they are there to know the readers.
    """
    reads = [row for row in standing_reads(rows) if row.context is not Context.GOLDEN_CASE]
    weights = reader_weights(reads)
    grouped: dict[tuple[str, str], list[Read]] = defaultdict(list)
    for row in reads:
        grouped[row.run_key, row.finding].append(row)
    spoken = [group for group in grouped.values() if any(r.value is not None or r.reference_positive is not None for r in group)]
    return [_label(group, weights) for group in spoken], weights


def golden_accuracy(rows: Iterable[Read], known: Mapping[tuple[str, str], bool]) -> dict[str, tuple[int, int]]:
    """Return by reader how many golden findings they got right, and how many they answered.

    Parameters
    ----------
    known
        Whether the finding is there, by (study, finding).
    """
    counted: dict[str, tuple[int, int]] = {}
    for row in standing_reads(rows):
        truth = known.get((row.study_key, row.finding))
        if row.context is Context.GOLDEN_CASE and truth is not None and row.value is not None:
            right, answered = counted.get(row.reader, (0, 0))
            # in the middle is not right: the answer was there to be seen
            counted[row.reader] = right + int(row.value != 0.5 and (row.value > 0.5) == truth), answered + 1
    return counted


def reader_weights(reads: Sequence[Read]) -> dict[tuple[str, str], ReaderWeight]:
    """Return how each reader counts, finding by finding: max(0, log-odds of their accuracy), mean 1, at most 2.

    Accuracy is that of ``dawid_skene`` over cases that at least two readers read, for readers with 30 such cases or more, three
    such readers at least: from two who differ nobody can tell who is right. If none is better than chance, all count alike.
    """
    calls: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for finding, run_key, reader, value in ((r.finding, r.run_key, r.reader, r.value) for r in _one_per_reader(reads)):
        if value is not None and value != 0.5:
            calls[finding][run_key][reader] = int(value > 0.5)
    result: dict[tuple[str, str], ReaderWeight] = {}
    for finding, by_case in calls.items():
        shared = {run_key: said for run_key, said in by_case.items() if len(said) > 1}
        names = sorted({reader for said in by_case.values() for reader in said})
        overlap = {name: sum(name in said for said in shared.values()) for name in names}
        result |= {(name, finding): ReaderWeight(overlap[name]) for name in names}
        known = [name for name in names if overlap[name] >= ENOUGH_OVERLAP]
        if len(known) < ENOUGH_READERS:
            continue
        single = [(n, names.index(reader), call) for n, by in enumerate(shared.values()) for reader, call in by.items()]
        cases, who, said = zip(*single, strict=True)
        accuracy = dawid_skene(cases, who, said).accuracy
        odds = {name: max(0.0, _log_odds(float(accuracy[names.index(name)]))) for name in known}
        mean = sum(odds.values()) / len(odds)
        for name in known:
            weight = min(MOST_WEIGHT, odds[name] / mean) if mean > 0 else 1.0
            result[name, finding] = ReaderWeight(overlap[name], float(accuracy[names.index(name)]), weight)
    return result


def _one_per_reader(reads: Iterable[Read]) -> list[Read]:
    """Of a reader who read one finding twice, the better placed reading: to adjudicate, before the AI, after it."""
    best: dict[tuple[str, str, str], Read] = {}
    for row in reads:
        key = (row.run_key, row.finding, row.reader)
        if key not in best or _rank(row) >= _rank(best[key]):
            best[key] = row
    return list(best.values())


def _rank(row: Read) -> int:
    if row.context is Context.ADJUDICATION:
        return 2
    return int(_blinded(row))


def _blinded(row: Read) -> bool:
    return row.context is Context.BLINDED_FIRST_READ or (row.context is Context.RANDOM_AUDIT and not row.ai_shown)


def _label(group: list[Read], weights: Mapping[tuple[str, str], ReaderWeight]) -> Label:
    reads = [row for row in _one_per_reader(group) if row.value is not None]
    references = {row.reference_positive for row in group if row.reference_positive is not None}
    basis, label, used = "reads", None, reads
    if references:
        basis, label = "reference", float(references.pop()) if len(references) == 1 else None
    else:
        adjudicated = [row for row in reads if row.context is Context.ADJUDICATION]
        if adjudicated:
            basis, used = "adjudication", adjudicated
        label = _mean(used, weights)
    status = _status(basis, label, used)
    settled = status is not LabelStatus.CONFLICTED and label is not None
    weight = (SINGLE_READ if status is LabelStatus.SINGLE_READ else 1.0) if settled else 0.0
    first, readers = group[0], len({row.reader for row in reads})
    entropy = _entropy(label) if label is not None else 1.0
    return Label(first.run_key, first.study_key, first.finding, label, readers, entropy, status, basis, weight, tuple(group))


def _mean(reads: Sequence[Read], weights: Mapping[tuple[str, str], ReaderWeight]) -> float | None:
    """Return the weighted mean of what was said; readers who are all no better than chance weigh alike."""
    if not reads:
        return None
    own = [weights.get((row.reader, row.finding), ReaderWeight(0)).weight for row in reads]
    if not any(own):
        own = [1.0] * len(reads)
    pairs = [(w * _context_weight(row), row.value or 0.0) for w, row in zip(own, reads, strict=True)]
    return sum(w * value for w, value in pairs) / sum(w for w, _ in pairs)


def _context_weight(row: Read) -> float:
    if row.context is Context.ADJUDICATION or _blinded(row):
        return 1.0
    return PLAIN_ACCEPT if row.plain_accept else AFTER_AI


def _status(basis: str, label: float | None, reads: Sequence[Read]) -> LabelStatus:
    if basis == "reference":
        return LabelStatus.CONFLICTED if label is None else LabelStatus.REFERENCE
    values = [row.value for row in reads if row.value is not None]
    up, down = sum(v > 0.5 for v in values), sum(v < 0.5 for v in values)
    if up == down and values:
        return LabelStatus.CONFLICTED if len(values) > 1 else LabelStatus.SINGLE_READ
    if basis == "adjudication" and max(up, down) == len(values):
        return LabelStatus.CONSENSUS
    if len(values) <= 1:
        return LabelStatus.SINGLE_READ
    return LabelStatus.CONSENSUS if max(up, down) == len(values) else LabelStatus.LOW_CONSENSUS


def _entropy(p: float) -> float:
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)


def _log_odds(accuracy: float) -> float:
    kept = min(1 - 1e-3, max(1e-3, accuracy))
    return math.log(kept / (1 - kept))
