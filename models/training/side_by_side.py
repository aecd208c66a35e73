"""Work that does not depend on each other, several pieces at a time, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Done = TypeVar("Done")


def side_by_side(pieces: Sequence[Callable[[], Done]], processes: int) -> list[Done]:
    """Do all pieces and return what each gives, in their order; what is large they keep themselves (``kept_fits``).

    A piece must be picklable: a function of a module, or a ``partial`` of one. The first error in their order is raised.
    """
    # not forked: a fork copies the locks of libraries' threads (torch's, OpenCV's), but not the threads that would release them
    with ProcessPoolExecutor(min(processes, len(pieces)), get_context("spawn")) as pool:
        return [one.result() for one in [pool.submit(piece) for piece in pieces]]
