"""Who is alive, when several processes share one database: a row each, renewed by the DATABASE's clock.

A worker says every few seconds that it lives. One that has been silent for too long is dead, and the others put its running work
back into the queues (``port.Worker.take_over``). The same rows say which one process may do what must not be done twice (timers).

Clocks of hosts may differ: only the database's is used. After a break of the database everybody's beat is late; then nobody judges
anybody for a whole term, because the silent ones are as alive as oneself.
"""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.core.errors import StoreError
from dicom_node.store.tables import lease

#: The lease of the one process whose timers beat.
TIMERS = "timers"
#: Rows of processes that went long ago are of no use to anybody.
_FORGET_SECONDS = 7 * 86400.0


def database_now(dialect: str) -> Any:
    """Return SQL for the database's own clock: seconds since 1970, moving on within a transaction."""
    text = "extract(epoch from clock_timestamp())" if dialect == "postgresql" else "((julianday('now') - 2440587.5) * 86400.0)"
    return sa.cast(sa.literal_column(text), sa.Float(53))


def clock_skew_seconds(database: sa.Engine) -> float:
    """Return by how much this host's clock is ahead of the database's, in seconds (half the question's way taken off)."""
    with database.connect() as connection:
        asked = time.time()
        theirs = float(connection.execute(sa.select(database_now(database.dialect.name))).scalar_one())
        return (asked + time.time()) / 2 - theirs


def worker_name(state: Path, slot: str) -> str:
    """Return a name for a worker that a successor with the same state folder has again, and nobody else.

    The folder gets a mark at first use: containers may all be called the same.
    """
    state.mkdir(parents=True, exist_ok=True)
    path = state / "mark"
    with contextlib.suppress(FileExistsError), path.open("x") as handle:
        handle.write(uuid.uuid4().hex[:8])
    return f"{socket.gethostname().partition('.')[0]}-{slot}-{path.read_text().strip()}"


def living_roles(database: sa.Engine, dead_seconds: float) -> set[str]:
    """Return the roles that some process, here or on another machine, is alive in."""
    now = database_now(database.dialect.name)
    with database.connect() as connection:
        fresh = lease.c.beat_utc.between(now - dead_seconds, now + dead_seconds)  # later ones: the database's clock was set back
        query = sa.select(lease.c.role).where(fresh, lease.c.name != TIMERS).distinct()
        return set(connection.execute(query).scalars())


class Leases:
    """The leases of this process. One thread beats; the others only ask.

    Parameters
    ----------
    name
        Executor id (``worker_name``).
    dead_seconds
        Silence after which a lease is free.
    """

    def __init__(self, database: sa.Engine, name: str, role: str, dead_seconds: float) -> None:
        self._database = database
        self._name = name
        self._role = role
        self._holder = uuid.uuid4().hex  # this process
        self._dead = dead_seconds
        self._now = database_now(database.dialect.name)
        self._last_beat = time.monotonic()
        self._silent_until = 0.0
        self._timers_until = 0.0
        self._ahead: dict[tuple[str, float], float] = {}  # name and beat of a row from the future -> seen since (monotonic)

    @property
    def name(self) -> str:
        """The executor id."""
        return self._name

    def enter(self) -> None:
        """Take the lease of this name, before the first work is taken. A predecessor of the name is dead: its lock was free."""
        with self._database.begin() as connection:
            self._write(connection, self._name, self._holder)
        self._last_beat = time.monotonic()

    def beat(self) -> bool:
        """Renew the lease; say whether others may be judged now.

        ``False`` for one term after a beat that came late: the database was away, or this process stood still.

        Raises
        ------
        StoreError
            Another process has taken this name (a copied machine): two of one name would take each other's work.
        """
        with self._database.begin() as connection:
            holder = connection.execute(sa.select(lease.c.holder).where(lease.c.name == self._name)).scalar()
            if holder not in (None, self._holder):
                raise StoreError(f'another process works under the name "{self._name}": is this machine a copy of another one?')
            self._write(connection, self._name, self._holder)
            connection.execute(sa.delete(lease).where(lease.c.beat_utc < self._now - _FORGET_SECONDS))
        now = time.monotonic()
        if now - self._last_beat > self._dead / 2:
            self._silent_until = now + self._dead
        self._last_beat = now
        return now >= self._silent_until

    def living(self) -> set[str]:
        """Return the names of all processes that were heard within the term, this one included."""
        with self._database.connect() as connection:
            query = sa.select(lease.c.name).where(lease.c.beat_utc > self._now - self._dead, lease.c.name != TIMERS)
            heard = set(connection.execute(query).scalars())
            return {self._name} | heard - self._left_ahead(connection).keys()

    def take_timers(self) -> bool:
        """Take or renew the lease of the timers; say whether this process has it."""
        asked = time.monotonic()
        with self._database.begin() as connection:
            left = self._left_ahead(connection).get(TIMERS)
            mine_or_free = sa.or_(lease.c.holder == self._name, lease.c.beat_utc < self._now - self._dead, lease.c.beat_utc == left)
            renewed = connection.execute(
                sa.update(lease)
                .where(lease.c.name == TIMERS, mine_or_free)
                .values(holder=self._name, role=self._role, beat_utc=self._now)
            ).rowcount
            if not renewed and not connection.execute(sa.select(lease.c.name).where(lease.c.name == TIMERS)).first():
                try:
                    with connection.begin_nested():
                        self._write(connection, TIMERS, self._name)
                    renewed = 1
                except sa.exc.IntegrityError:
                    renewed = 0  # another process was first
        # given up here well before anybody else may take it
        self._timers_until = asked + self._dead / 2 if renewed else 0.0
        return bool(renewed)

    def has_timers(self) -> bool:
        """Say whether this process holds the timers for certain, also when the database has not answered for a while."""
        return time.monotonic() < self._timers_until

    def _left_ahead(self, connection: sa.Connection) -> dict[str, float]:
        """Return name and beat of the dead whose last beat lies in the future: the database's clock was set back after it.

        The living beat again within a term, so a beat that was seen unmoved for longer is a dead one's.
        """
        now = time.monotonic()
        query = sa.select(lease.c.name, lease.c.beat_utc).where(lease.c.beat_utc > self._now + self._dead)
        self._ahead = {
            (row.name, row.beat_utc): self._ahead.get((row.name, row.beat_utc), now) for row in connection.execute(query)
        }
        return {name: beat for (name, beat), since in self._ahead.items() if now - since > self._dead}

    def leave(self) -> None:
        """Give the leases back: what is left is taken over at once."""
        self._timers_until = 0.0
        with self._database.begin() as connection:
            connection.execute(sa.delete(lease).where(lease.c.name == TIMERS, lease.c.holder == self._name))
            connection.execute(sa.delete(lease).where(lease.c.name == self._name, lease.c.holder == self._holder))

    def _write(self, connection: sa.Connection, name: str, holder: str) -> None:
        renewed = connection.execute(
            sa.update(lease).where(lease.c.name == name).values(holder=holder, role=self._role, beat_utc=self._now)
        )
        if not renewed.rowcount:
            connection.execute(
                sa.insert(lease).values(name=name, holder=holder, role=self._role, started_utc=self._now, beat_utc=self._now)
            )
