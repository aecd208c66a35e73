"""reception -> feedback: the answer AE titles. Objects are taken in role ``receive`` and judged in role ``work``."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.identifiers import study_key
from dicom_node.core.study import Instance
from dicom_node.feedback.ae_titles import answer_objects as objects
from dicom_node.feedback.ae_titles import answering, suspension
from dicom_node.feedback.channels.answer_ae import REFUSED_TOO
from dicom_node.feedback.step import Desk
from dicom_node.reception.settings import PeerSettings
from dicom_node.reception.side_door import Ending, SideDoor
from dicom_node.reception.status import NOTHING_TO_ANSWER, ObjectRefused
from dicom_node.store.connect import reading
from dicom_node.studies.files import object_path

if TYPE_CHECKING:  # the queues are no matter of reception, and take a third of its start
    from dicom_node.stages.rooms import Rooms

#: How often waiting answers are looked at.
JUDGE_SECONDS = 1.0
#: How long the file of a judged object is kept: long enough to look into what was unclear.
KEEP_FILES_DAYS = 30
FORGET_SECONDS = 3600.0
FOLDER = "answers"


def side_doors(settings: NodeSettings, database: sa.Engine) -> tuple[SideDoor, ...]:
    """Return the answer AE titles for reception; none while nobody may call them."""
    answer_ae = settings.feedback.answer_ae
    if not answer_ae.callers:
        return ()

    def admit(instance: Instance) -> None:
        with reading(database) as connection:
            key = study_key(instance.study_instance_uid)
            if not objects.is_answered_study(connection, key, instance.sop_instance_uid):
                raise ObjectRefused(NOTHING_TO_ANSWER, "This node has no result in the study: nothing to answer")

    titles = (answer_ae.accept, answer_ae.reject, answer_ae.amend)
    return (SideDoor(titles, tuple(_callers(settings)), FOLDER, admit, _record, _ended),)


def _callers(settings: NodeSettings) -> list[PeerSettings]:
    """Return who may answer. A certificate that binds an AE title as a sender of images binds it here too."""
    bound = {peer.ae_title: peer.certificate_name for peer in settings.reception.peers if peer.certificate_name}
    callers = settings.feedback.answer_ae.callers
    return [PeerSettings(ae_title=c.ae_title, host=c.host, certificate_name=bound.get(c.ae_title)) for c in callers]


def _record(connection: sa.Connection, instance: Instance, *, size: int, received_utc: float, association: str) -> bool:
    suspended = suspension.is_suspended(connection, instance.calling_ae)
    return objects.insert(
        connection,
        instance,
        study_key(instance.study_instance_uid),
        received_utc=received_utc,
        association=association,
        state="suspended" if suspended else "waiting",
        text=suspension.TEXT if suspended else "",
    )


def _ended(connection: sa.Connection, ending: Ending) -> None:
    if ending.released:  # of one that was cut off the end is never known: see ``channels.answer_ae``
        objects.end_association(connection, ending.association, ending.ended_utc, REFUSED_TOO if ending.refused else "")


def judge(rooms: Rooms, desk: Desk | None = None) -> int:
    """Judge the answers that are due; return how many were."""
    desk = desk or Desk(rooms.home, rooms.settings.readers, rooms.settings.feedback)
    return answering.judge_waiting(rooms.database, desk, rooms.settings.reception.idle_seconds)


def forget_files(rooms: Rooms) -> int:
    """Remove the files of objects that were judged long ago; return how many."""

    def remove(key: str) -> bool:
        try:
            path = object_path(rooms.home.path, key)
            path.unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            log.event("retention.failed", kind="answer", error=type(error).__name__)
            return False
        with contextlib.suppress(OSError):  # another object of the study lies in the folder
            path.parent.rmdir()
        return True

    return answering.forget_files(rooms.database, time.time() - KEEP_FILES_DAYS * 86400, remove)
