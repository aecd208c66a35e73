"""What keeps the processes of a node apart and alive: locks, heartbeats, and children that die with their supervisor."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from dicom_node.core.errors import StoreError
from dicom_node.home import Home

ROLES = ("receive", "work", "web")
BEAT_SECONDS = 1.0
#: Workers of one host that share a state folder.
_MOST_SLOTS = 64
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
#: Environment of a role: the process id of its supervisor.
SUPERVISOR = "DICOM_NODE_SUPERVISOR"


@contextlib.contextmanager
def only_one(home: Home, name: str, wait_seconds: float = 0.0) -> Iterator[IO[str]]:
    """Hold the lock ``name`` of this home's state folder.

    Raises
    ------
    StoreError
        Another process holds it, or this user may not write the folder.
    """
    end = time.monotonic() + wait_seconds
    while (handle := _locked(home.state / f"{name}.lock")) is None:
        if time.monotonic() >= end:
            raise StoreError(f"another process already serves {home.path} ({name}); stop it first")
        time.sleep(0.1)
    with handle:
        yield handle


@contextlib.contextmanager
def first_free(home: Home, role: str) -> Iterator[str]:
    """Hold the first free of the locks ``role-1``, ``role-2``, …; gives its name. A restarted process gets its old one back."""
    for number in range(1, _MOST_SLOTS + 1):
        handle = _locked(home.state / f"{role}-{number}.lock")
        if handle is not None:
            with handle:
                yield f"{role}-{number}"
            return
    raise StoreError(f"{_MOST_SLOTS} processes of role {role} already use {home.state}")


def _locked(path: Path) -> IO[str] | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except PermissionError:
        text = f"{path} may not be written by this user: start the node as the folder's owner, or give it to this one (chown -R)"
        raise StoreError(text) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def beat(home: Home, role: str, problem: str = "") -> None:
    """Tell that this role is alive; with a ``problem`` that it is alive and cannot do its work.

    On a full disk nothing is told, and the role goes on: somebody must answer the senders "out of resources".
    """
    target = home.state / f"{role}.json"
    temporary = target.with_name(f".{role}.{os.getpid()}.json")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps({"pid": os.getpid(), "at": time.time(), "problem": problem}))
        temporary.replace(target)


def last_beats(home: Home, roles: Iterable[str]) -> dict[str, float]:
    """Return the age of each role's heartbeat, in seconds; without end for one that lives and cannot work."""
    ages: dict[str, float] = {}
    for role in roles:
        with contextlib.suppress(OSError, ValueError, KeyError):
            last = json.loads((home.state / f"{role}.json").read_text())
            # a beat in the future is an old one, too: the clock was set back, and it was not renewed since
            ages[role] = math.inf if last.get("problem") else abs(time.time() - last["at"])
    return ages


def die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process when its supervisor dies, so that no orphan holds the port.

    A supervisor that died before this was asked is noticed here: the parent is then another process.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != _supervisor():
        raise StoreError("the supervisor is gone; this role does not run alone")


def keep_what_is_loaded() -> None:
    """Take what was imported until now out of the garbage collector's rounds, each of which walked it for 0.2 s."""
    gc.collect()
    gc.freeze()


def _supervisor() -> int:
    """Return the process that started this role; outside a supervisor, the parent."""
    return int(os.environ.get(SUPERVISOR, os.getppid()))


def stop_on_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def until_told_to_stop(home: Home, role: str, stop: threading.Event, problem: Callable[[], str] = lambda: "") -> None:
    """Beat until ``stop`` is set or the supervisor is gone. ``problem`` says what keeps the role from its work."""
    parent = _supervisor()
    while not stop.wait(BEAT_SECONDS):
        beat(home, role, problem())
        if os.getppid() != parent:
            return
