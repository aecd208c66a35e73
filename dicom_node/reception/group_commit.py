"""One commit for all that wait for one: the price of a sync of the database is shared by the associations open at the moment.

Whoever finds the database free leads: it takes along everybody who is waiting by then. With one association nothing is waited for.

An embedded database is not synced with every commit: a row that a power cut takes is made again from its file, which is on the disk
before the row is written (``adoption``). A crash of the process takes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from dicom_node.core.errors import StoreError

_T = TypeVar("_T")

#: Rows of so many seconds, at most, can a power cut take from an embedded database.
UNSYNCED_SECONDS = 0.5


@dataclass(eq=False)
class _Waiting:
    work: Callable[[sa.Connection], Any]
    order: str
    result: Any = None
    error: BaseException | None = None
    done: bool = False
    synced: bool = False


class GroupCommit:
    """Runs pieces of work inside shared transactions."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._connection: sa.Connection | None = None
        self._synced = -UNSYNCED_SECONDS  # monotonic; the first commit is

    def write(self, work: Callable[[sa.Connection], _T], order: str = "", *, synced: bool = False) -> _T:
        """Run ``work`` in a transaction and return its result when that is committed.

        ``work`` may run twice: in the shared transaction, and alone if a neighbour's work failed there. It must have no effect
        outside the database.

        Parameters
        ----------
        order
            Work of one transaction is done in this order, the same in every process, so that row locks meet no other way round.
        synced
            The row cannot be made again from a file: a power cut must not take it.

        Raises
        ------
        Exception
            What ``work`` raised; nothing of it is in the database.
        SQLAlchemyError
            The commit failed: the transaction's fate is not known, and nothing is tried again.
        """
        mine = _Waiting(work, order, synced=synced)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if not mine.done:
                with self._lock:
                    batch, self._waiting = self._waiting, []
                self._commit(sorted(batch, key=lambda item: item.order))
        if mine.error is not None:
            raise mine.error
        result: _T = mine.result
        return result

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            if len(batch) == 1 or not self._together(batch):
                for item in batch:
                    self._alone(item)
        finally:
            for item in batch:
                if not item.done:  # this thread is being ended in the middle
                    item.error = item.error or StoreError("the node was stopped while a row was written")
                    item.done = True

    def _together(self, batch: list[_Waiting]) -> bool:
        """Return whether the batch is settled; False when somebody's work failed and all is undone."""
        try:
            connection = self._connected()
            transaction = self._begin(connection, any(item.synced for item in batch))
            try:
                for item in batch:
                    item.result = item.work(connection)
            except Exception:  # whose work it was does not matter: each gets its own try
                self._disconnect()
                return False
            transaction.commit()
        except Exception as error:
            self._disconnect()
            self._settle(batch, error)
            return True
        self._settle(batch, None)
        return True

    def _alone(self, item: _Waiting) -> None:
        """Settle one, once more if nothing was done: the kept connection was dead, or the database gave no turn under load."""
        kept = self._connection is not None
        began = False
        try:
            try:
                transaction = self._begin(self._connected(), item.synced)
                began = True
                item.result = item.work(self._connected())
            except sa.exc.DBAPIError as error:
                no_turn = not began and "lock" in str(error.orig)  # SQLite: "database is locked", "locking protocol"
                if not no_turn and not (kept and error.connection_invalidated):
                    raise
                self._disconnect()
                transaction = self._begin(self._connected(), item.synced)
                item.result = item.work(self._connected())
            transaction.commit()
        except Exception as error:  # raised again in the thread that asked
            self._disconnect()
            item.error = error
        item.done = True

    def _begin(self, connection: sa.Connection, synced: bool) -> sa.RootTransaction:
        """Begin a transaction whose commit is synced, or, on an embedded database that was synced a moment ago, is not."""
        now = time.monotonic()
        synced = synced or now - self._synced >= UNSYNCED_SECONDS
        if synced:
            self._synced = now
        if connection.dialect.name == "sqlite":
            connection.connection.cursor().execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
        return connection.begin()

    def _connected(self) -> sa.Connection:
        """Return the connection that is kept between transactions: only who leads uses it."""
        if self._connection is None:
            self._connection = self._database.connect()
        return self._connection

    def _disconnect(self) -> None:
        """Drop the connection, and with it what was not committed; the next transaction begins with another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                connection.invalidate()
                connection.close()

    def close(self) -> None:
        """Give the connection back; the next transaction takes another one."""
        with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                if connection.dialect.name == "sqlite":
                    connection.connection.cursor().execute("PRAGMA synchronous=FULL")  # whoever gets it next
                connection.close()

    @staticmethod
    def _settle(batch: list[_Waiting], error: Exception | None) -> None:
        for item in batch:
            item.error = error
            item.done = True
