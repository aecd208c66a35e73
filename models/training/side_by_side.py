"""Work that does not depend on each other, several pieces at a time, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def side_by_side(pieces: Sequence[Callable[[], object]], processes: int) -> None:
    """Do all pieces; what they make they keep themselves (``kept_fits``), and the caller reads it there.

    A piece must be picklable: a function of a module, or a ``partial`` of one. The first error in their order is raised.
    """
    # not forked: a fork copies the locks of libraries' threads (torch's, OpenCV's), but not the threads that would release them
    with ProcessPoolExecutor(min(processes, len(pieces)), get_context("spawn")) as pool:
        done = [pool.submit(piece) for piece in pieces]
        for one in done:
            one.result()
