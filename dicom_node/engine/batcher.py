"""Calls that come at the same time become one call: a network answers eight images hardly later than one.

Threads call ``Batcher(item)`` and get their own answer. The first to come waits for companions, at most ``wait_seconds`` and only
while ``expected()`` says that some may come; a lone call is never delayed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Closed(RuntimeError):
    """The batcher takes no more items."""


class Batcher(Generic[Item, Answer]):
    """Thread-safe.

    Parameters
    ----------
    call
        Answers several items at once, in their order. It is called by one thread at a time.
    most
        Items in one call.
    wait_seconds
        Longest wait for companions.
    expected
        How many callers there may be just now; when that many items have come nobody waits any longer.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        most: int = 8,
        wait_seconds: float = 0.015,
        expected: Callable[[], int] | None = None,
    ) -> None:
        if most < 1:
            raise ValueError("a batch holds at least one item")
        self._call = call
        self._most = most
        self._wait = wait_seconds
        self._expected = expected or (lambda: most)
        self._waiting: list[tuple[Item, Future[Answer]]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="batcher", daemon=True)
        self._thread.start()

    def __call__(self, item: Item) -> Answer:
        """Return the answer to one item; raises what the call raised for this very item.

        Raises
        ------
        Closed
            The batcher was closed before.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                raise Closed("the batcher is closed")
            self._waiting.append((item, future))
            self._changed.notify_all()
        return future.result()

    def close(self) -> None:
        """Answer what has come, take nothing more, end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _loop(self) -> None:
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> list[tuple[Item, Future[Answer]]]:
        """Wait for a batch; empty when closed and nothing is left."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            end = time.monotonic() + self._wait
            while self._waiting and not self._closed and len(self._waiting) < min(self._most, self._expected()):
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            return batch

    def _answer(self, batch: list[tuple[Item, Future[Answer]]]) -> None:
        try:
            answers = self._call([item for item, _ in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(batch)} items went in and {len(answers)} answers came out")
        except BaseException as error:  # broad on purpose: it belongs to the caller, not to this thread
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for one in batch:  # one bad item must not spoil the others
                self._answer([one])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)
