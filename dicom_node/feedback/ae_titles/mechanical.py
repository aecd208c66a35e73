"""Is it a person who answers, or a machine that forwards? Pure: no tables, no sockets.

A PACS that forwards every new object to the answer AE titles would accept, reject and amend all there is. Three things tell it from
a person: one result at two answers, an answer sooner than anybody reads, more answers than anybody gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.feedback.settings import AnswerAeSettings

MINUTE = 60.0


@dataclass(frozen=True)
class Sent:
    """One object of a result of ours that came to an answer AE title. Times are UTC, in seconds since 1970."""

    answer: int  # objects that are judged together have one number
    calling_ae: str
    called_ae: str
    run_key: str
    at: float
    delivered: tuple[float, ...] = ()  # when each destination got the object; empty: none has it
    new: bool = True  # not judged before: what was delivered once more since then makes no old answer too early


def mechanical(sent: Iterable[Sent], settings: AnswerAeSettings) -> dict[str, str]:
    """Return the calling AE titles whose answers look mechanical, each with the reason in a sentence without identifiers."""
    ordered = sorted(sent, key=lambda one: (one.at, one.answer))
    found: dict[str, str] = {}
    for calling_ae in _at_two_answers(ordered, settings.two_answers_seconds):
        found.setdefault(calling_ae, f"One result came to two answer AE titles within {settings.two_answers_seconds:g} s.")
    for one in ordered:
        if one.new and is_early(one.at, one.delivered, settings.early_seconds):
            text = f"An answer came before the result was delivered, or less than {settings.early_seconds:g} s after."
            found.setdefault(one.calling_ae, text)
    for calling_ae in _too_many(ordered, settings.most_a_minute):
        found.setdefault(calling_ae, f"More than {settings.most_a_minute} answers came within a minute.")
    return found


def is_early(at: float, delivered: Iterable[float], early_seconds: float) -> bool:
    """Say whether an object came back before it was delivered anywhere, or right after a delivery of it."""
    before = [moment for moment in delivered if moment <= at]
    return not before or at - max(before) < early_seconds


def _at_two_answers(ordered: list[Sent], seconds: float) -> Iterable[str]:
    """Yield the callers of results that came to two answers; two callers may share the work: a PACS has several titles."""
    last: dict[tuple[str, str], Sent] = {}  # by result and answer
    answers: dict[str, set[str]] = defaultdict(set)
    for one in ordered:
        for called_ae in answers[one.run_key] - {one.called_ae}:
            other = last[one.run_key, called_ae]
            if one.at - other.at <= seconds and (one.new or other.new):
                yield from (other.calling_ae, one.calling_ae)
        last[one.run_key, one.called_ae] = one
        answers[one.run_key].add(one.called_ae)


def _too_many(ordered: list[Sent], most: int) -> Iterable[str]:
    """Yield the callers of more answers than ``most`` in any minute; each answer counts once, at its first object."""
    firsts: dict[str, dict[int, float]] = defaultdict(dict)
    for one in ordered:
        firsts[one.calling_ae].setdefault(one.answer, one.at)
    for calling_ae, answers in firsts.items():
        moments = sorted(answers.values())
        if any(late - early < MINUTE for early, late in zip(moments, moments[most:], strict=False)):
            yield calling_ae
