"""Asking archives to hide a result that a radiologist rejected: by site policy, off by default, once, and never to be undone."""

from __future__ import annotations

from dicom_node.core.artifact import DICOM
from dicom_node.core.feedback import HIDE_NOTE
from dicom_node.delivery import answers as delivery
from dicom_node.delivery.attempt import SENDABLE
from dicom_node.delivery.repository import TAKEN
from dicom_node.delivery.settings import ArchivingSettings
from dicom_node.engine.port import DELIVERIES
from dicom_node.results import repository as artifacts
from dicom_node.results.assessments import hide_note
from dicom_node.results.assessments.answered import Answered
from dicom_node.stages.answers.case import ROOM, AnsweredCase, is_still, readable
from dicom_node.stages.answers.meaning import is_to_be_hidden, is_upheld
from dicom_node.stages.rooms import Rooms
from dicom_node.store.connect import reading
from dicom_node.store.story import tell, tell_once


def hide_rejected(rooms: Rooms, case: AnsweredCase) -> bool:
    """Ask each archive whose settings want it; False while objects of the result are still on their way there."""
    request = case.stored.request
    asked = {role.split(":")[2] for role in case.roles if role.partition(":")[0] == HIDE_NOTE}
    if asked and is_upheld(case.standing):
        with rooms.database.begin() as connection:
            text = f"{case.name} was to be hidden by {', '.join(sorted(asked))}: from here nobody can ask to show it again."
            tell_once(connection, request.study_key, ROOM, "result.stays_hidden", text)
    if not is_to_be_hidden(case.standing):
        return True
    archives = {name: one for name, one in rooms.settings.destinations.items() if isinstance(one, ArchivingSettings)}
    wanting = [(name, one.hide_title) for name, one in archives.items() if one.hide_rejected and name not in asked]
    done = [_hide(rooms, case, name, title) for name, title in wanting]  # each is asked, whatever becomes of the others
    return all(done)


def _hide(rooms: Rooms, case: AnsweredCase, destination: str, title: str) -> bool:
    request = case.stored.request
    with reading(rooms.database) as connection:
        of_result = delivery.of_result(connection, request.run_key)
        there = [row for row in of_result if row.destination == destination and row.media_type == DICOM]
        if any(row.state in SENDABLE for row in there):
            return False
        sent, lost = readable(rooms, connection, request.run_key, sorted({row.role for row in there if row.state in TAKEN}))
    if not sent:
        return True
    note = hide_note.build(Answered(request.run_key, case.number, case.at, (), sent, rooms.settings.results), destination, title)
    artifacts.write_artifacts(rooms.home.results, [note])
    with rooms.database.begin() as connection:
        if not is_still(connection, case):
            return False
        artifacts.record_artifacts(connection, [note])
        delivery.plan_roles(connection, request, {destination: [note.role]}, rooms.port.submit_delivery)
        text = f"{case.name}: {destination} is asked to hide it, because a radiologist rejected it."
        tell(connection, request.study_key, ROOM, "result.hidden", text)
        for problem in lost:
            tell(
                connection, request.study_key, ROOM, "answer.untold", f"{case.name}: the note does not name all of it ({problem})."
            )
    rooms.port.ring(DELIVERIES)
    return True
