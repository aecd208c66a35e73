"""One archive at work: a queue, a few threads, counting and fetching. What comes of each job is a row."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from dicom_node import log
from dicom_node.archive import client
from dicom_node.archive.answers import ArchiveBusy, SeriesCount
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import DimseFailure, HttpFailure, PeerError, PeerTimeout
from dicom_node.core.study import HeaderFacts, Instance, Study
from dicom_node.home import Home
from dicom_node.reception import presentation_contexts as offered
from dicom_node.reception.diary import Entry
from dicom_node.reception.intake import Command, Intake
from dicom_node.reception.p_data import Malformed
from dicom_node.reception.status import CANNOT_UNDERSTAND, ObjectRefused
from dicom_node.reception.storing import Storing
from dicom_node.routing.rules import could_match
from dicom_node.routing.settings import Rule
from dicom_node.stages.arrivals import recorder
from dicom_node.stages.commitment import admission, disk_watch
from dicom_node.store.connect import reading
from dicom_node.studies import archive_answers as rows
from dicom_node.studies.evidence import NOT_IMAGES, Answer, Next, Standing

#: Threads an archive has: questions to one wait for each other, those to another do not.
WORKERS = 2
#: An archive that did not answer is left alone for this time; studies then start by their quiet time alone.
PAUSE_SECONDS = 60.0


class Job(NamedTuple):
    """One study to ask about. ``lease_utc``: the deadline that it has meanwhile."""

    study: Study
    rules: tuple[Rule, ...]
    standing: Standing
    lease_utc: float


class Desk:
    """One archive: its queue, its threads, and whether it is silent."""

    def __init__(self, name: str, home: Home, settings: NodeSettings, database: sa.Engine) -> None:
        self.name = name
        self.settings = settings.archives[name]
        #: What fetched objects name as their sender.
        self.source = self.settings.ae_title or name
        self.silent_until = 0.0
        self.silence = ""
        self._node = settings
        self._database = database
        self._storing = Storing(
            Intake(home.path, database, recorder(settings, home)),
            max_object_bytes=settings.reception.max_object_bytes,
            admit_storage=admission(disk_watch(home, settings, quiet=True)),
        )
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: dict[str, float] = {}  # study key -> the deadline that it has meanwhile
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the threads. They are daemons: an archive that does not answer must not keep the node from stopping."""
        for number in range(WORKERS):
            threading.Thread(target=self._run, name=f"archive-{self.name}-{number}", daemon=True).start()

    def is_silent(self, now_utc: float) -> bool:
        """Say whether it did not answer a moment ago; a moment far in the future means that the clock was set back."""
        return 0.0 < self.silent_until - now_utc <= PAUSE_SECONDS

    def stop(self) -> None:
        """Take no more jobs."""
        for _ in range(WORKERS):
            self._jobs.put(None)

    def submit(self, job: Job) -> None:
        """Queue a job, unless the study's last one is not done yet."""
        with self._lock:
            waits_already = job.study.study_key in self._waiting
            self._waiting[job.study.study_key] = job.lease_utc
        if not waits_already:
            self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self.work(job)
            except Exception as error:  # a thread that dies would leave every later study to its ceiling
                log.event("archive.failed", peer=self.name, study=job.study.study_key, error=type(error).__name__)
            finally:
                with self._lock:
                    self._waiting.pop(job.study.study_key, None)

    def work(self, job: Job) -> None:
        """Do one job, write what came of it, and bring the study back."""
        question = "fetch" if job.standing.next is Next.FETCH else "count"
        pause = self.settings.compare_seconds
        answer: Answer | None = None
        try:
            if question == "fetch":
                answer = self._fetch(job)
            elif self.is_silent(time.time()):
                pause = 0.0  # it fell silent while this one waited: the next look starts the study
            else:
                answer = self._count(job)
        except ArchiveBusy:
            answer = Answer(time.time(), "busy")
        except PeerError as error:
            answer = Answer(time.time(), question, problem=_sentence(error), final=not error.temporary)
            log.event("archive.failed", peer=self.name, kind=question, error=type(error).__name__)
            if question == "count":
                self.silence, self.silent_until = answer.problem, time.time() + PAUSE_SECONDS
                pause = 0.0
        key = job.study.study_key
        with self._lock:
            lease_utc = self._waiting.get(key, job.lease_utc)
        with self._database.begin() as connection:
            if answer is not None and not (answer.question == "busy" and job.standing.waits_for_turn):
                rows.note_answer(connection, key, self.name, answer)
            rows.look_again(connection, key, lease_utc, time.time() + pause)

    def _count(self, job: Job) -> Answer:
        """Count what the archive has of the series that a rule wants; list those of which something seems to be missing."""
        study = job.study
        with reading(self._database) as connection:
            held, ours = rows.held_by_series(connection, study.study_key), rows.own_objects(connection, study.study_key)
        counts: dict[str, int] = {}
        instances: dict[str, tuple[str, ...]] = {}
        classes: set[str] = set()
        for series_uid, series in client.ask_count(self.settings, study.study_instance_uid).series.items():
            if not wanted(study, series_uid, series, job.rules):
                continue
            here = len(held.get(series_uid, ()))
            counts[series_uid] = here if series.count is None else series.count
            if series.count is None or series.count > here:
                listed = self._listed(study.study_instance_uid, series_uid)
                if listed:
                    instances[series_uid] = tuple(sorted(listed.keys() - ours))
                    counts[series_uid] = len(instances[series_uid])
                    classes |= {listed[uid] for uid in instances[series_uid]} - {""}
        return Answer(time.time(), "count", counts, instances, tuple(sorted(classes)))

    def _listed(self, study_uid: str, series_uid: str) -> dict[str, str]:
        """Return the objects of a series; nothing where the archive counts series but does not list them, or not in time."""
        try:
            return client.ask_instances(self.settings, study_uid, series_uid)
        except (DimseFailure, HttpFailure, PeerTimeout):
            return {}

    def fetch_objects(self, study_uid: str, missing: Mapping[str, Sequence[str]], classes: Iterable[str]) -> client.Fetched:
        """Fetch single objects (Series Instance UID -> SOP Instance UIDs) of known classes and take them in as any others."""
        return client.fetch(self.settings, study_uid, missing, storage=self._storage(classes), take=self._take())

    def _fetch(self, job: Job) -> Answer:
        study = job.study
        with reading(self._database) as connection:
            answers = rows.answers_since(connection, study.study_key, 0.0)
        classes = {uid for answer in answers for uid in answer.classes}
        fetched = self.fetch_objects(study.study_instance_uid, job.standing.missing, classes)
        log.event("archive.fetched", peer=self.name, study=study.study_key, count=fetched.completed)
        return Answer(time.time(), "fetch", problem="" if fetched.completed else "It sent nothing.")

    def _storage(self, classes: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the storage classes to offer for a C-GET: those that the archive named, else all that the SCP takes."""
        accepted = offered.accepted_sop_classes(self._node.reception.extra_sop_classes)
        named = [uid for uid in classes if uid in accepted]
        return {uid: tuple(offered.TRANSFER_SYNTAXES) for uid in named or accepted}

    def _take(self) -> client.Take:
        """Return the way in for what was fetched: the same limits, checks and durability as for what was sent."""
        called_ae = self._node.reception.ae_titles[0]
        entry = Entry(self.source, called_ae, "", time.time())

        def take(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, data: bytes) -> int:
            command = Command(sop_class_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid, self.source, called_ae)
            try:
                status, _ = self._storing.receive(command, data, entry)
            except Malformed:  # many times as large as may be
                too_large = ObjectRefused(CANNOT_UNDERSTAND, "The object is larger than this node takes")
                status, _ = self._storing.refuse(too_large, command)
            return status.code

        return take


def wanted(study: Study, series_uid: str, series: SeriesCount, rules: Sequence[Rule]) -> bool:
    """Say whether a rule could want a series: by what came of it, else by what the archive says of it."""
    here = tuple(i for i in study.instances if i.series_instance_uid == series_uid)
    if not here:
        if series.modality in NOT_IMAGES or not study.instances:
            return False
        here = (_as_listed(study.instances[0], series_uid, series),)
    one = Study(study.study_key, study.study_instance_uid, here)
    return any(could_match(rule, one) for rule in rules)


def _as_listed(sibling: Instance, series_uid: str, series: SeriesCount) -> Instance:
    """Return an image of which nothing is known but its study and what the archive says of its series."""
    known = sibling.facts
    facts = HeaderFacts(
        patient_id=known.patient_id,
        patient_name=known.patient_name,
        birth_date=known.birth_date,
        patient_age=known.patient_age,
        study_date=known.study_date,
        study_description=known.study_description,
        modality=series.modality,
        series_description=series.description,
        body_part=series.body_part.upper(),
    )
    return dataclasses.replace(sibling, sop_class_uid="", sop_instance_uid="", series_instance_uid=series_uid, facts=facts)


def _sentence(error: PeerError) -> str:
    text = str(error).strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
