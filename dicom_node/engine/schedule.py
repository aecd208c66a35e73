"""Timers (APScheduler): they only submit or sweep, never do the work. One process has them, so none fires twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler

from dicom_node import log


class Timers:
    """A few repeating calls in this process. A call that fails is logged and made again at the next beat.

    ``allowed`` is asked before each call: of several machines only the one that holds the lease of the timers makes it.
    """

    def __init__(self, allowed: Callable[[], bool] = lambda: True) -> None:
        self._allowed = allowed
        self._scheduler = BackgroundScheduler(timezone="UTC")

    def every(self, seconds: float, name: str, call: Callable[[], object], *, everywhere: bool = False) -> None:
        """Call ``call`` each ``seconds``; a beat that finds the last one still running is left out.

        ``everywhere``: in each process, lease or not (a process' own heartbeat).
        """

        def guarded() -> None:
            if everywhere or self._allowed():
                _guarded(name, call)

        self._scheduler.add_job(
            guarded, "interval", seconds=seconds, id=name, max_instances=1, coalesce=True, misfire_grace_time=None
        )

    def start(self) -> None:
        """Start beating."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop after the calls that are running."""
        self._scheduler.shutdown(wait=True)


class Alarm:
    """Calls again and again, and sleeps until the moment that the call itself named (a deadline), ``longest_seconds`` at most.

    ``call`` returns seconds until it wants to be called, or ``None``. A deadline is thus met to the millisecond by one cheap query
    a beat, without anybody having to be told when a deadline moves.
    """

    def __init__(self, name: str, call: Callable[[], float | None], longest_seconds: float, allowed: Callable[[], bool]) -> None:
        self._name = name
        self._call = call
        self._longest = longest_seconds
        self._allowed = allowed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Start calling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the call that is running."""
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            started = time.monotonic()
            wanted = _guarded(self._name, self._call) if self._allowed() else None
            wait = self._longest if wanted is None else min(self._longest, max(0.0, float(wanted)))  # type: ignore[arg-type]
            if time.monotonic() - started > self._longest and wait == 0.0:
                wait = 0.01  # one that is always late still lets others have the processor


def _guarded(name: str, call: Callable[[], object]) -> object:
    # broad on purpose: a sweep that fails once (database gone for a moment) must come again
    try:
        return call()
    except Exception as error:
        log.event("timer.failed", kind=name, error=type(error).__name__)
        return None
