"""``serve``: one child a role; those that die are started again, all stop on SIGTERM."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from dicom_node import log
from dicom_node.engine.process import SUPERVISOR, only_one, stop_on_signal
from dicom_node.home import Home

#: Longest wait before a role that dies again and again is started once more.
_LONGEST_SECONDS = 10.0
#: Time that roles have to stop; systemd and Compose wait longer (``TimeoutStopSec``, ``stop_grace_period``).
_PATIENCE_SECONDS = 30.0
#: NumPy's own threads spin while they wait; with several processes on few cores they take the time of the others.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def serve(home: Home, roles: tuple[str, ...], prepare: Callable[[], None]) -> int:
    """Start one child per role, start again those that die, stop all on SIGTERM. Returns the exit status.

    ``prepare`` checks the settings and makes tables and folders; it is called once, before there are children. Only reception, of
    a home that was served before, is started beside it: its port is what a restart is waited for.
    """
    stop = stop_on_signal()
    with only_one(home, "serve-" + "-".join(sorted(roles)), wait_seconds=5):
        first = ("receive",) if "receive" in roles and (home.state / "receive.json").exists() else ()
        children = {role: _spawn(home, role) for role in first}
        try:
            prepare()
        except BaseException:
            _end(children)
            raise
        children |= {role: _spawn(home, role) for role in roles if role not in children}
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
                    again[role] = time.monotonic() + min(_LONGEST_SECONDS, 0.5 * 2 ** min(deaths[role], 5))
                elif time.monotonic() >= again[role]:
                    del again[role]
                    children[role] = _spawn(home, role)
        _end(children)
        log.event("node.stopped", pid=os.getpid())
    return 0


def _end(children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Ask them to stop; those that do not are killed."""
    for child in children.values():
        child.terminate()
    end = time.monotonic() + _PATIENCE_SECONDS  # one for all
    for child in children.values():
        try:
            child.wait(timeout=max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()


def is_supervised() -> bool:
    """Say whether this process is a role under a supervisor."""
    return SUPERVISOR in os.environ


def _spawn(home: Home, role: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dicom_node", "serve", "--home", str(home.path), "--state", str(home.state), "--only", role]
    return subprocess.Popen(command, cwd=home.path, env={**_ONE_THREAD, **os.environ, SUPERVISOR: str(os.getpid())})
