"""The only place that knows everyone: builds the rooms from the settings and runs the roles.

``serve`` is a supervisor with one child per role. ``receive`` takes objects in, ``work`` takes work from the queues, ``web`` shows
pages. On SQLite there is one ``work`` process; on PostgreSQL any number of any role, on any number of machines that share the home
folder (docs/how-to/several-machines.md).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.engine import process as processes
from dicom_node.engine.process import BEAT_SECONDS, ROLES, beat, only_one, stop_on_signal, until_told_to_stop
from dicom_node.home import Home
from dicom_node.store.connect import default_url, open_database

if TYPE_CHECKING:
    from dicom_node.engine.leases import Leases
    from dicom_node.engine.port import Worker
    from dicom_node.engine.schedule import Timers
    from dicom_node.inference.child import Answer
    from dicom_node.stages.rooms import Rooms

__all__ = ["BEAT_SECONDS", "ROLES", "database_url", "last_beats", "prepare", "run_role"]

#: Files without a row that are older than this were left by a crash: nobody was told that they were stored.
LEFTOVER_SECONDS = 600.0
#: A role whose heartbeat is older than this counts as not ready.
STALE_SECONDS = 10.0
#: How often due studies are looked for at least; a deadline that is known is met to the millisecond.
DUE_SECONDS = 0.5
#: Hosts whose clocks differ by more than this from the database's are told about: quiet times are shifted by it.
SKEW_SECONDS = 1.0
#: How often the last row of the log of answers is written down in a second place.
HEAD_SECONDS = 60.0


def database_url(home: Home, settings: NodeSettings) -> str:
    """Return where this node's rows are."""
    return settings.database_url or default_url(home.path)


def prepare(home: Home, settings: NodeSettings) -> sa.Engine:
    """Make folders and tables, and return the database."""
    for folder in (home.path, home.store, home.results, home.state, home.bundles):
        folder.mkdir(parents=True, exist_ok=True)
    return open_database(database_url(home, settings))


def last_beats(home: Home) -> dict[str, float]:
    """Return the age of the heartbeat, in seconds, of each role that runs on this machine."""
    return processes.last_beats(home, ROLES)


# ---------------------------------------------------------------- roles: each imports its own rooms, so that each starts fast


def run_receive(home: Home, settings: NodeSettings) -> None:
    """Role ``receive``: the storage SCP. It loads no model and sends no result."""
    from dicom_node.reception import scp
    from dicom_node.reception.adoption import adopt_unrecorded
    from dicom_node.stages.answers import ae_titles
    from dicom_node.stages.arrivals import recorder
    from dicom_node.stages.commitment import admission, disk_watch, services
    from dicom_node.stages.messages import listening
    from dicom_node.stages.stow import stow_door

    stop = stop_on_signal()
    database = prepare(home, settings)
    record = recorder(settings, home)
    adopted = adopt_unrecorded(database, home.path, record)
    if adopted:
        log.event("store.adopted", count=adopted)
    admit = admission(disk_watch(home, settings))
    receiver = scp.start(
        settings.reception,
        home=home.path,
        database=database,
        record=record,
        services=services(home, settings, database),
        admit_storage=admit,
        side_doors=ae_titles.side_doors(settings, database),
    )
    beat(home, "receive")
    # beside the open door: of a large store it takes minutes. What is younger than LEFTOVER_SECONDS it leaves alone
    threading.Thread(
        target=_clean_store, args=(database, home, time.time() - LEFTOVER_SECONDS), name="clean-up", daemon=True
    ).start()
    try:
        with (
            listening(home, settings, database),
            stow_door(home, settings, database, admit),
            _seen_by_others(database, home, settings, "receive"),
        ):
            until_told_to_stop(home, "receive", stop)
    finally:
        receiver.stop()


def _clean_store(database: sa.Engine, home: Home, older_than_utc: float) -> None:
    """Take what belongs to nobody out of the store, and say so; a clean-up that fails is made at the next start."""
    from dicom_node.studies.files import clean_store

    try:
        cleaned = clean_store(database, home.path, older_than_utc=older_than_utc)
    except (OSError, sa.exc.SQLAlchemyError) as error:
        log.event("timer.failed", kind="clean-up", error=type(error).__name__)
        return
    if cleaned.orphans:
        log.event("store.unclaimed", count=cleaned.orphans)


