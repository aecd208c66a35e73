"""How full is the disk? Warn, then refuse, before anything that was acknowledged could be lost.

Refusing ends at a higher mark than it begins at, so that one freed gigabyte does not make reception flap.
"""

from __future__ import annotations

import enum
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from dicom_node import log
from dicom_node.studies.settings import DiskSettings

GIB = 1 << 30
#: A look at the disk is good for this long: it is asked for every object.
CACHED_SECONDS = 1.0
#: Refusing and warning end only above their mark by this much.
_BACK = 1.25


class Level(enum.IntEnum):
    """How much room there is."""

    OK = 0
    WARN = 1
    REFUSE = 2


class DiskState(NamedTuple):
    """One disk: a name for people, bytes, and where it stands."""

    name: str
    free: int
    total: int
    level: Level


def marks(total: int, settings: DiskSettings) -> tuple[float, float]:
    """Return the marks of a disk in free bytes: below the first people are told, below the second nothing is taken.

    A fixed number of gigabytes that is a third of a small disk would warn for ever, so there only the share counts.
    """
    share = total * settings.warn_free_percent / 100
    fixed = settings.warn_free_gb * GIB
    warn = max(share, fixed) if fixed <= total / 3 else share
    refuse = settings.refuse_free_gb * GIB
    return max(warn, refuse), refuse


def level(free: int, total: int, settings: DiskSettings, before: Level = Level.OK) -> Level:
    """Return where a disk stands; ``before`` is where it stood, and is left only with some room to spare."""
    warn, refuse = marks(total, settings)
    if free < refuse * (_BACK if before is Level.REFUSE else 1.0):
        return Level.REFUSE
    return Level.WARN if free < warn * (_BACK if before is not Level.OK else 1.0) else Level.OK


class DiskWatch:
    """Looks at the disks of some folders; may be asked by many threads.

    Parameters
    ----------
    folders
        Name for people -> folder that exists. Folders on one disk count once, under the first name.
    quiet
        Tell no change in the log: another process does.
    statvfs, clock
        For tests.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        settings: DiskSettings,
        *,
        quiet: bool = False,
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = dict(folders)
        self._settings = settings
        self._quiet = quiet
        self._statvfs = statvfs
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: dict[str, Level] = {}
        self._looked: float | None = None
        self._states: tuple[DiskState, ...] = ()

    def look(self) -> tuple[DiskState, ...]:
        """Return the disks as they are, at most a second old. A disk that cannot be asked is refused: nothing can be written."""
        with self._lock:
            now = self._clock()
            if self._looked is None or now - self._looked >= CACHED_SECONDS:
                self._states = self._ask()
                self._looked = now
            return self._states

    def worst(self) -> Level:
        """Return the level of the fullest disk."""
        return max((state.level for state in self.look()), default=Level.OK)

    def refusal(self) -> str:
        """Return why nothing can be taken now, at most 64 characters for an Error Comment; empty while there is room."""
        full = [state.name for state in self.look() if state.level is Level.REFUSE]
        return f"Out of resources: the node's disk is full ({full[0]})" if full else ""

    def _ask(self) -> tuple[DiskState, ...]:
        states, seen = [], set()
        for name, folder in self._folders.items():
            try:
                found = self._statvfs(folder)
                device = (folder.stat().st_dev, found.f_blocks)
            except OSError as error:
                log.event("disk.unreadable", room=name, error=type(error).__name__)
                states.append(DiskState(name, 0, 0, Level.REFUSE))
                self._levels[name] = Level.REFUSE
                continue
            if device in seen:
                continue
            seen.add(device)
            free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
            now = level(free, total, self._settings, self._levels.get(name, Level.OK))
            if now is not self._levels.get(name, Level.OK) and not self._quiet:
                log.event({Level.OK: "disk.ok", Level.WARN: "disk.low", Level.REFUSE: "disk.full"}[now], room=name, size=free)
            self._levels[name] = now
            states.append(DiskState(name, free, total, now))
        return tuple(states)


def words(state: DiskState) -> str:
    """Return one disk in words."""
    share = state.free / state.total if state.total else 0.0
    room = f"{state.free / GIB:.1f} GiB free ({share:.0%})"
    return {
        Level.OK: room,
        Level.WARN: f"{room}: getting full; make room, or set retention",
        Level.REFUSE: f"{room}: full; objects are refused with 0xA700 until there is room",
    }[state.level]
