"""Damaged streams against a running receiver: it must live, forget each of them, and keep what it acknowledged."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.core.digest import digest_of
from dicom_node.imaging.encoded import file_meta_end
from dicom_node.store import tables
from tests.fuzz import messages, streams
from tests.fuzz.corpus import instance_uid, undamaged
from tests.fuzz.target import Target

#: A connection whose sending side is closed must be closed by the node within this time, in seconds.
LONGEST = 15.0
#: How long a peer that waits for an answer waits, in seconds.
POLITE = 0.5
_ALLOWED = re.compile(
    r"node\.(yaml|sqlite(-wal|-shm)?)|bundles|results|state(/[a-z.0-9]+)?|store(/incoming|/[a-z2-7]{2}(/st_[a-z2-7]{10}(/[0-9a-f]{32}-[0-9a-f]{32}\.dcm)?)?)?"
)


@dataclass
class Findings:
    """What a run came to."""

    cases: int = 0
    pdus: int = 0
    seconds: float = 0.0
    acknowledged: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    memory_mb: tuple[float, float] = (0.0, 0.0)

    def __str__(self) -> str:
        return (
            f"{self.cases} connections, {self.pdus} PDUs, {self.pdus / max(self.seconds, 1e-9):.0f} PDUs a second, "
            f"{self.acknowledged} objects acknowledged, memory {self.memory_mb[0]:.0f} -> {self.memory_mb[1]:.0f} MB, "
            f"{len(self.defects)} defects"
        )


def exchange(port: int, stream: streams.Stream, polite: float = POLITE) -> bytes:
    """Send a stream, close the sending side, and return everything that came back; ``polite`` is how long to wait for an answer.

    Raises
    ------
    TimeoutError
        The node neither answers nor closes.
    """
    answer, news = bytearray(), threading.Event()
    with socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = threading.Thread(target=_read, args=(connection, answer, news), daemon=True)
        reader.start()
        with contextlib.suppress(OSError):  # it may have closed already, rightly
            for piece in stream:
                if piece:
                    connection.sendall(piece)
                elif news.wait(polite):
                    news.clear()
            connection.shutdown(socket.SHUT_WR)
        reader.join(LONGEST)
        if reader.is_alive():
            raise TimeoutError("the connection is still open")
    return bytes(answer)


def _read(connection: socket.socket, answer: bytearray, news: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while piece := connection.recv(65536):
            answer += piece
            news.set()
    news.set()


def run(
    seed: str, first: int, last: int, folder: Path, failures: Path, path: str, seconds: float = 1e9, workers: int = 4
) -> Findings:
    """Run cases ``first`` to ``last - 1`` against one receiver, or as many as the time allows.

    Parameters
    ----------
    path
        ``fast`` or ``plain``: DICOM on that path; ``doors``: HL7 and STOW-RS.
    """
    found = Findings()
    target = Target(folder, "plain" if path == "plain" else "fast")
    ports = {"hl7": target.hl7_port, "stow": target.stow_port}
    make = messages.case if path == "doors" else streams.case
    taken: list[str] = []
    told_hl7 = 0
    lock = threading.Lock()
    numbers = iter(range(first, last))

    def work() -> None:
        nonlocal told_hl7
        while time.monotonic() - started < seconds and target.lives:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            kind, stream = make(seed, number)
            again = f"again with: python -m tests.fuzz streams --seed {seed} --path {path} --only {number}"
            try:
                answer = exchange(ports.get(kind, target.port), stream)
                stored = messages.stored_by_http(answer) if kind == "stow" else streams.acknowledged(answer)
            except (OSError, ValueError) as error:
                answer, stored = b"", []
                _write_failure(failures, path, seed, number, stream)
                found.defects.append(f"{kind}: {type(error).__name__}: {error}; {again}")
            with lock:
                taken.extend(stored)
                told_hl7 += messages.accepted(answer) if kind == "hl7" else 0
                found.cases += 1
                found.pdus += sum(map(bool, stream))
                found.kinds[kind] += 1

    try:
        exchange(target.port, good_one(last), LONGEST)
        before = target.facts()
        started = time.monotonic()
        threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found.seconds = time.monotonic() - started
        found.acknowledged = len(taken) + told_hl7
        if not target.lives:
            found.defects.append(f"the receiver ended with {target.process.returncode}: {target.log()}")
            return found
        _afterwards(target, found, before, last + 1, idle_threads=24 if path == "doors" else 3)
    finally:
        target.stop()
    found.defects += kept(target, taken, told_hl7) + strays(target)
    return found


def good_one(number: int) -> streams.Stream:
    """Return a flawless association with one object."""
    specimen = undamaged(number * 4)
    return [streams.opening(specimen), *streams.stored(specimen, instance_uid(number * 4)), streams.RELEASE]


def _write_failure(failures: Path, path: str, seed: str, number: int, stream: streams.Stream) -> None:
    failures.mkdir(parents=True, exist_ok=True)
    (failures / f"{path}-{seed}-{number}.bin").write_bytes(b"".join(stream))


def _afterwards(target: Target, found: Findings, before: dict[str, Any], number: int, idle_threads: int) -> None:
    """The receiver still takes a good object, and holds no more than before; pools keep ``idle_threads`` at most."""
    answer = exchange(target.port, good_one(number), LONGEST)
    if streams.acknowledged(answer) != [instance_uid(number * 4)]:
        found.defects.append(f"a good object is not taken afterwards: …{answer[-200:]!r}\n{target.log()}")
    end = time.monotonic() + 20
    facts = target.facts()
    while time.monotonic() < end:
        facts = target.facts()
        threads = facts["threads"] - before["threads"] <= idle_threads
        if facts["associations"] == 0 and threads and facts["descriptors"] <= before["descriptors"] + 140:
            break
        time.sleep(0.2)
    else:
        found.defects.append(f"held before: {before}; held 20 s after the last connection: {facts}")
    found.memory_mb = before["memory_mb"], facts["memory_mb"]
    if facts["memory_mb"] > before["memory_mb"] + 250:
        found.defects.append(f"memory grew from {before['memory_mb']:.0f} to {facts['memory_mb']:.0f} MB")


def kept(target: Target, taken: list[str], messages_taken: int = 0) -> list[str]:
    """Every object that was answered with success has a row and a file; every row its file, with the bytes it says."""
    defects = []
    with target.database.connect() as connection:
        rows = connection.execute(sa.select(tables.instance)).all()
        told = connection.execute(sa.select(sa.func.count()).select_from(tables.message)).scalar_one()
    if messages_taken > told:
        defects.append(f"{messages_taken} messages acknowledged, {told} kept")
    known = {row.sop_instance_uid for row in rows}
    defects += [f"acknowledged and not kept: {uid!r}" for uid in taken if uid not in known]
    for row in rows:
        path = target.home / "store" / row.storage_key
        content = path.read_bytes() if path.is_file() else b""
        if digest_of(content[file_meta_end(content)[0] :]) != row.digest:
            defects.append("a row without its file, or with other bytes in it")
    return defects


def strays(target: Target) -> list[str]:
    """Nothing lies where it should not: outside the store, half-written, in a temporary folder, in the current one."""
    found = [p for place in (target.temporary, target.here) for p in place.rglob("*")]
    found += [p for p in target.home.rglob("*") if not _ALLOWED.fullmatch(p.relative_to(target.home).as_posix())]
    return [f"a file where none should be: {path}" for path in found]
