"""What an answer does: those who have the result are told, what waited for an answer is sent, a rejected result is hidden.

Level-triggered: a result whose answers are newer than what was told of them is looked at, whichever process recorded them. So a
crash at any point loses nothing, and nothing is told twice: what tells of row 17 is the artifact ``assessment:17``, once for ever.
"""

from __future__ import annotations

import contextlib
import time

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.run import Release
from dicom_node.delivery.answers import is_just_leaving, is_withheld, release_withheld
from dicom_node.engine.port import DELIVERIES
from dicom_node.engine.retry import next_delay_seconds
from dicom_node.inference import repository as runs
from dicom_node.inference.findings_store import load_outcome
from dicom_node.stages.answers.case import ROOM, AnsweredCase, is_still, load_case
from dicom_node.stages.answers.hide_rejected import hide_rejected
from dicom_node.stages.answers.meaning import Waiting, said, what_waits
from dicom_node.stages.answers.tell_answer import tell_answer
from dicom_node.stages.reports import report_is_final
from dicom_node.stages.rooms import Rooms
from dicom_node.stages.run import evidence_of_result
from dicom_node.store.connect import reading
from dicom_node.store.story import tell, tell_once
from dicom_node.store.tables import verdict

#: How often it is looked; one question about the rows that came since.
EVERY_SECONDS = 2.0
#: Who clicks accept and then reject within this time has given one answer, the second.
SETTLE_SECONDS = 5.0
#: Results looked at in one go: a long list must not hold up the other timers.
MOST_AT_ONCE = 25
#: Nothing is ever put off for longer; what is, waits for a clock that was set back.
_LONGEST_SECONDS = 7200.0


class AfterAnswers:
    """One in the process that holds the timers. What it remembers only saves questions: the rows know everything."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._looked_to = 0  # rows of the log up to this number have been seen by this process
        self._waiting: dict[str, tuple[int, float]] = {}  # run -> newest row seen, and when to look at it (again)
        self._failures: dict[str, int] = {}

    def look(self, now_utc: float | None = None) -> int:
        """Do what there is to do, the newest answers first; return how many results were dealt with."""
        now = time.time() if now_utc is None else now_utc
        c = verdict.c
        query = sa.select(c.run_key, sa.func.max(c.number).label("number")).where(c.number > self._looked_to).group_by(c.run_key)
        with reading(self._rooms.database) as connection:
            fresh = list(connection.execute(query))
        for row in fresh:
            self._waiting[row.run_key] = row.number, 0.0
            self._looked_to = max(self._looked_to, row.number)
        due = [(number, key) for key, (number, at) in self._waiting.items() if not now < at <= now + _LONGEST_SECONDS]
        for number, key in sorted(due, reverse=True)[:MOST_AT_ONCE]:
            again = self._try(key, now)
            if again is None:
                del self._waiting[key]
            else:
                self._waiting[key] = number, again
        return len(due)

    def _try(self, run_key: str, now: float) -> float | None:
        try:
            again = after_answer(self._rooms, run_key, now)
        except Exception as error:  # broad on purpose: one that cannot be told must not keep the others
            failures = self._failures[run_key] = self._failures.get(run_key, 0) + 1
            log.event("after_answer.put_off", run=run_key, error=type(error).__name__)
            _tell_put_off(self._rooms, run_key, error)
            return now + next_delay_seconds(failures, run_key)
        self._failures.pop(run_key, None)
        return again


def after_answer(rooms: Rooms, run_key: str, now_utc: float) -> float | None:
    """Do what the answers to one result ask for; return when to look again, ``None`` when all is done."""
    with reading(rooms.database) as connection:
        case = load_case(connection, run_key)
    if case is None:
        return None
    newest = float(case.rows[-1].at_utc)
    if 0 <= now_utc - newest < SETTLE_SECONDS:
        return newest + SETTLE_SECONDS
    if not _release(rooms, case):
        return now_utc
    if said(case.standing) != said(case.told):
        with reading(rooms.database) as connection:
            too_early = is_just_leaving(connection, run_key, now_utc)
        if too_early or not tell_answer(rooms, case):
            return now_utc + EVERY_SECONDS
    return None if hide_rejected(rooms, case) else now_utc + SETTLE_SECONDS


def _release(rooms: Rooms, case: AnsweredCase) -> bool:
    """Send what the rule holds back until somebody has answered, or say why it waits on; False when another answer came."""
    request = case.stored.request
    meaning = what_waits(case.standing)
    if request.release is not Release.AFTER_ANSWER or meaning is Waiting.UNANSWERED:
        return True
    with rooms.database.begin() as connection:
        if not is_still(connection, case):
            return False
        if not is_withheld(connection, request.run_key):
            return True
        if meaning is Waiting.REJECTED:
            tell_once(connection, request.study_key, ROOM, "result.kept", f"{case.name} is not sent: a radiologist rejected it.")
            return True
        if meaning is Waiting.WEAK:
            text = f"{case.name} waits on: only an answer of an authenticated radiologist releases it."
            tell_once(connection, request.study_key, ROOM, "result.kept", text)
            return True
        done = release_withheld(
            connection,
            request,
            evidence_of_result(load_outcome(rooms.home.results / request.run_key), request),
            rooms.settings.destinations,
            rooms.port.submit_delivery,
            reported=report_is_final(connection, request.study_key),
        )
        if done.sent:
            text = f"{case.name} is released to {', '.join(sorted(done.sent))}: a radiologist has answered it."
            tell(connection, request.study_key, ROOM, "result.released", text)
        for name, why in sorted(done.kept.items()):
            tell_once(connection, request.study_key, ROOM, "result.kept", f"{case.name} is answered, and not sent to {name}: {why}")
    if done.sent:
        rooms.port.ring(DELIVERIES)
        log.event("result.released", run=request.run_key, study=request.study_key, count=len(done.sent))
    return True


def _tell_put_off(rooms: Rooms, run_key: str, error: Exception) -> None:
    with contextlib.suppress(sa.exc.SQLAlchemyError, LookupError), rooms.database.begin() as connection:
        request = runs.load_run(connection, run_key).request
        name = f"{request.pipeline}: result {request.revision}"
        text = f"{name}: its answer cannot be told for now ({type(error).__name__}); it is tried again."
        tell_once(connection, request.study_key, ROOM, "answer.put_off", text)
