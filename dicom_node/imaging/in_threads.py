"""The same work for many slices, several at a time: decoding and resizing leave Python's lock alone for most of their time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


def in_threads(work: Callable[[Item], Done], items: Sequence[Item], threads: int) -> list[Done]:
    """Return ``work`` of every item, in their order; with one thread, or one item, here and now.

    The first error in the order of the items is raised, whichever came first in time; what has not begun by then is not begun.
    """
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
