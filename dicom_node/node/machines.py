"""Several machines with one database: a process says that it lives, renews that, and notices the others that do not.

On SQLite there are no others, and nothing is said.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import StoreError
from dicom_node.engine.leases import Leases, clock_skew_seconds, living_roles, worker_name
from dicom_node.engine.process import first_free
from dicom_node.home import Home
from dicom_node.node import last_beats

if TYPE_CHECKING:
    from dicom_node.engine.port import Worker  # with DBOS, which reception does not need

#: Hosts whose clocks differ by more than this from the database's are told about: quiet times are shifted by it.
SKEW_SECONDS = 1.0


def enter(database: sa.Engine, home: Home, settings: NodeSettings, slot: str, role: str) -> Leases:
    """Say that this process lives, before it takes any work; a worker also takes the timers if they are free."""
    skew = clock_skew_seconds(database)
    if abs(skew) > SKEW_SECONDS:
        log.event("clock.skewed", seconds=round(skew, 1), role=role)
    lease = Leases(database, worker_name(home.state, slot), role, settings.work.lease_dead_seconds)
    lease.enter()
    if role == "work":
        lease.take_timers()
    return lease


def beat_lease(leases: Leases | None, worker: Worker, stop: threading.Event) -> None:
    """One beat of a worker: renew, take the timers if they are free, and take over what the dead have left."""
    if leases is None:
        return
    try:
        judges = leases.beat()
    except StoreError as error:
        log.event("lease.lost", error=str(error))
        stop.set()  # the supervisor starts it again, under the lock that keeps names apart
        return
    leases.take_timers()
    if judges and (dead := worker.take_over(leases.living())):
        log.event("work.taken_over", count=len(dead))


@contextlib.contextmanager
def seen_by_others(database: sa.Engine, home: Home, settings: NodeSettings, role: str) -> Iterator[None]:
    """Hold a lease for a role that takes no work, so that other machines' pages know of it."""
    if database.dialect.name == "sqlite":
        yield
        return
    from dicom_node.engine.schedule import Alarm  # late: where nobody needs a lease, the doors open without it

    with first_free(home, role) as slot:
        lease = enter(database, home, settings, slot, role)

        def renew() -> None:
            lease.beat()

        pulse = Alarm("lease", renew, settings.work.lease_beat_seconds, lambda: True)  # goes on whatever fails, and tells
        pulse.start()
        try:
            yield
        finally:
            pulse.stop()
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                lease.leave()


def beats_everywhere(database: sa.Engine, home: Home, settings: NodeSettings) -> dict[str, float]:
    """Return the heartbeats of this machine's roles and, where another machine has a role alive, of that."""
    here = last_beats(home)
    if database.dialect.name == "sqlite":
        return here
    with contextlib.suppress(sa.exc.SQLAlchemyError):
        for role in living_roles(database, settings.work.lease_dead_seconds):
            here[role] = 0.0
    return here
