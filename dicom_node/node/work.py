"""Role ``work``: sweeps, runs, deliveries. One process on SQLite; on PostgreSQL any number, each with a lease."""

from __future__ import annotations

import contextlib
import os
from functools import partial

import sqlalchemy as sa

from dicom_node import journey, log
from dicom_node.config.model import NodeSettings
from dicom_node.engine import port
from dicom_node.engine.process import beat, first_free, keep_what_is_loaded, only_one, stop_on_signal, until_told_to_stop
from dicom_node.engine.schedule import Alarm, Timers
from dicom_node.home import Home
from dicom_node.inference.child import Answer
from dicom_node.inference.runner import PipelineProcess
from dicom_node.node import database_url, prepare
from dicom_node.node.machines import beat_lease, enter
from dicom_node.node.timers import add_timers
from dicom_node.stages.complete import Archives
from dicom_node.stages.rooms import Rooms
from dicom_node.stages.start import warm_up

#: How often due studies are looked for at least; a deadline that is known is met to the millisecond.
DUE_SECONDS = 0.5


def run(home: Home, settings: NodeSettings) -> None:
    """Take work from the queues until told to stop."""
    stop = stop_on_signal()
    url = database_url(home, settings)
    shared = not url.startswith("sqlite")
    lock = first_free(home, "work") if shared else only_one(home, "work", wait_seconds=15)
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
        leases = enter(database, home, settings, str(slot), "work") if shared else None
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
        add_timers(timers, rooms, worker)
        # in a thread of its own: a slow timer must not make this process look dead
        pulse = Alarm("lease", partial(beat_lease, leases, worker, stop), settings.work.lease_beat_seconds, lambda: shared)
        alarm = Alarm("due studies", lambda: journey.start_due_studies(rooms), DUE_SECONDS, holds_timers)
        archives.start()
        pulse.start()
        timers.start()
        alarm.start()
        log.event("work.started", pid=os.getpid())
        beat(home, "work")
        journey.warm(settings)
        keep_what_is_loaded()
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
