"""reception -> feedback: documents that may be answers are noted as they arrive, and read beside the sweep.

A document is noted in the transaction that records it, so none is forgotten; reading it is level-triggered: every look asks the
rows. One that answers something unknown may have overtaken our own row: it is looked at again for a while, then quarantined.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pydicom
import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.feedback import Claim
from dicom_node.core.identifiers import study_key as key_of
from dicom_node.core.study import Instance
from dicom_node.feedback import step as feedback
from dicom_node.feedback.reports import document_rows
from dicom_node.feedback.reports.assessment_codes import table
from dicom_node.feedback.reports.kinds import DOCUMENTS, REPORTS, claims_of
from dicom_node.feedback.reports.known_objects import KnownObjects
from dicom_node.feedback.reports.reading import Document, Nothing, Unclear
from dicom_node.feedback.words import ANOTHER_PATIENT
from dicom_node.home import Home
from dicom_node.imaging.element_values import first_text
from dicom_node.stages.answers.whose_answer import names_another_patient
from dicom_node.store.connect import reading
from dicom_node.store.story import tell_once
from dicom_node.studies.arrivals import InstanceState
from dicom_node.studies.files import object_path
from dicom_node.studies.repository import insert_instance

#: How often documents that wait are looked for.
SWEEP_SECONDS = 2.0
#: How long a document may be ahead of the result that it answers.
PATIENCE_SECONDS = 300.0
_ROOM = "feedback"


def note(connection: sa.Connection, home: Home, instance: Instance, *, kept: bool, size: int, received_utc: float) -> bool:
    """Note a document that arrives, in the transaction that records it; return whether its file is now referred to.

    Parameters
    ----------
    instance
        Of a class of ``DOCUMENTS``; ``path`` is the storage key.
    kept
        Whether recording it has kept the file.
    """
    key = key_of(instance.study_instance_uid)
    if not document_rows.is_ours(connection, instance.sop_instance_uid):
        if kept:
            document_rows.add(connection, key, instance, received_utc)
        return kept
    if instance.sop_class_uid not in REPORTS or document_rows.is_listed(connection, instance.sop_instance_uid, instance.digest):
        return kept
    if not _is_verified(home, instance):
        return kept  # our own report came back
    if not kept:  # an archive had it verified in place: another object under our UID, to be kept beside ours
        insert_instance(connection, key, instance, size, InstanceState.OURS, received_utc)
    document_rows.add(connection, key, instance, received_utc)
    return True


def _is_verified(home: Home, instance: Instance) -> bool:
    """Look into the file for the one element that makes a report under our own UID more than an echo."""
    try:
        header = pydicom.dcmread(object_path(home.path, instance.path), specific_tags=["VerificationFlag"], stop_before_pixels=True)
        return first_text(header, "VerificationFlag").upper() == "VERIFIED"
    except Exception as error:  # broad on purpose: whatever is wrong with a copy of our report, reception must go on
        log.event("answer.unreadable", study=key_of(instance.study_instance_uid), error=type(error).__name__)
        return False


@dataclass(frozen=True)
class Outcome:
    """What becomes of a document."""

    state: str
    text: str
    run_key: str = ""


class AnswerDocuments:
    """Reads what waits. One a process: it remembers which documents wait for their result, so that they are not read each time."""

    def __init__(
        self,
        home: Home,
        settings: NodeSettings,
        database: sa.Engine,
        on_recorded: Callable[[sa.Connection, feedback.Recorded], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._database = database
        self._settings = settings
        self._clock = clock
        self._codes = table(settings.feedback.assessment_codes)
        self._desk = feedback.Desk(home, settings.readers, settings.feedback, clock, on_recorded)
        self._again: dict[int, float] = {}  # object id -> when it is looked at again

    def sweep(self) -> int:
        """Read every document that waits; return how many were settled."""
        with reading(self._database) as connection:
            rows = document_rows.waiting(connection)
        self._again = {row.object_id: self._again[row.object_id] for row in rows if row.object_id in self._again}
        settled = 0
        for row in rows:
            if not 0 < self._again.get(row.object_id, 0.0) - self._clock() <= PATIENCE_SECONDS:
                settled += self._read_or_put_off(row)
        return settled

    def _read_or_put_off(self, row: Any) -> bool:
        try:
            return self._read(row)
        except Exception as error:  # broad on purpose: the row goes on waiting, and must not keep the others from being read
            log.event("answer.put_off", study=row.study_key, error=type(error).__name__)
            return self._look_later(row)

    def _read(self, row: Any) -> bool:
        path = object_path(self._home.path, row.storage_key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return self._settle(row, Outcome("unreadable", "A document that may be an answer is not on the disk any more."))
        try:
            with reading(self._database) as connection:
                document = self._document(connection, row, content)
                found = claims_of(document)
                if isinstance(found, Claim) and names_another_patient(connection, row.study_key, [document.text("PatientID")]):
                    found = Unclear(ANOTHER_PATIENT, found.targets.run_key)
        except (sa.exc.SQLAlchemyError, OSError):
            raise  # this passes
        except Exception as error:  # broad on purpose: whatever is wrong with it, a person must hear that it could not be read
            log.event("answer.unreadable", study=row.study_key, error=type(error).__name__)
            return self._settle(
                row, Outcome("unreadable", f"A document that may be an answer cannot be read ({type(error).__name__}).")
            )
        if isinstance(found, Claim):
            return self._record(row, found)
        if isinstance(found, Nothing):
            return self._settle(row, Outcome("nothing", found.reason))
        if isinstance(found, Unclear):
            return self._settle(row, Outcome("unclear", found.reason, found.run_key))
        if 0 <= self._clock() - row.received_utc < PATIENCE_SECONDS:
            return self._look_later(row)
        return self._settle(row, Outcome("quarantined", found.reason))

    def _document(self, connection: sa.Connection, row: Any, content: bytes) -> Document:
        return Document(
            dataset=pydicom.dcmread(BytesIO(content), stop_before_pixels=True),
            known=KnownObjects(connection, self._home),
            study_key=row.study_key,
            received=dt.datetime.fromtimestamp(row.received_utc, dt.UTC),
            zone=self._settings.site.tzinfo(),
            digest=row.digest,
            rejecting_titles=self._settings.feedback.rejecting_titles,
            codes=self._codes,
        )

    def _look_later(self, row: Any) -> bool:
        """Look again after as long again as it has waited: soon at first, seldom later."""
        now = self._clock()
        self._again[row.object_id] = now + min(max(1.0, now - row.received_utc), PATIENCE_SECONDS / 4)
        return False

    def _record(self, row: Any, claim: Claim) -> bool:
        with self._database.begin() as connection:
            recorded = feedback.record(connection, claim, desk=self._desk)
            if recorded.state == "quarantined":  # of everything else the log has told
                tell_once(connection, row.study_key, _ROOM, "answer.quarantined", recorded.text)
            return document_rows.settle(connection, row.object_id, recorded.state, recorded.text, recorded.run_key)

    def _settle(self, row: Any, outcome: Outcome) -> bool:
        with self._database.begin() as connection:
            if not document_rows.settle(connection, row.object_id, outcome.state, outcome.text, outcome.run_key):
                return False
            if outcome.state != "nothing":
                tell_once(connection, row.study_key, _ROOM, f"answer.{outcome.state}", outcome.text)
        if outcome.state != "nothing":
            log.event(f"answer.{outcome.state}", study=row.study_key, run=outcome.run_key)
        return True


__all__ = ["DOCUMENTS", "SWEEP_SECONDS", "AnswerDocuments", "note"]
