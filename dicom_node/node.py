"""The only place that knows everyone: builds the rooms from the settings and runs the roles.

``serve`` is a supervisor with one child per role (``receive``, ``work``, ``web``). Only ``work`` takes work from the queues, so
there is one of it per home; a lock file says so. When the supervisor dies, its children die with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import StoreError
from dicom_node.core.study import Instance, Study
from dicom_node.home import Home
from dicom_node.store.connect import default_url, open_database

ROLES = ("receive", "work", "web")
BEAT_SECONDS = 1.0
#: Files without a row that are older than this were left by a crash: nobody was told that they were stored.
LEFTOVER_SECONDS = 600.0
#: A role whose heartbeat is older than this counts as not ready.
STALE_SECONDS = 10.0
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_SUPERVISOR = "DICOM_NODE_SUPERVISOR"  # environment of a role: the process id of its supervisor


def database_url(home: Home, settings: NodeSettings) -> str:
    """Return where this node's rows are."""
    return settings.database_url or default_url(home.path)


def prepare(home: Home, settings: NodeSettings) -> sa.Engine:
    """Make folders and tables, and return the database."""
    for folder in (home.path, home.store, home.results, home.state, home.bundles):
        folder.mkdir(parents=True, exist_ok=True)
    return open_database(database_url(home, settings))


# ---------------------------------------------------------------- locks and heartbeats


@contextlib.contextmanager
def only_one(home: Home, name: str, wait_seconds: float = 0.0) -> Iterator[IO[str]]:
    """Hold the lock ``name`` of this home.

    Raises
    ------
    StoreError
        Another process holds it.
    """
    home.state.mkdir(parents=True, exist_ok=True)
    with (home.state / f"{name}.lock").open("w") as handle:
        end = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise StoreError(f"another process already serves {home.path} ({name}); stop it first") from None
                time.sleep(0.1)
        yield handle


def beat(home: Home, role: str) -> None:
    """Tell that this role is alive."""
    target = home.state / f"{role}.json"
    temporary = target.with_name(f".{role}.json")
    temporary.write_text(json.dumps({"pid": os.getpid(), "at": time.time()}))
    temporary.replace(target)


def last_beats(home: Home) -> dict[str, float]:
    """Return the age of each role's heartbeat, in seconds."""
    ages: dict[str, float] = {}
    for role in ROLES:
        with contextlib.suppress(OSError, ValueError):
            ages[role] = time.time() - json.loads((home.state / f"{role}.json").read_text())["at"]
    return ages


def die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process when its supervisor dies, so that no orphan holds the port.

    A supervisor that died before this was asked is noticed here: the parent is then another process.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != _supervisor():
        raise StoreError("the supervisor is gone; this role does not run alone")


def _supervisor() -> int:
    """Return the process that started this role; outside a supervisor, the parent."""
    return int(os.environ.get(_SUPERVISOR, os.getppid()))


