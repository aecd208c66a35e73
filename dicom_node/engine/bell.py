"""A bell at each queue: work that this process has just committed starts now, not at the next poll.

The engine sleeps between two polls in ``stop_event.wait(seconds)``. It gets an event that the bell also wakes; the polling
itself, with every limit and lock, stays the engine's own.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

import dbos._queue

_bells: defaultdict[str, threading.Event] = defaultdict(threading.Event)
_poll: Any = dbos._queue.queue_worker_thread
#: How late a sleeping queue notices that the worker stops.
_STOP_SECONDS = 0.2


def ring(queue: str) -> None:
    """Wake the queue of this process, if it sleeps; when it is polling just now it polls once more."""
    _bells[queue].set()


def hang() -> None:
    """Have queues that start from now on listen to their bells."""
    dbos._queue.queue_worker_thread = _with_bell


def _with_bell(stop_event: threading.Event, engine: Any, queue: Any) -> None:
    _poll(_Sleep(stop_event, _bells[queue.name]), engine, queue)


class _Sleep:
    """Stands where the engine expects its stop event."""

    def __init__(self, stop: threading.Event, bell: threading.Event) -> None:
        self._stop = stop
        self._bell = bell

    def is_set(self) -> bool:
        return self._stop.is_set()

    def wait(self, timeout: float) -> bool:
        """Sleep until the time is over, the bell rings or the worker stops; say whether it stops."""
        end = time.monotonic() + timeout
        while not self._stop.is_set():
            left = end - time.monotonic()
            if left <= 0 or self._bell.wait(min(left, _STOP_SECONDS)):
                break
        self._bell.clear()
        return self._stop.is_set()
