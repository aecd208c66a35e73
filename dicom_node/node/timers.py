"""What beats in one ``work`` process only, wherever it is, and how often."""

from __future__ import annotations

from functools import partial

from dicom_node import journey
from dicom_node.engine.port import Worker
from dicom_node.engine.schedule import Timers
from dicom_node.feedback import witness
from dicom_node.stages import erase, fhir_laboratory, proof, worklists
from dicom_node.stages.answers import ae_titles, after_answer, documents, fhir_polling
from dicom_node.stages.answers.polling import AnswerPolling
from dicom_node.stages.clinical_data import LOOK_SECONDS as VALUES_SECONDS
from dicom_node.stages.clinical_data import ClinicalData
from dicom_node.stages.commitment import disk_watch
from dicom_node.stages.rooms import Rooms
from dicom_node.stages.withdraw import withdraw_void

#: How often the last row of the log of answers is written down in a second place.
HEAD_SECONDS = 60.0


def add_timers(timers: Timers, rooms: Rooms, worker: Worker) -> None:
    """Declare all of them; each call asks the rows, so one that failed or came too early is repaired by the next."""
    database, home, settings = rooms.database, rooms.home, rooms.settings
    timers.every(10, "unfinished work", lambda: journey.sweep_unfinished(rooms))
    timers.every(600, "void results", lambda: withdraw_void(rooms))
    timers.every(VALUES_SECONDS, "runs that wait for laboratory values", ClinicalData(rooms).look)
    timers.every(after_answer.EVERY_SECONDS, "what answers do", after_answer.AfterAnswers(rooms).look)
    timers.every(3600, "finished workflows", lambda: worker.forget_finished(7 * 86400))
    for name, seconds in proof.paces(rooms).items():
        timers.every(seconds, f"proof of {name}", partial(proof.prove, rooms, name))
    timers.every(proof.SELDOM_SECONDS, "proofs nobody can give", lambda: proof.close_gone(rooms))
    timers.every(proof.PROOF_SECONDS, "reports of storage commitment", lambda: proof.send_reports(rooms))
    timers.every(600, "erased files", lambda: erase.finish(database, home))
    disk = proof.LowDisk(rooms, disk_watch(home, settings))
    timers.every(proof.DISK_SECONDS, "disk", disk.look)
    timers.every(proof.RETENTION_SECONDS, "retention", disk.retain)
    timers.every(HEAD_SECONDS, "head of the log of answers", lambda: witness.keep_head(database, home))
    timers.every(ae_titles.JUDGE_SECONDS, "answers", lambda: ae_titles.judge(rooms))
    timers.every(ae_titles.FORGET_SECONDS, "files of answers", lambda: ae_titles.forget_files(rooms))
    timers.every(documents.SWEEP_SECONDS, "answers in documents", documents.AnswerDocuments(home, settings, database).sweep)
    polling = AnswerPolling(home, settings, database)
    for name in polling.archives:
        timers.every(polling.look_seconds, f"answers in {name}", partial(polling.look, name))
    if any(destination.kind == "fhir_rest" for destination in settings.destinations.values()):
        asked_answers = fhir_polling.FhirPolling(home, settings, database)
        timers.every(fhir_polling.LOOK_SECONDS, "answers at FHIR servers", asked_answers.look)
    if settings.orders.fhir is not None and settings.orders.fhir.ask:
        asked_values = fhir_laboratory.AskedObservations(database, settings)
        timers.every(fhir_laboratory.LOOK_SECONDS, "laboratory at FHIR servers", asked_values.look)
    timers.every(worklists.SECONDS, "worklists", worklists.Worklists(rooms).fill)
