"""Who guesses passwords waits: counted by login and address, and by address alone. Kept in memory; a restart forgets."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

#: Failures within the window after which a login from an address, or an address with any login, waits.
MOST_OF_ONE = 5
MOST_OF_ADDRESS = 30
WINDOW_SECONDS = 900.0
_MOST_KEPT = 10_000


class Throttle:
    """Failures of the last quarter of an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def waits(self, login: str, address: str) -> float:
        """Return for how many seconds no password is looked at; 0: now."""
        with self._lock:
            one = self._left((address, login.casefold()), MOST_OF_ONE)
            return max(one, self._left((address, ""), MOST_OF_ADDRESS))

    def failed(self, login: str, address: str) -> None:
        """Count a failure."""
        with self._lock:
            for key in ((address, login.casefold()), (address, "")):
                self._failures.setdefault(key, []).append(self._clock())
                self._failures.move_to_end(key)
            while len(self._failures) > _MOST_KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, login: str, address: str) -> None:
        """Forget the failures of this login from this address."""
        with self._lock:
            self._failures.pop((address, login.casefold()), None)

    def _left(self, key: tuple[str, str], most: int) -> float:
        since = self._clock() - WINDOW_SECONDS
        recent = [at for at in self._failures.get(key, ()) if at > since]
        if recent:
            self._failures[key] = recent[-most:]
        else:
            self._failures.pop(key, None)
        return recent[-most] - since if len(recent) >= most else 0.0
