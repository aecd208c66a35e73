"""When an archive is asked whether somebody has answered a study, and what of its list is fetched. Pure.

Most answers come within the hour; a study is asked about less often as its result grows old, and seldom once it is answered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

#: Modalities of series that answers are in (PS3.3, C.7.3.1.1.1).
MODALITIES = frozenset(("SR", "KO", "PR", "ASMT"))
#: A study is asked about after a twentieth of its result's age, and not before ``poll_seconds``.
_SHARE_OF_AGE = 20
#: After an answer came, corrections are rare.
_ANSWERED = 12
#: An object that was fetched so often and never arrived is left alone.
MOST_FETCHES = 3


@dataclass(frozen=True)
class Asked:
    """What came of asking one archive about one study so far.

    ``listed``: Series Instance UID -> how many objects it had when it was listed. ``fetched``: SOP Instance UID -> times.
    """

    at_utc: float = 0.0
    listed: Mapping[str, int] = field(default_factory=dict)
    fetched: Mapping[str, int] = field(default_factory=dict)


def due_utc(asked_utc: float, *, delivered_utc: float, answered: bool, poll_seconds: float) -> float:
    """Return when a study is asked about (again)."""
    age = max(0.0, asked_utc - delivered_utc)
    pause = max(poll_seconds, age / _SHARE_OF_AGE)
    return max(asked_utc, delivered_utc) + pause * (_ANSWERED if answered else 1)


def is_listed(asked: Asked, series_uid: str, count: int | None) -> bool:
    """Say whether a series is as it was when its objects were listed."""
    return count is not None and asked.listed.get(series_uid) == count


def wanted(found: Mapping[str, str], here: Collection[str], asked: Asked, documents: Collection[str]) -> dict[str, str]:
    """Return what is to be fetched of one series.

    Parameters
    ----------
    found
        SOP Instance UID -> SOP Class UID (empty where not said), as the archive lists it.
    here
        What the node has, and what it made.
    documents
        SOP classes that may be an answer.
    """
    return {
        uid: sop_class
        for uid, sop_class in found.items()
        if uid not in here and (not sop_class or sop_class in documents) and asked.fetched.get(uid, 0) < MOST_FETCHES
    }
