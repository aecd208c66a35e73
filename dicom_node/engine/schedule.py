"""Timers (APScheduler): they only submit or sweep, never do the work. One process has them, so none fires twice."""

from __future__ import annotations

from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler

from dicom_node import log


class Timers:
    """A few repeating calls in this process. A call that fails is logged and made again at the next beat."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(timezone="UTC")

    def every(self, seconds: float, name: str, call: Callable[[], object]) -> None:
        """Call ``call`` each ``seconds``; a beat that finds the last one still running is left out."""

        def guarded() -> None:
            # broad on purpose: a sweep that fails once (database gone for a moment) must come again
            try:
                call()
            except Exception as error:
                log.event("timer.failed", kind=name, error=type(error).__name__)

        self._scheduler.add_job(
            guarded, "interval", seconds=seconds, id=name, max_instances=1, coalesce=True, misfire_grace_time=None
        )

    def start(self) -> None:
        """Start beating."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop after the calls that are running."""
        self._scheduler.shutdown(wait=True)
