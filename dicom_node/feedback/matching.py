"""Which result is meant? One, or the answer does not count: nothing is guessed.

Each thing that a message names stands for a set of runs: a SOP Instance UID for one, a number that later results keep (OBR-3, the
identifier of a report) for several. What all of them have in common is meant, and of that only what is current.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.feedback import Targets
from dicom_node.core.identifiers import derived_uid
from dicom_node.feedback import repository

#: States of a run that has given an answer which stands.
ANSWERED = ("analysed", "not_analysed")
#: ``imaging.overlay.LEVELS``, without loading what draws: the levels by which regions of a saliency map are named.
_LEVELS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Match:
    """What was found. ``problem``: empty, or unknown | several | superseded | withdrawn.

    ``run_key`` and ``study_key`` are given, as far as they are known, also where there is a problem: for a link, not for a verdict.
    """

    run_key: str = ""
    study_key: str = ""
    problem: str = ""


def match(connection: sa.Connection, targets: Targets) -> Match:
    """Return the one current result that is meant.

    Every SOP Instance UID must be of an object of ours. Of identifiers and tracking UIDs those that are not ours are passed over,
    if another one is: a report may carry findings of its own beside ours, a resource the numbers of its server.
    """
    sets = list(_named(connection, targets))
    if any(not runs for runs in sets) or not sets:
        return Match(study_key=targets.study_key, problem="unknown")
    common = set.intersection(*sets)
    rows = repository.run_rows(connection, common)
    if targets.study_key:
        rows = [row for row in rows if row.study_key == targets.study_key]
    studies = {row.study_key for row in rows}
    study_key = studies.pop() if len(studies) == 1 else ""
    if not rows or not study_key:
        return Match(problem="several")
    current = [row for row in rows if is_current(connection, row)]
    if len(current) == 1:
        return Match(current[0].run_key, study_key)
    if current:
        return Match(study_key=study_key, problem="several")
    newest = max(rows, key=lambda row: row.revision)
    withdrawn = newest.state == "withdrawn" or not _of_this_revision(connection, newest)
    return Match(newest.run_key if len(rows) == 1 else "", study_key, "withdrawn" if withdrawn else "superseded")


def is_current(connection: sa.Connection, row: Any) -> bool:
    """Say whether a run (its row) is the result that stands: answered, not withdrawn, not replaced, of the study as it is now."""
    return row.state in ANSWERED and not repository.has_newer_answer(connection, row) and _of_this_revision(connection, row)


def current_result(connection: sa.Connection, run_key: str) -> Any | None:
    """Return the row of a run if it is the result that stands, else ``None``."""
    rows = repository.run_rows(connection, {run_key})
    return rows[0] if rows and is_current(connection, rows[0]) else None


def _of_this_revision(connection: sa.Connection, row: Any) -> bool:
    """Say whether the study is as it was then; if not, the result is about to be withdrawn."""
    made_for = (row.request or {}).get("study_revision")
    return made_for is None or made_for == repository.study_revision(connection, row.study_key)


def _named(connection: sa.Connection, targets: Targets) -> Iterator[set[str]]:
    if targets.run_key:
        yield {row.run_key for row in repository.run_rows(connection, {targets.run_key})}
    for uid in targets.sop_instance_uids:
        yield repository.runs_of_object(connection, uid)
    better = bool(targets.run_key or targets.sop_instance_uids)
    ours = [runs for value in targets.identifiers if (runs := repository.runs_of_identifier(connection, value))]
    tracked = _runs_of_tracking_uids(connection, targets.tracking_uids, targets.study_key)
    if targets.identifiers or targets.tracking_uids:
        yield from (*ours, *tracked)
        if not ours and not tracked and not better:
            yield set()
        better = True
    if targets.accession_number and not better:
        rows = repository.runs_of_accession(connection, targets.accession_number)
        yield {row.run_key for row in rows if is_current(connection, row)} or {row.run_key for row in rows}


def _runs_of_tracking_uids(connection: sa.Connection, uids: Iterable[str], study_key: str) -> list[set[str]]:
    """Return the runs whose findings have these tracking UIDs, each once.

    They are not stored: each is derived from its run. So runs are gone through, of the study where it is known, else of all.
    """
    wanted = set(uids)
    if not wanted:
        return []
    found = (
        row.run_key
        for row in repository.answered_rows(connection, study_key)
        if any(tracking_uid(row.run_key, part) in wanted for part in _tracked(row))
    )
    return [{run_key} for run_key in dict.fromkeys(found)]


def tracking_uid(run_key: str, finding: str) -> str:
    """Return the Tracking UID (112040, DCM) under which our structured reports and segmentations speak of a finding."""
    return derived_uid(run_key, "tracking", finding)


def _tracked(row: Any) -> Iterator[str]:
    """Yield what has a tracking UID in a result: findings, lungs, regions of the saliency map."""
    yield "lungs"
    for finding in findings_of(row):
        yield finding
        yield from (f"saliency|{finding}|{level}" for level in _LEVELS)


def findings_of(row: Any) -> tuple[str, ...]:
    """Return the keys of the findings of a run, by the summary in its row."""
    summary = row.summary or {}
    return (*summary.get("probabilities", {}), *summary.get("not_assessed", ()))