def _until_told_to_stop(home: Home, role: str) -> None:
    """Beat until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    parent = _supervisor()
    while not stop.wait(BEAT_SECONDS):
        beat(home, role)
        if os.getppid() != parent:
            return  # the supervisor is gone


# ---------------------------------------------------------------- roles: each imports its own rooms, so that each starts fast


def run_receive(home: Home, settings: NodeSettings) -> None:
    """Role ``receive``: the storage SCP. It knows neither models nor destinations."""
    from dicom_node.reception import scp
    from dicom_node.routing.rules import quiet_seconds
    from dicom_node.studies import step as studies
    from dicom_node.studies.files import clean_store

    def record(connection: sa.Connection, instance: Instance, *, size: int, received_utc: float) -> bool:
        asked = quiet_seconds(Study("", instance.study_instance_uid, (instance,)), settings.routing)
        hints = () if asked is None else (asked,)
        return studies.record_arrival(
            connection, instance, size=size, received_utc=received_utc, settings=settings.studies, quiet_hints=hints
        )

    database = prepare(home, settings)
    cleaned = clean_store(database, home.path, older_than_utc=time.time() - LEFTOVER_SECONDS)
    if cleaned.orphans:
        log.event("store.unclaimed", count=cleaned.orphans)
    receiver = scp.start(settings.reception, home=home.path, database=database, record=record)
    beat(home, "receive")
    try:
        _until_told_to_stop(home, "receive")
    finally:
        receiver.stop()


def run_work(home: Home, settings: NodeSettings) -> None:
    """Role ``work``: sweeps, runs, deliveries. Exactly one per home."""
    from dicom_node import journey
    from dicom_node.engine import port
    from dicom_node.engine.schedule import Timers
    from dicom_node.inference.runner import PipelineProcess
    from dicom_node.stages.rooms import Rooms

    with only_one(home, "work", wait_seconds=15):
        database = prepare(home, settings)
        url = database_url(home, settings)
        port.prepare_tables(url)
        rooms = Rooms(home, settings, database, port.Port(database))
        process = PipelineProcess()
        process.warm(tuple(sorted({rule.pipeline for rule in settings.routing.rules})))
        journey.register(rooms, process)
        limit = max((d.max_concurrent for d in settings.destinations.values()), default=2)
        worker = port.Worker(database, url, "work-1", runs=settings.inference.concurrency, per_destination=limit)
        worker.start()
        timers = Timers()
        timers.every(0.5, "due studies", lambda: journey.sweep_due_studies(rooms))
        timers.every(10, "unfinished work", lambda: journey.sweep_unfinished(rooms))
        timers.every(3600, "finished workflows", lambda: worker.forget_finished(7 * 86400))
        timers.start()
        log.event("work.started", pid=os.getpid())
        beat(home, "work")
        try:
            _until_told_to_stop(home, "work")
        finally:
            timers.stop()
            worker.stop()
            process.close()
            log.event("work.stopped", pid=os.getpid())


def run_web(home: Home, settings: NodeSettings) -> None:
    """Role ``web``: health, metrics and the pages, on loopback."""
    import uvicorn

    from dicom_node.web.app import make_app

    database = prepare(home, settings)
    app = make_app(database, settings.site.name, lambda: last_beats(home), STALE_SECONDS)
    server = uvicorn.Server(
        uvicorn.Config(app, host=settings.web.host, port=settings.web.port, log_level="critical", access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    log.event("web.started", port=settings.web.port, pid=os.getpid())
    beat(home, "web")
    try:
        _until_told_to_stop(home, "web")
    finally:
        server.should_exit = True
        thread.join(5)


def run_role(home: Home, settings: NodeSettings, role: str) -> None:
    """Run one role in this process until it is told to stop."""
    die_with_parent()
    log.quiet_libraries()
    {"receive": run_receive, "work": run_work, "web": run_web}[role](home, settings)


# ---------------------------------------------------------------- the supervisor


def serve(home: Home, settings: NodeSettings, roles: tuple[str, ...]) -> int:
    """Start one child per role, start again those that die, stop all on SIGTERM. Returns the exit status."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with only_one(home, "serve-" + "-".join(sorted(roles)), wait_seconds=5):
        prepare(home, settings).dispose()  # here, once: children then find the tables
        children = {role: _spawn(home, role) for role in roles}
        log.event("node.started", pid=os.getpid(), role=",".join(roles))
        deaths = dict.fromkeys(roles, 0)
        again: dict[str, float] = {}  # role -> when it is started again; one that waits keeps no other waiting
        while not stop.wait(0.2):
            for role, child in list(children.items()):
                if child.poll() is None:
                    continue
                if role not in again:
                    deaths[role] += 1
                    log.event("role.died", role=role, status=child.returncode, count=deaths[role])
                    again[role] = time.monotonic() + min(10.0, 0.5 * 2 ** min(deaths[role], 5))
                elif time.monotonic() >= again[role]:
                    del again[role]
                    children[role] = _spawn(home, role)
        for child in children.values():
            child.terminate()
        for child in children.values():
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
        log.event("node.stopped", pid=os.getpid())
    return 0


def _spawn(home: Home, role: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dicom_node", "serve", "--home", str(home.path), "--only", role]
    return subprocess.Popen(command, cwd=Path(home.path), env={**os.environ, _SUPERVISOR: str(os.getpid())})
