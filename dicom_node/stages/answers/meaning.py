"""What the answers that stand mean for what was, and what was not, sent. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from dicom_node.core.feedback import Strength, Verdict
from dicom_node.feedback.standing import Standing

Said = frozenset[tuple[object, ...]]


class Waiting(enum.Enum):
    """What becomes of a result that waits for an answer (``release: after_answer``)."""

    SENT = "sent"  # a radiologist accepted or amended it
    REJECTED = "rejected"  # a radiologist rejected it: not sent while that stands
    WEAK = "weak"  # only answers that count for nothing: it goes on waiting
    UNANSWERED = "unanswered"


def what_waits(standing: Mapping[str, Standing]) -> Waiting:
    """Return what becomes of it. What was said last of the whole result counts before single findings said earlier."""
    strong = [one for one in standing.values() if one.strength is Strength.STRONG]
    if not strong:
        return Waiting.WEAK if standing else Waiting.UNANSWERED
    whole = standing.get("")
    if whole in strong and whole is not None and whole.number == max(one.number for one in strong):
        strong = [whole]
    return Waiting.REJECTED if any(one.verdict is Verdict.REJECTED for one in strong) else Waiting.SENT


def is_to_be_hidden(standing: Mapping[str, Standing]) -> bool:
    """Say whether a radiologist rejected the whole result, and no other one holds otherwise: hiding cannot be undone."""
    whole = standing.get("")
    return _strong(whole) and whole is not None and whole.verdict is Verdict.REJECTED and not whole.conflict


def is_upheld(standing: Mapping[str, Standing]) -> bool:
    """Say whether a radiologist accepted or amended the result, wholly or, where nobody answered the whole, in part."""
    whole = standing.get("")
    about = [whole] if whole is not None and _strong(whole) else list(standing.values())
    return any(_strong(one) and one.verdict is not Verdict.REJECTED for one in about)


def said(standing: Mapping[str, Standing]) -> Said:
    """Return what an archive would be told: the same answers by the same people say the same, whatever their row."""
    return frozenset(
        (one.finding, one.verdict, one.strength, one.reader, one.label_after, one.reason, one.conflict) for one in standing.values()
    )


def _strong(one: Standing | None) -> bool:
    return one is not None and one.strength is Strength.STRONG
