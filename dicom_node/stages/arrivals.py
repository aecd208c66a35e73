"""reception -> studies: the row of an object, with the quiet time that the rules it could match ask for; documents are noted."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.config.model import NodeSettings
from dicom_node.core.study import Instance, Study
from dicom_node.home import Home
from dicom_node.reception.intake import Record
from dicom_node.routing.rules import quiet_seconds
from dicom_node.stages.answers.documents import DOCUMENTS, note
from dicom_node.studies import step as studies


def recorder(settings: NodeSettings, home: Home) -> Record:
    """Return what writes an instance's row, whichever door it came through."""

    def record(connection: sa.Connection, instance: Instance, *, size: int, received_utc: float) -> bool:
        asked = quiet_seconds(Study("", instance.study_instance_uid, (instance,)), settings.routing)
        hints = () if asked is None else (asked,)
        kept = studies.record_arrival(
            connection, instance, size=size, received_utc=received_utc, settings=settings.studies, quiet_hints=hints
        )
        if instance.sop_class_uid in DOCUMENTS:  # it may be an answer
            return note(connection, home, instance, kept=kept, size=size, received_utc=received_utc)
        return kept

    return record
