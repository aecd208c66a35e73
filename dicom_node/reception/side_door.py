"""Called AE titles behind which another room takes objects: they are stored as safely as images, and are none.

The room hands in who may come, what it takes, and how it writes the row; reception knows no more of it. The called AE title alone
decides: what comes in here is never compared with images, never moves a deadline and never starts a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from dicom_node.core.study import Instance
from dicom_node.reception.settings import PeerSettings


class RecordOfDoor(Protocol):
    """As ``intake.Record``, with the name of the association that brought the object."""

    def __call__(
        self, connection: sa.Connection, instance: Instance, *, size: int, received_utc: float, association: str
    ) -> bool: ...


@dataclass(frozen=True)
class Ending:
    """An association is over, and every object of it has its row."""

    association: str
    ended_utc: float
    released: bool  # the peer said that it had sent everything; else it was cut off, by whoever
    refused: int  # objects that were not taken


@dataclass(frozen=True)
class SideDoor:
    """One room's AE titles.

    Attributes
    ----------
    callers
        Who may call these titles; the senders of images may not, unless they stand here too.
    folder
        Below HOME/store; the file of an object lies there.
    admit
        Called with an object before anything of it is kept; raises ``ObjectRefused``.
    record
        Writes the row of an object, in the transaction that makes it durable.
    ended
        Called once for each association that ended while this process lived, in a transaction of its own, perhaps twice after an
        error of the database. Of one that was open when the process died nothing is told.
    """

    ae_titles: tuple[str, ...]
    callers: tuple[PeerSettings, ...]
    folder: str
    admit: Callable[[Instance], None]
    record: RecordOfDoor
    ended: Callable[[sa.Connection, Ending], None]
