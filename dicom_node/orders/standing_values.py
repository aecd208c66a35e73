"""Which of several statements about a laboratory test hold, in whatever order they came. Pure.

Versions of one FHIR resource: the newest alone counts. ``meta.lastUpdated`` says which that is; where it is missing or equal,
``issued``; where that says nothing either, the status: a resource goes from final to corrected to taken back, and not the other way
(FHIR R4, valueset-observation-status); of the same status the version that came last. ``meta.versionId`` is opaque and is not read.

Of one test (code) of one person at one time, whichever resource or message says it:

==============================================  ===================================================================================
taken back (D, W, entered-in-error, cancelled)  ends what was said before it; where either does not say when, all that was said
corrected (C, corrected, amended)               ends every final value: one of these changes by a correction alone (HL7 table 0085).
                                                Of several corrections the one that was said last counts
final (F, final)                                holds beside others; of those the one that was said last is the latest
==============================================  ===================================================================================

When it was said: OBR-22, else MSH-7; ``issued``, else ``meta.lastUpdated``; of what FHIR takes back ``meta.lastUpdated``, since
``issued`` may be that of the value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

FINAL = ("F", "C")
WITHDRAWN = ("D", "W")
_RANK = {"F": 0, "C": 1, "D": 2, "W": 2}


class Version(NamedTuple):
    """Status and times of one version. Seconds since 1970, UTC; ``None``: not said."""

    status: str
    stated_utc: float | None
    version_utc: float | None


class Statement(NamedTuple):
    """One row of ``lab_result``."""

    number: int  # of the row: later ones are higher
    code: str
    value: str
    unit: str
    status: str  # OBX-11: F final, C corrected, D or W taken back
    observed_utc: float | None
    stated_utc: float | None
    received_utc: float
    source: str  # hl7 | fhir
    resource: str


def is_newer(new: Version, known: Version) -> bool:
    """Say whether a version of a FHIR resource counts instead of the one that is known."""
    for mine, other in ((new.version_utc, known.version_utc), (new.stated_utc, known.stated_utc)):
        if mine is not None and other is not None and mine != other:
            return mine > other
    return _RANK[new.status] >= _RANK[known.status]


def standing(said: Iterable[Statement]) -> list[Statement]:
    """Return the values that hold, oldest first: by when it was observed, then by when it was said.

    Parameters
    ----------
    said
        Everything that was said of one person; of a FHIR resource its newest version only.
    """
    tests: defaultdict[tuple[str, float | None], list[Statement]] = defaultdict(list)
    for one in said:
        tests[one.code, one.observed_utc].append(one)
    found = [one for test in tests.values() for one in _of_one_test(test)]
    return sorted(found, key=lambda one: (one.received_utc if one.observed_utc is None else one.observed_utc, *_last_said(one)))


def _of_one_test(said: list[Statement]) -> list[Statement]:
    taken_back = [one for one in said if one.status in WITHDRAWN]
    left = [one for one in said if one.status in FINAL and not any(_ends(back, one) for back in taken_back)]
    corrected = [one for one in left if one.status == "C"]
    if not corrected:
        return left
    last = max(corrected, key=_last_said)
    return [one for one in corrected if _said_at_once(one, last)]


def _ends(back: Statement, value: Statement) -> bool:
    """Say whether what was taken back was this value; a message may take one back and give another in its place."""
    if _said_at_once(back, value):
        return False
    return back.stated_utc is None or value.stated_utc is None or back.stated_utc >= value.stated_utc


def _said_at_once(one: Statement, other: Statement) -> bool:
    """Say whether both stand in one message, or one version of a resource: it may have several values, and none ends another."""
    return (one.source, one.resource, one.received_utc) == (other.source, other.resource, other.received_utc)


def _last_said(one: Statement) -> tuple[float, int]:
    return one.received_utc if one.stated_utc is None else one.stated_utc, one.number
