"""Telling an answer to every destination that has the result: an SR, a new version of the FHIR report, the HL7 message again."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core import codes
from dicom_node.core.feedback import ASSESSMENT, ReaderClaim, Strength, Verdict, told_number
from dicom_node.delivery import answers as delivery
from dicom_node.engine.port import DELIVERIES
from dicom_node.feedback import repository as log_rows
from dicom_node.feedback.readers import identify
from dicom_node.feedback.standing import Standing
from dicom_node.inference.findings_store import load_outcome
from dicom_node.results import repository as artifacts
from dicom_node.results.assessments.answered import Answer, Answered
from dicom_node.results.assessments.tell_answer import build_answer
from dicom_node.stages.answers.case import ROOM, AnsweredCase, is_still, moment, readable
from dicom_node.stages.rooms import Rooms
from dicom_node.store.connect import reading
from dicom_node.store.story import tell


def tell_answer(rooms: Rooms, case: AnsweredCase) -> bool:
    """Build and plan what tells of it, in one transaction; False when the answers are others by now.

    Raises
    ------
    OSError
        Nothing of it can be made.
    """
    request = case.stored.request
    with reading(rooms.database) as connection:
        wanted = delivery.roles_wanted(connection, request.run_key, rooms.settings.destinations, case.number)
        if not wanted:
            return True
        answered, lost = _answered(rooms, connection, case)
    built = build_answer(answered, [role for roles in wanted.values() for role in roles])
    if not built.artifacts:
        raise OSError("; ".join((*lost, *built.failed)))
    artifacts.write_artifacts(rooms.home.results, built.artifacts)
    with rooms.database.begin() as connection:
        if not is_still(connection, case):
            return False
        artifacts.record_artifacts(connection, built.artifacts)
        planned = delivery.plan_roles(connection, request, wanted, rooms.port.submit_delivery)
        what = " ".join(answer.sentence for answer in answered.answers)
        tell(connection, request.study_key, ROOM, "answer.told", f"{case.name}: its answer goes to {', '.join(planned)}. {what}")
        for problem in (*lost, *built.failed):
            text = f"{case.name}: what tells of its answer cannot be written in full ({problem})."
            tell(connection, request.study_key, ROOM, "answer.untold", text, "pipeline_failed")
    rooms.port.ring(DELIVERIES)
    log.event("answer.told", run=request.run_key, study=request.study_key, count=len(planned))
    return True


def _answered(rooms: Rooms, connection: sa.Connection, case: AnsweredCase) -> tuple[Answered, tuple[str, ...]]:
    """Return what is to be told, and what of the result cannot be read any more."""
    key = case.stored.request.run_key
    sent, lost = readable(rooms, connection, key, sorted({row.role for row in delivery.of_result(connection, key)}))
    before = sorted((role for role in case.roles if role.partition(":")[0] == ASSESSMENT), key=told_number)[-1:]
    earlier, lost_before = readable(rooms, connection, key, before)
    named = {finding.key: finding.code for finding in load_outcome(rooms.home.results / key).findings}
    standing = sorted(case.standing.values(), key=lambda one: one.finding)
    answers = [_answer(rooms, connection, case, one, named) for one in standing]
    answers += [Answer(gone, named.get(gone, codes.AI_RESULT), None) for gone in sorted(case.told.keys() - case.standing.keys())]
    told = Answered(key, case.number, case.at, tuple(answers), sent, rooms.settings.results, earlier[0] if earlier else None)
    return told, (*lost, *lost_before)


def _answer(rooms: Rooms, connection: sa.Connection, case: AnsweredCase, one: Standing, named: Mapping[str, codes.Code]) -> Answer:
    row = next(row for row in case.rows if row.number == one.number)
    settings = rooms.settings.results.assessment
    private = log_rows.private_row(connection, one.feedback_id) if settings.comments else None
    may_name = settings.reader_names and one.strength is Strength.STRONG
    return Answer(
        finding=one.finding,
        code=named.get(one.finding, codes.AI_RESULT),
        verdict=Verdict(one.verdict),
        strength=one.strength,
        number=one.number,
        at=moment(row.said_utc),
        label_before=row.label_before,
        label_after=one.label_after,
        reason=one.reason,
        comment=str((private.content or {}).get("comment", "")) if private is not None else "",
        reader_name=_names(rooms).get(one.reader, "") if may_name else "",
        differs=one.conflict,
    )


def _names(rooms: Rooms) -> dict[str, str]:
    """Return the names of the readers that the site knows, by pseudonym."""
    readers, token = rooms.settings.readers, rooms.home.token
    claims = {one.name: ReaderClaim("dicom", one.name, one.name, authenticated=True) for one in readers}
    return {identify(claim, readers, token).pseudonym: name for name, claim in claims.items()}