def run_work(home: Home, settings: NodeSettings) -> None:
    """Role ``work``: sweeps, runs, deliveries. One process on SQLite; on PostgreSQL each has a lease."""
    from dicom_node import journey
    from dicom_node.engine import port
    from dicom_node.engine.schedule import Alarm, Timers
    from dicom_node.inference.runner import PipelineProcess
    from dicom_node.stages.complete import Archives
    from dicom_node.stages.rooms import Rooms
    from dicom_node.stages.start import warm_up

    stop = stop_on_signal()
    url = database_url(home, settings)
    shared = not url.startswith("sqlite")
    lock = processes.first_free(home, "work") if shared else only_one(home, "work", wait_seconds=15)
    with lock as slot:
        database = prepare(home, settings)
        port.prepare_tables(url)
        limits = {name: destination.max_concurrent for name, destination in settings.destinations.items()}
        archives = Archives(home, settings, database)
        rooms = Rooms(home, settings, database, port.Port(database, limits), archives)
        process = PipelineProcess(settings.inference.concurrency)
        if port.RUNS in settings.work.queues:
            process.warm(warm_up(rooms), _tell_device)
        journey.register(rooms, process)
        leases = _enter(database, home, settings, str(slot)) if shared else None
        worker = port.Worker(
            database,
            url,
            leases.name if leases else "work-1",
            runs=settings.inference.concurrency,
            queues=settings.work.queues,
        )
        worker.start()
        holds_timers = leases.has_timers if leases else lambda: True
        timers = Timers(holds_timers)
        _add_timers(timers, rooms, worker)
        # in a thread of its own: a slow timer must not make this process look dead
        pulse = Alarm("lease", partial(_beat_lease, leases, worker, stop), settings.work.lease_beat_seconds, lambda: shared)
        alarm = Alarm("due studies", lambda: journey.start_due_studies(rooms), DUE_SECONDS, holds_timers)
        archives.start()
        pulse.start()
        timers.start()
        alarm.start()
        log.event("work.started", pid=os.getpid())
        beat(home, "work")
        journey.warm(settings)
        try:
            until_told_to_stop(home, "work", stop, lambda: process.device_problem)
        finally:
            alarm.stop()
            timers.stop()
            archives.stop()
            worker.stop()
            process.close()
            pulse.stop()
            if leases:
                with contextlib.suppress(sa.exc.SQLAlchemyError):  # others will notice the silence
                    leases.leave()
            log.event("work.stopped", pid=os.getpid())


def _tell_device(answer: Answer) -> None:
    """Say in the log what the networks run on; loudly when it is not what the settings ask for."""
    if answer.kind == "device":
        log.event("device.unusable", error=answer.text)
    elif answer.kind == "warm":
        log.event("device.used", kind=answer.text)
    else:
        log.event("pipelines.not_loaded", error=answer.text)


def _add_timers(timers: Timers, rooms: Rooms, worker: Worker) -> None:
    """Everything that beats in one process only, wherever it is."""
    from dicom_node import journey
    from dicom_node.feedback import witness
    from dicom_node.stages import erase, proof, worklists
    from dicom_node.stages.answers import ae_titles, after_answer
    from dicom_node.stages.answers.documents import SWEEP_SECONDS, AnswerDocuments
    from dicom_node.stages.answers.polling import AnswerPolling
    from dicom_node.stages.clinical_data import LOOK_SECONDS as VALUES_SECONDS
    from dicom_node.stages.clinical_data import ClinicalData
    from dicom_node.stages.commitment import disk_watch
    from dicom_node.stages.withdraw import withdraw_void

    timers.every(10, "unfinished work", lambda: journey.sweep_unfinished(rooms))
    timers.every(600, "void results", lambda: withdraw_void(rooms))
    timers.every(VALUES_SECONDS, "runs that wait for laboratory values", ClinicalData(rooms).look)
    timers.every(after_answer.EVERY_SECONDS, "what answers do", after_answer.AfterAnswers(rooms).look)
    timers.every(3600, "finished workflows", lambda: worker.forget_finished(7 * 86400))
    for name, seconds in proof.paces(rooms).items():
        timers.every(seconds, f"proof of {name}", partial(proof.prove, rooms, name))
    timers.every(proof.SELDOM_SECONDS, "proofs nobody can give", lambda: proof.close_gone(rooms))
    timers.every(proof.PROOF_SECONDS, "reports of storage commitment", lambda: proof.send_reports(rooms))
    timers.every(600, "erased files", lambda: erase.finish(rooms.database, rooms.home))
    disk = proof.LowDisk(rooms, disk_watch(rooms.home, rooms.settings))
    timers.every(proof.DISK_SECONDS, "disk", disk.look)
    timers.every(proof.RETENTION_SECONDS, "retention", disk.retain)
    timers.every(HEAD_SECONDS, "head of the log of answers", lambda: witness.keep_head(rooms.database, rooms.home))
    timers.every(ae_titles.JUDGE_SECONDS, "answers", lambda: ae_titles.judge(rooms))
    documents = AnswerDocuments(rooms.home, rooms.settings, rooms.database)
    timers.every(SWEEP_SECONDS, "answers in documents", documents.sweep)
    polling = AnswerPolling(rooms.home, rooms.settings, rooms.database)
    for name in polling.archives:
        timers.every(polling.look_seconds, f"answers in {name}", partial(polling.look, name))
    if any(destination.kind == "fhir_rest" for destination in rooms.settings.destinations.values()):
        from dicom_node.stages.answers.fhir_polling import LOOK_SECONDS, FhirPolling

        timers.every(LOOK_SECONDS, "answers at FHIR servers", FhirPolling(rooms.home, rooms.settings, rooms.database).look)
    if rooms.settings.orders.fhir is not None and rooms.settings.orders.fhir.ask:
        from dicom_node.stages import fhir_laboratory

        asked = fhir_laboratory.AskedObservations(rooms.database, rooms.settings)
        timers.every(fhir_laboratory.LOOK_SECONDS, "laboratory at FHIR servers", asked.look)
    timers.every(worklists.SECONDS, "worklists", worklists.Worklists(rooms).fill)
    timers.every(ae_titles.FORGET_SECONDS, "files of answers", lambda: ae_titles.forget_files(rooms))


