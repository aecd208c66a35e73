"""How fast objects come in, beside Orthanc, DCMTK and a bare copy: ``python -m tests.benchmark.ingest``.

Every round gives each receiver the same objects, fresh and with an empty store; the figures are medians of ratios within a round,
since wall times swing on a shared machine. All have TCP_NODELAY. Ours answers after file, folder and row are on the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from dicom_node.store import tables
from dicom_node.store.connect import default_url, make_engine
from tests.benchmark.cheap_sender import Sendable, Sender, copy_all, ct_series, radiographs, send_all
from tests.benchmark.ingest_peers import ALL, BARE, CALLED, CALLING, ORTHANC, OURS, Peer

SETTLE_SECONDS = 1.0
SHORT_ASSOCIATIONS = 40
BURST, BURST_SENDERS = 1000, 8
OPEN_ASSOCIATIONS = 16

_T = TypeVar("_T")


@dataclass(frozen=True)
class Goal:
    """One line of the table; ``more`` says which way is better."""

    what: str
    reached: float
    must: float
    aim: float
    unit: str = "x"
    more: bool = True

    def line(self) -> str:
        """Return the line."""
        sign = 1 if self.more else -1
        met, aimed = sign * self.reached >= sign * self.must, sign * self.reached >= sign * self.aim
        said = "aim met" if aimed else "met" if met else "NOT met"
        return f"| {self.what} | {self.must:g} {self.unit} | {self.aim:g} {self.unit} | {self.reached:.2f} {self.unit} | {said} |"


def with_peer(name: str, work: Callable[[Peer, Path], _T]) -> _T:
    """Run ``work`` with a fresh receiver."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        peer = ALL[name](Path(folder))
        try:
            time.sleep(SETTLE_SECONDS)
            return work(peer, Path(folder))
        finally:
            peer.stop()


def rates(objects: Sequence[Sendable], rounds: int) -> list[dict[str, tuple[float, float]]]:
    """Return for each round and receiver: seconds an object, CPU seconds an object."""

    def one(peer: Peer, name: str) -> tuple[float, float]:
        before = peer.cpu_seconds()
        seconds = copy_all(peer.port, objects) if name == BARE else send_all(peer.port, CALLED, CALLING, objects)
        return seconds / len(objects), (peer.cpu_seconds() - before) / len(objects)

    return [{name: with_peer(name, lambda peer, _, name=name: one(peer, name)) for name in ALL} for _ in range(rounds)]


def short_associations(rounds: int) -> list[dict[str, tuple[float, float]]]:
    """Return for each round and receiver: seconds and CPU seconds for an association with one half-megabyte object."""
    objects = ct_series(SHORT_ASSOCIATIONS, seed=3)

    def one(peer: Peer) -> tuple[float, float]:
        send_all(peer.port, CALLED, CALLING, ct_series(1, seed=4))  # the first one pays for what is made once
        before = peer.cpu_seconds()
        seconds = sum(send_all(peer.port, CALLED, CALLING, [item]) for item in objects)
        time.sleep(SETTLE_SECONDS)  # what is done after the answer counts too
        return seconds / len(objects), (peer.cpu_seconds() - before) / len(objects)

    return [{name: with_peer(name, lambda peer, _: one(peer)) for name in (OURS, ORTHANC)} for _ in range(rounds)]


def memory_per_association(rows: int) -> float:
    """Return by how many MB the node grows for each association that is in the middle of an object of ``rows`` x 2500 pixels."""
    objects = radiographs(OPEN_ASSOCIATIONS, seed=5, rows=rows)

    def one(peer: Peer, _: Path) -> float:
        send_all(peer.port, CALLED, CALLING, radiographs(2, seed=6))  # what is loaded once is loaded
        before = highest = peer.memory_bytes()
        threads = [threading.Thread(target=send_all, args=(peer.port, CALLED, CALLING, [item])) for item in objects]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            highest = max(highest, peer.memory_bytes())
            time.sleep(0.01)
        return (highest - before) / len(objects) / 1e6

    return with_peer(OURS, one)


