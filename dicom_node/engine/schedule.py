"""Timers (APScheduler): they only submit or sweep, never do the work. One process has them, so none fires twice."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from dicom_node import log

#: An alarm whose moment has passed still lets others have the processor.
_SHORTEST_SECONDS = 0.02

#: How often the wall clock is compared with the one that never steps, and a difference that is a step and not its correction.
_WATCH_SECONDS = 1.0
_STEP_SECONDS = 2.0

#: Calls under way at once: more than there are timers in all but the largest nodes. Threads are made as they are needed.
_MOST_AT_ONCE = 40

Value = TypeVar("Value")


class Timers:
    """A few repeating calls in this process. A call that fails is logged and made again at the next beat.

    ``allowed`` is asked before each call: of several machines only the one that holds the lease of the timers makes it.
    """

    def __init__(self, allowed: Callable[[], bool] = lambda: True) -> None:
        self._allowed = allowed
        # a few archives that do not answer must not hold up what has nothing to do with them
        self._scheduler = BackgroundScheduler(timezone="UTC", executors={"default": ThreadPoolExecutor(_MOST_AT_ONCE)})
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._watch_clock, name="clock", daemon=True)

    def every(self, seconds: float, name: str, call: Callable[[], object]) -> None:
        """Call ``call`` each ``seconds``; a beat that finds the last one still running is left out."""

        def guarded() -> None:
            if self._allowed():
                _guarded(name, call)

        self._scheduler.add_job(
            guarded, "interval", seconds=seconds, id=name, max_instances=1, coalesce=True, misfire_grace_time=None
        )

    def start(self) -> None:
        """Start beating."""
        self._scheduler.start()
        self._watch.start()

    def stop(self) -> None:
        """Stop after the calls that are running."""
        self._ended.set()
        self._scheduler.shutdown(wait=True)

    def _watch_clock(self) -> None:
        """The library goes by the wall clock: set back by an hour, it would call nobody for an hour, not even for the lease."""
        ahead = time.time() - time.monotonic()
        while not self._ended.wait(_WATCH_SECONDS):
            before, ahead = ahead, time.time() - time.monotonic()
            if abs(ahead - before) < _STEP_SECONDS:
                continue
            log.event("clock.stepped", seconds=round(ahead - before, 1))
            now = dt.datetime.now(dt.UTC)
            for job in self._scheduler.get_jobs():
                latest = now + job.trigger.interval
                if job.next_run_time > latest:
                    job.modify(next_run_time=latest)


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
            wanted = _guarded(self._name, self._call) if self._allowed() else None
            wait = self._longest if wanted is None else min(self._longest, max(_SHORTEST_SECONDS, wanted))


def _guarded(name: str, call: Callable[[], Value]) -> Value | None:
    # broad on purpose: a sweep that fails once (database gone for a moment) must come again
    try:
        return call()
    except Exception as error:
        log.event("timer.failed", kind=name, error=type(error).__name__)
        return None