def run_web(home: Home, settings: NodeSettings) -> None:
    """Role ``web``: health, metrics and the pages; beyond this machine only where people log in."""
    from dicom_node.config.certificates import seconds_to_expiry
    from dicom_node.stages.answers.fhir_hooks import fhir_hooks
    from dicom_node.stages.commitment import disk_watch
    from dicom_node.web.app import make_app
    from dicom_node.web.server import HttpPort
    from dicom_node.web.site import Site

    stop = stop_on_signal()
    database = prepare(home, settings)
    watch = disk_watch(home, settings, quiet=True)
    beats = partial(_beats_everywhere, database, home, settings)
    site = Site(database, home, settings.web, settings.readers, settings.feedback)
    expiry = partial(seconds_to_expiry, settings)
    hooks = fhir_hooks(home, settings, database)
    app = make_app(
        database,
        settings.site.name,
        beats,
        STALE_SECONDS,
        watch.look,
        expiry,
        site=site,
        routers=hooks,
        timezone=settings.site.tzinfo(),
    )
    pages = HttpPort(app, name="web", host=settings.web.host, port=settings.web.port, tls=settings.web.tls).start()
    log.event("web.started", port=settings.web.port, pid=os.getpid())
    beat(home, "web", pages.problem)
    try:
        until_told_to_stop(home, "web", stop, lambda: pages.problem)
    finally:
        pages.stop()


def run_role(home: Home, settings: NodeSettings, role: str) -> None:
    """Run one role in this process until it is told to stop."""
    processes.die_with_parent()
    log.quiet_libraries()
    {"receive": run_receive, "work": run_work, "web": run_web}[role](home, settings)


# ---------------------------------------------------------------- several machines


def _enter(database: sa.Engine, home: Home, settings: NodeSettings, slot: str, role: str = "work") -> Leases:
    """Say that this process lives, before it takes any work."""
    from dicom_node.engine import leases

    skew = leases.clock_skew_seconds(database)
    if abs(skew) > SKEW_SECONDS:
        log.event("clock.skewed", seconds=round(skew, 1), role=role)
    lease = leases.Leases(database, leases.worker_name(home.state, slot), role, settings.work.lease_dead_seconds)
    lease.enter()
    if role == "work":
        lease.take_timers()
    return lease


def _beat_lease(leases: Leases | None, worker: Worker, stop: threading.Event) -> None:
    """One beat of a worker: renew, take the timers if they are free, and take over what the dead have left."""
    from dicom_node.core.errors import StoreError

    if leases is None:
        return
    try:
        judges = leases.beat()
    except StoreError as error:
        log.event("lease.lost", error=str(error))
        stop.set()  # the supervisor starts it again, under the lock that keeps names apart
        return
    leases.take_timers()
    if judges and (dead := worker.take_over(leases.living())):
        log.event("work.taken_over", count=len(dead))


@contextlib.contextmanager
def _seen_by_others(database: sa.Engine, home: Home, settings: NodeSettings, role: str) -> Iterator[None]:
    """Hold a lease for a role that takes no work, so that other machines' pages know of it."""
    if database.dialect.name == "sqlite":
        yield
        return
    from dicom_node.engine.schedule import Alarm

    with processes.first_free(home, role) as slot:
        lease = _enter(database, home, settings, slot, role)

        def renew() -> None:
            lease.beat()

        pulse = Alarm("lease", renew, settings.work.lease_beat_seconds, lambda: True)  # goes on whatever fails, and tells
        pulse.start()
        try:
            yield
        finally:
            pulse.stop()
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                lease.leave()


def _beats_everywhere(database: sa.Engine, home: Home, settings: NodeSettings) -> dict[str, float]:
    """Return the heartbeats of this machine's roles and, where another machine has a role alive, of that."""
    here = last_beats(home)
    if database.dialect.name == "sqlite":
        return here
    from dicom_node.engine.leases import living_roles

    with contextlib.suppress(sa.exc.SQLAlchemyError):
        for role in living_roles(database, settings.work.lease_dead_seconds):
            here[role] = 0.0
    return here