def burst() -> tuple[int, int, float]:
    """Send 1,000 studies of one image, each over an association of its own; return answered, stored, growth of memory in MB."""
    objects = radiographs(BURST, seed=7, rows=256, columns=256, studies=True)
    answered: list[int] = []

    def sender(mine: Sequence[Sendable], port: int) -> None:
        for item in mine:
            opened = Sender(port, CALLED, CALLING, item.sop_class_uid)
            answered.append(opened.store(item))
            opened.release()

    def one(peer: Peer, folder: Path) -> tuple[int, int, float]:
        sender(radiographs(20, seed=8, rows=256, columns=256, studies=True), peer.port)
        answered.clear()
        before = peer.memory_bytes()
        threads = [threading.Thread(target=sender, args=(objects[n::BURST_SENDERS], peer.port)) for n in range(BURST_SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        grown = (peer.memory_bytes() - before) / 1e6
        database = make_engine(default_url(folder))
        with database.connect() as connection:
            kept = set(connection.execute(sa.select(tables.instance.c.sop_instance_uid)).scalars())
        return answered.count(0), sum(item.sop_instance_uid in kept for item in objects), grown

    return with_peer(OURS, one)


def compared(rounds: list[dict[str, tuple[float, float]]], other: str, column: int = 0) -> float:
    """Return the median over the rounds of the other's figure divided by ours: how many times better ours is."""
    return statistics.median(one[other][column] / one[OURS][column] for one in rounds)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    load = os.getloadavg()[0]
    ct, dx = rates(ct_series(300), rounds), rates(radiographs(24), rounds)
    short = short_associations(rounds)
    small, large = memory_per_association(3000), memory_per_association(12000)
    answered, stored, grown = burst()
    goals = [
        Goal("CT (300 x 0.5 MB), one association, against Orthanc as it comes", compared(ct, ORTHANC), 1.5, 2.5),
        Goal("DX (24 x 15 MB), one association, against Orthanc as it comes", compared(dx, ORTHANC), 2, 3),
        Goal("CT against a bare TCP-to-file copy with sync", compared(ct, BARE), 0.5, 0.8),
        Goal("DX against a bare TCP-to-file copy with sync", compared(dx, BARE), 0.5, 0.8),
        Goal("association + one object + release, CPU of ours / Orthanc", 1 / compared(short, ORTHANC, 1), 2, 1, more=False),
        Goal("memory growth per open association, 15 MB objects", small, 4, 1, "MB", more=False),
        Goal("memory growth per open association, 60 MB objects", large, 4, 1, "MB", more=False),
        Goal(f"burst of {BURST} CXR studies, one association each: answered and stored", min(answered, stored), BURST, BURST, ""),
        Goal("growth of memory over that burst", grown, 64, 16, "MB", more=False),
    ]
    loads = f"load {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end"
    print(f"{rounds} interleaved rounds, {os.cpu_count()} cores, {loads}\n")
    print("| | must | aim | reached | |\n| --- | --- | --- | --- | --- |")
    for goal in goals:
        print(goal.line())
    print("\n| receiver | CT ms | CT CPU ms | DX ms | DX CPU ms |\n| --- | --- | --- | --- | --- |")
    for name in ALL:
        figures = [1000 * statistics.median(one[name][column] for one in table) for table in (ct, dx) for column in (0, 1)]
        print(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    print("\nOne object an association: " + ", ".join(_short(name, short) for name in (OURS, ORTHANC)))


def _short(name: str, rounds: list[dict[str, tuple[float, float]]]) -> str:
    wall, cpu = (1000 * statistics.median(one[name][column] for one in rounds) for column in (0, 1))
    return f"{name} {wall:.1f} ms, {cpu:.1f} ms of CPU"


if __name__ == "__main__":
    main()
