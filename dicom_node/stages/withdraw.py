"""Taking results back: those that a correction or a rejection made void, and those that a person names.

Level-triggered: an answer that was made for an earlier revision of its study does not hold, whoever raised the revision. So a crash
between the correction and the withdrawal loses nothing: the next look finds the same rows.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.artifact import Artifact
from dicom_node.core.feedback import ASSESSMENT, tells_of_answer
from dicom_node.core.run import RunRequest
from dicom_node.core.withdrawal import Cause
from dicom_node.delivery import withdraw as delivery
from dicom_node.engine.port import DELIVERIES
from dicom_node.feedback.tasks import close_tasks
from dicom_node.inference import repository as runs
from dicom_node.results import repository as artifacts
from dicom_node.results.withdrawals.take_back import build_withdrawal
from dicom_node.results.withdrawals.withdrawal import Withdrawal
from dicom_node.stages.rooms import Rooms
from dicom_node.store.connect import reading
from dicom_node.store.story import read_story, tell
from dicom_node.studies import rejection


def withdraw_void(rooms: Rooms, study_key: str = "") -> int:
    """Withdraw the answers, and cancel the runs, of revisions that are over, of one study or of all; return how many.

    Raises
    ------
    Exception
        What kept one of them from being withdrawn, after all others were; the next look tries again.
    """
    with reading(rooms.database) as connection:
        stale = runs.stale_runs(connection, study_key)
    done, failure = 0, None
    for stored in stale:
        try:
            done += _void(rooms, stored)
        except Exception as error:  # broad on purpose: one that cannot be taken back must not leave the others standing
            _tell_put_off(rooms, stored.request, error)
            failure = error
    if failure is not None:
        raise failure
    return done


def _tell_put_off(rooms: Rooms, request: RunRequest, error: Exception) -> None:
    log.event("withdrawal.put_off", study=request.study_key, run=request.run_key, error=type(error).__name__)
    text = f"{request.pipeline}: result {request.revision} cannot be withdrawn for now ({type(error).__name__}); it is tried again."
    with contextlib.suppress(sa.exc.SQLAlchemyError), rooms.database.begin() as connection:
        if all(line.text != text for line in read_story(connection, request.study_key)):
            tell(connection, request.study_key, "results", "withdrawal.put_off", text)


def withdraw_answers(rooms: Rooms, study_key: str, cause: Cause) -> int:
    """Withdraw every answer of a study, and what would give one, because a person says so; return how many there were.

    Neither is given again because another object arrives.
    """
    with rooms.database.begin() as connection:
        waiting = runs.open_runs(connection, study_key)
        stopped = sum(_stop(connection, stored, "withdrawn", "A person withdrew it.") for stored in waiting)
    with reading(rooms.database) as connection:
        answered = runs.answered_runs(connection, study_key)
    return stopped + sum(_withdraw(rooms, stored, cause) for stored in answered)


def _void(rooms: Rooms, stored: runs.StoredRun) -> bool:
    request = stored.request
    with rooms.database.begin() as connection:
        rests_on = stored.read or [left.sop_instance_uid for left in stored.not_read]
        rejected = rejection.are_rejected(connection, request.study_key, rests_on)
        why = "Its images were rejected." if rejected else "The study was corrected since it was requested."
        if _stop(connection, stored, "cancelled", why):
            return True
    return _withdraw(rooms, stored, Cause.IMAGES_REJECTED if rejected else Cause.STUDY_CORRECTED)


def _stop(connection: sa.Connection, stored: runs.StoredRun, state: str, why: str) -> bool:
    """End a run that has not answered yet; says whether it had not."""
    request = stored.request
    if not runs.finish_run(connection, request.run_key, state, None):
        return False
    text = f"{request.pipeline}: result {request.revision} is not made. {why}"
    tell(connection, request.study_key, "inference", "run.cancelled", text)
    return True


def _withdraw(rooms: Rooms, stored: runs.StoredRun, cause: Cause) -> bool:
    """Mark one answer as withdrawn, cancel what is unsent of it and plan what takes the rest back: one transaction.

    The objects are built inside it: between looking at who has the result and planning, no attempt may begin unseen.
    """
    request = stored.request
    at = dt.datetime.now(dt.UTC).replace(microsecond=0)
    with rooms.database.begin() as connection:
        if not runs.withdraw_run(connection, request.run_key, cause.value, at.timestamp()):
            return False
        unsent = delivery.cancel_unsent(connection, request.run_key, f"Withdrawn before it was sent. {cause.sentence}")
        out = delivery.roles_out(connection, request.run_key)
        sent, lost = _readable(rooms, connection, request.run_key, filter(_is_taken_back, out))
        built = build_withdrawal(Withdrawal(request.run_key, cause, at, sent, rooms.settings.results))
        artifacts.write_artifacts(rooms.home.results, built.artifacts)
        artifacts.record_artifacts(connection, built.artifacts)
        planned = delivery.plan_withdrawal(connection, request.run_key, built.artifacts, rooms.port.submit_delivery)
        where = f"It is taken back from {', '.join(sorted(planned))}." if planned else "It had been sent nowhere."
        if out and not planned:
            where = "What was sent of it is updated by a later result." if built.artifacts else ""
        text = f"{request.pipeline}: result {request.revision} is withdrawn. {cause.sentence} {where}".rstrip()
        tell(connection, request.study_key, "results", "run.withdrawn", text)
        close_tasks(connection, request.run_key, "the result was withdrawn")
        if unsent:
            text = f"{unsent} of result {request.revision} had not been sent and will not be."
            tell(connection, request.study_key, "delivery", "delivery.cancelled", text)
        for problem in (*lost, *built.failed):
            text = f"What takes result {request.revision} back cannot be written ({problem}): a person must do it at the receiver."
            tell(connection, request.study_key, "results", "withdrawal.failed", text, "pipeline_failed")
    rooms.port.ring(DELIVERIES)
    log.event("run.withdrawn", run=request.run_key, study=request.study_key, reason=cause.value, count=len(planned))
    return True


def _is_taken_back(role: str) -> bool:
    """Of what told of answers only the SR is an object of its own; messages and resources are those of the result."""
    return role.partition(":")[0] == ASSESSMENT or not tells_of_answer(role)


def _readable(
    rooms: Rooms, connection: sa.Connection, run_key: str, roles: Iterable[str]
) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
    """Return what was sent, and the roles whose bytes are gone or damaged."""
    sent, lost = [], []
    for role in sorted(roles):
        try:
            sent.append(artifacts.load_artifact(connection, rooms.home.results, run_key, role))
        except OSError as error:
            lost.append(f"{role.replace('_', ' ')}: {type(error).__name__}")
    return tuple(sent), tuple(lost)
