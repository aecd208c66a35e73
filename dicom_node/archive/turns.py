"""No archive is asked more often than IT allows: a sliding minute for each archive, shared by all who ask in this process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from dicom_node.archive.answers import ArchiveBusy

MINUTE = 60.0


class Turns:
    """At most ``most`` questions in any minute."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._most = most
        self._clock = clock
        self._sleep = sleep
        self._asked: deque[float] = deque()
        self._lock = threading.Lock()

    def take(self, patience_seconds: float) -> None:
        """Wait for a turn.

        Raises
        ------
        ArchiveBusy
            It would not come within ``patience_seconds``; nothing was waited for.
        """
        with self._lock:
            now = self._clock()
            while self._asked and self._asked[0] <= now - MINUTE:
                self._asked.popleft()
            free = len(self._asked) < self._most
            at = now if free else self._asked[-self._most] + MINUTE
            if at - now > patience_seconds:
                raise ArchiveBusy("the archive was asked as often as max_queries_per_minute allows; it is asked again later")
            self._asked.append(at)
        if at > now:
            self._sleep(at - now)


_TURNS: dict[tuple[object, ...], Turns] = {}
_LOCK = threading.Lock()


def turns_of(key: tuple[object, ...], most: int) -> Turns:
    """Return the one counter of an archive, named by its address and its limit."""
    with _LOCK:
        return _TURNS.setdefault((*key, most), Turns(most))
