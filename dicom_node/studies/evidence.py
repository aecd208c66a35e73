"""What arrived against what an archive lists: ask, fetch, wait, or start. Pure.

A count is believed when two in succession are equal: an archive that is itself still receiving says something else each time.
What the archive says wrongly must never keep a study back: a list of objects beats a count, a failure leaves the quiet time alone,
and the ceiling ends everything.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

#: How often what is missing is fetched before the study is called incomplete.
MOST_FETCHES = 2
#: How long a study waits for its turn to ask; in a burst, answers late by the clock are worse than answers by quiet time.
BUSY_SECONDS = 60.0

#: Modalities of series that hold no image (PS3.3, C.7.3.1.1.1): no rule reads them, so they are never waited for.
NOT_IMAGES = frozenset(
    (
        *("ASMT", "AU", "DOC", "ECG", "EPS", "FID", "HD", "KO", "LEN", "PLAN", "PR", "REG", "RESP", "RTPLAN", "RTRECORD"),
        *("RTSTRUCT", "RWV", "SEG", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "VA"),
    )
)


class Next(enum.StrEnum):
    """What to do with a study whose quiet time has passed."""

    ASK = "ask"  # count once more
    FETCH = "fetch"  # what is missing is known
    WAIT = "wait"  # until ``at_utc``
    GO = "go"  # start it


@dataclass(frozen=True)
class Answer:
    """What became of one question, as the table ``archive_answer`` has it.

    ``counts``: number of objects there, by series that a rule wants, without our own. ``instances``: their SOP Instance UIDs, where
    they were asked for. ``problem``: why there is no answer, one sentence; ``final``: asking again cannot help.
    """

    at_utc: float
    question: str  # count | fetch | busy: no turn was free | waived: a person said that the study is whole enough
    counts: Mapping[str, int] = field(default_factory=dict)
    instances: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()  # SOP classes among ``instances``
    problem: str = ""
    final: bool = False


@dataclass(frozen=True)
class Standing:
    """What to do next, and why.

    ``missing``: SOP Instance UIDs by series; empty where only their number is known. ``short``: how many objects are missing.
    ``waived``: a person wants it started all the same.
    """

    next: Next
    at_utc: float = 0.0
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    short: int = 0
    agreed: bool = False  # two equal counts, and nothing is missing
    waived: bool = False
    waits_for_turn: bool = False  # there was no turn the last time
    problem: str = ""


def standing(
    answers: Sequence[Answer],
    held: Mapping[str, Collection[str]],
    *,
    now_utc: float,
    ceiling_utc: float,
    pause_seconds: float,
) -> Standing:
    """Return what to do with a study.

    Parameters
    ----------
    answers
        Since the study was opened, oldest first.
    held
        SOP Instance UIDs that are here, by series, our own objects left out.
    pause_seconds
        Between two counts, and between two attempts to fetch.
    """
    counts = [answer for answer in answers if answer.question == "count"]
    last = counts[-1] if counts else None
    missing, short = _missing(last, held) if last else ({}, 0)
    if answers and answers[-1].question == "waived":
        return Standing(Next.GO, missing=missing, short=short, waived=True)
    if last is not None and last.problem:
        return Standing(Next.GO, problem=last.problem)
    if answers and answers[-1].question == "busy" and now_utc >= answers[-1].at_utc + BUSY_SECONDS:
        return Standing(Next.GO, missing=missing, short=short, problem="It was asked as often as max_queries_per_minute allows.")
    late = now_utc >= ceiling_utc
    agreed = len(counts) > 1 and not counts[-2].problem and counts[-2].counts == counts[-1].counts
    if not agreed:
        if late:
            return Standing(Next.GO, missing=missing, short=short, problem="It gave no two equal counts in time.")
        waits = bool(answers) and answers[-1].question == "busy"
        return _after(last, pause_seconds, now_utc, Standing(Next.ASK, waits_for_turn=waits))
    if not short:
        return Standing(Next.GO, agreed=True)
    fetches = [answer for answer in answers if answer.question == "fetch"]
    problem = fetches[-1].problem if fetches else ""
    if late or len(fetches) >= MOST_FETCHES or (fetches and fetches[-1].final):
        return Standing(Next.GO, missing=missing, short=short, problem=problem)
    return _after(fetches[-1] if fetches else None, pause_seconds, now_utc, Standing(Next.FETCH, missing=missing, short=short))


def _after(answer: Answer | None, pause_seconds: float, now_utc: float, then: Standing) -> Standing:
    if answer is not None and now_utc < answer.at_utc + pause_seconds:
        return Standing(Next.WAIT, at_utc=answer.at_utc + pause_seconds)
    return then


def _missing(answer: Answer, held: Mapping[str, Collection[str]]) -> tuple[dict[str, tuple[str, ...]], int]:
    """Return what the archive lists and is not here, by series, and how many objects that is."""
    here = {uid for uids in held.values() for uid in uids}
    missing: dict[str, tuple[str, ...]] = {}
    short = 0
    for series_uid, count in answer.counts.items():
        if series_uid in answer.instances:
            absent = tuple(uid for uid in answer.instances[series_uid] if uid not in here)
            number = len(absent)
        else:
            absent, number = (), max(0, count - len(held.get(series_uid, ())))
        if number:
            missing[series_uid] = absent
            short += number
    return missing, short
