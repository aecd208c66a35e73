"""The diary of associations: who came when, what was agreed, how much was sent, who ended it and how.

Written by a thread of its own, a few times a second and in batches, so that no object waits for it. An association that lasts has
its row soon after it began; if the node dies, that row stays open and tells.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.reception import repository
from dicom_node.reception.side_door import Ending, SideDoor

FLUSH_SECONDS = 0.5
FORGET_EVERY_SECONDS = 3600.0
#: How an association ends in which the peer sent all that it wanted to.
RELEASED = "peer released"
#: Entries kept while the database is away; the oldest are given up first.
MAX_WAITING = 10_000


@dataclass(eq=False)
class Entry:
    """One association, or an attempt at one. Times are UTC, in seconds since 1970."""

    calling_ae: str
    called_ae: str
    address: str
    started_utc: float
    tls: str = ""
    implementation: str = ""
    outcome: str = "accepted"  # accepted | rejected
    reason: str = ""
    contexts: list[tuple[str, str, str]] = field(default_factory=list)  # abstract syntax, transfer syntax taken, why refused
    objects: int = 0
    bytes: int = 0
    refused: int = 0
    first_byte: float = 0.0  # monotonic
    last_answer: float = 0.0
    ended_utc: float | None = None
    ended_by: str = ""
    association_id: int | None = None
    door: SideDoor | None = None  # whose AE title was called, where it was not reception's own
    token: str = field(default_factory=lambda: uuid.uuid4().hex)  # name of the association towards a side door

    def ends(self, how: str) -> None:
        """Note who ended it and how; the first to say so is right."""
        self.ended_by = self.ended_by or how

    def answered(self, began: float, size: int | None) -> None:
        """Count an object: ``began`` is when its first byte came (monotonic); ``size`` ``None``: it was refused."""
        self.first_byte = self.first_byte or began
        self.last_answer = time.monotonic()
        if size is None:
            self.refused += 1
        else:
            self.objects += 1
            self.bytes += size

    @property
    def ending(self) -> Ending:
        """How it ended, for the side door."""
        return Ending(self.token, self.ended_utc or time.time(), self.ended_by == RELEASED, self.refused)

    @property
    def seconds_busy(self) -> float:
        """From the first byte of the first object to the last answer."""
        return max(0.0, self.last_answer - self.first_byte)

    def row(self, receiver: str) -> dict[str, Any]:
        """Return the entry as its table has it."""
        names = ("started_utc", "ended_utc", "calling_ae", "called_ae", "address", "tls", "implementation", "outcome", "reason")
        counted = ("objects", "bytes", "refused", "seconds_busy", "ended_by")
        return {
            "receiver": receiver,
            "contexts": [list(context) for context in self.contexts],
            **{name: getattr(self, name) for name in (*names, *counted)},
        }


class Diary:
    """Writes entries when there is time. Made and stopped by the receiver."""

    def __init__(self, database: sa.Engine, keep_days: float) -> None:
        self.receiver = f"{socket.gethostname()}:{os.getpid()}"
        self._database = database
        self._keep_seconds = keep_days * 86400
        self._lock = threading.Lock()
        self._waiting: dict[Entry, None] = {}  # a set that keeps its order
        self._wake = threading.Event()
        self._end = threading.Event()
        self._forgot = float("-inf")
        self._thread = threading.Thread(target=self._run, name="association-diary", daemon=True)

    def start(self) -> None:
        """Begin to write; what a dead receiver of this machine left open is closed first."""
        self._thread.start()

    def note(self, entry: Entry) -> None:
        """Write this entry soon: it began, or it is over."""
        with self._lock:
            self._waiting[entry] = None
            lost = len(self._waiting) > MAX_WAITING
            if lost:
                self._waiting.pop(next(iter(self._waiting)))
        if lost:
            log.event("diary.entry_lost")
        self._wake.set()

    def stop(self) -> None:
        """Write what is left and end."""
        self._end.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        self._guarded(self._close_dead)
        while not self._end.is_set():
            self._wake.wait(FORGET_EVERY_SECONDS)
            self._wake.clear()
            self._end.wait(FLUSH_SECONDS)  # others come meanwhile; they share the transaction
            self._guarded(self._flush)
        self._guarded(self._flush)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the diary may fail; reception goes on, and tries again with the next entry
            log.event("diary.not_written", error=type(error).__name__)
            self._wake.set()

    def _flush(self) -> None:
        with self._lock:
            batch = list(self._waiting)
        over = [entry for entry in batch if entry.ended_utc is not None]
        now = time.monotonic()
        with self._database.begin() as connection:
            repository.insert(connection, [entry.row(self.receiver) for entry in over if entry.association_id is None])
            for entry in over:
                if entry.association_id is not None:
                    repository.update(connection, entry.association_id, entry.row(self.receiver))
            for entry in over:
                if entry.door is not None and entry.outcome == "accepted":
                    entry.door.ended(connection, entry.ending)
            made = {
                entry: repository.insert_open(connection, entry.row(self.receiver))
                for entry in batch
                if entry not in over and entry.association_id is None
            }
            if now - self._forgot > FORGET_EVERY_SECONDS:
                repository.forget(connection, time.time() - self._keep_seconds)
        self._forgot = now if now - self._forgot > FORGET_EVERY_SECONDS else self._forgot
        with self._lock:
            for entry in batch:
                # one that ended while it was written as open stays for the next turn
                if entry in over or entry.ended_utc is None:
                    self._waiting.pop(entry, None)
            for entry, association_id in made.items():
                entry.association_id = association_id

    def _close_dead(self) -> None:
        host, _, _ = self.receiver.rpartition(":")
        with self._database.begin() as connection:
            dead = [name for name in repository.open_receivers(connection) if self._is_dead(name, host)]
            repository.mark_dead(connection, dead)

    def _is_dead(self, receiver: str, host: str) -> bool:
        """Say whether a receiver is gone; of other machines nothing is known here."""
        if receiver == self.receiver:
            return True  # an earlier life under the same process id
        where, _, pid = receiver.rpartition(":")
        return where == host and pid.isdigit() and not Path("/proc", pid).exists()
