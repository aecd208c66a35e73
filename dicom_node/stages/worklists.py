"""inference, feedback -> learning -> feedback: results are looked through, and people are asked about some.

Level-triggered: what is asked follows from results and answers alone, and asking twice asks once; a worker that dies loses nothing.
Each look takes only what came since the last one; the first goes back as far as ``learning.worklists.look_back_days``.
"""

from __future__ import annotations

import time
from collections import defaultdict

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.feedback import ReaderClaim, Strength
from dicom_node.core.findings import Findings
from dicom_node.feedback.readers import identify
from dicom_node.feedback.tasks import close_tasks, open_task
from dicom_node.home import Home
from dicom_node.inference.findings_store import load_outcome
from dicom_node.learning import repository
from dicom_node.learning.labels import Label, aggregate
from dicom_node.learning.worklists import DRAWN, Case, Said, Worklist, asked_of, due_golden
from dicom_node.stages.rooms import Rooms
from dicom_node.store.connect import reading

#: How often results and answers are looked through.
SECONDS = 60.0
#: A result whose row was written while the last look went on is not missed.
_OVERLAP_SECONDS = 120.0
_DAY = 86400.0
#: Results looked at in one transaction.
_AT_ONCE = 100


class Worklists:
    """What was looked through so far, in this process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._settings = rooms.settings.learning.worklists
        self._since_utc = 0.0
        self._number = 0

    def fill(self) -> int:
        """Ask about what came since the last look; return how many results were looked at."""
        if not self._settings.enabled:
            return 0
        now, oldest = time.time(), time.time() - self._settings.look_back_days * _DAY
        with reading(self._rooms.database) as connection:
            number = repository.last_number(connection)
            rows = repository.results_since(connection, max(self._since_utc - _OVERLAP_SECONDS, oldest))
            if number > self._number:
                rows += repository.answered_since(connection, self._number, oldest)
            void = repository.void_tasks(connection)
        found = {row.run_key: row for row in rows}
        keys = sorted(found)
        for start in range(0, len(keys), _AT_ONCE):
            self._ask([found[key] for key in keys[start : start + _AT_ONCE]])
        if void:
            with self._rooms.database.begin() as connection:
                for run_key in void:
                    close_tasks(connection, run_key, "The result was replaced or withdrawn.")
        self._give_golden(now)
        self._since_utc, self._number = now, number
        return len(keys)

    def _ask(self, rows: list[sa.Row[tuple[str, str, float]]]) -> None:
        keys = [row.run_key for row in rows]
        with reading(self._rooms.database) as connection:
            answered = repository.answered_runs(connection, keys)
            labels: dict[str, list[Label]] = defaultdict(list)
            for label in aggregate(repository.reads(connection, keys))[0]:
                labels[label.run_key].append(label)
        wanted = []
        for row in rows:
            try:
                findings = load_outcome(self._rooms.home.results / row.run_key)
            except (OSError, ValueError, KeyError) as error:  # retention or an erasure was faster
                log.event("worklist.left_out", run=row.run_key, error=type(error).__name__)
                continue
            drawn = is_drawn(self._rooms.home, row.run_key, self._settings.random_share)
            case = case_of(findings, answered=row.run_key in answered, drawn=drawn, labels=tuple(labels[row.run_key]))
            wanted += [(row, one) for one in asked_of(case, self._settings)]
        if not wanted:
            return
        with self._rooms.database.begin() as connection:
            for row, one in wanted:
                hours = getattr(self._settings.due_hours, one.worklist.value)
                # after answers the clock starts when the question arises
                began = row.finished_utc if row.run_key not in answered else time.time()
                open_task(connection, one.worklist.value, row.run_key, row.study_key, one.why, began + hours * 3600)

    def _give_golden(self, now: float) -> None:
        """Give each reader who is due one the golden case that chance puts next, of those they never had."""
        share = self._settings.golden_share
        with reading(self._rooms.database) as connection:
            cases = {row.run_key: row.study_key for row in repository.golden_cases(connection) if row.run_key}
            if not cases or not share:
                return
            answered, given = repository.results_answered(connection), repository.golden_given(connection)
        home = self._rooms.home
        for reader in radiologists(self._rooms):
            had = given.get(reader, set())
            left = sorted(set(cases) - had, key=lambda run_key: home.token("golden", f"{reader}|{run_key}"))
            for run_key in left[: due_golden(answered.get(reader, 0), len(had), share)]:
                due = now + self._settings.due_hours.random_audit * 3600
                with self._rooms.database.begin() as connection:
                    open_task(connection, Worklist.GOLDEN_CASE.value, run_key, cases[run_key], DRAWN, due, reader)


def case_of(findings: Findings, *, answered: bool, drawn: bool, labels: tuple[Label, ...]) -> Case:
    """Return a result as the worklists see it."""
    said = tuple(
        Said(one.key, one.probability, one.decision, one.threshold_low) for one in findings.findings if one.probability is not None
    )
    return Case(findings.zone, said, tuple(flag.key for flag in findings.flags), answered, drawn, labels)


def is_drawn(home: Home, run_key: str, share: float) -> bool:
    """Say whether chance chose a result: by a keyed hash, so that nobody can foresee it and every look draws the same."""
    return int(home.token("random audit", run_key)[:8], 16) < share * 2**32


def radiologists(rooms: Rooms) -> list[str]:
    """Return the pseudonyms of the readers whose answers are labels."""
    readers = rooms.settings.readers
    known = [identify(ReaderClaim("dicom", one.name, authenticated=True), readers, rooms.home.token) for one in readers]
    return sorted({one.pseudonym for one in known if one.strength is Strength.STRONG})
