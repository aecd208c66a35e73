"""Rows made again from files: of an object that was acknowledged, the file is what a power cut cannot take.

An embedded database is synced twice a second at most (``group_commit``). What a power cut took of it since is here as whole files
that were written at that time; their rows are written again before the port is opened. Files of any other time are left to the
clean-up: where a database is new, restored from an old copy or the wrong one, nothing is analysed again by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from pydicom.filereader import read_file_meta_info

from dicom_node import log
from dicom_node.core.identifiers import study_key
from dicom_node.core.study import Instance
from dicom_node.imaging.header import read_instance
from dicom_node.reception.group_commit import UNSYNCED_SECONDS
from dicom_node.reception.intake import Record, is_referred_to
from dicom_node.reception.object_file import name_of
from dicom_node.store.connect import reading
from dicom_node.store.tables import instance

#: Rows older than the newest that is left were synced with it; clocks and slow disks get some time besides.
WINDOW_SECONDS = 60.0 + UNSYNCED_SECONDS


def adopt_unrecorded(database: sa.Engine, home: Path, record: Record) -> int:
    """Write the rows that a power cut took; return how many. For a start, before the port is opened.

    Only an embedded database needs it: a server syncs every commit. Where there is no row at all there is nothing to go by.
    """
    if database.dialect.name != "sqlite":
        return 0
    with reading(database) as connection:
        query = sa.select(instance.c.received_utc).order_by(instance.c.instance_id.desc()).limit(1)
        newest: float | None = connection.execute(query).scalar()
    if newest is None:
        return 0
    root = home.resolve() / "store"
    adopted = 0
    for path in _unrecorded(database, root, newest):
        try:
            adopted += _adopt(database, root, path, record)
        except sa.exc.SQLAlchemyError:
            raise  # this passes, and the row is owed
        except Exception as error:  # broad on purpose: one odd file must not keep the port closed at every start
            log.event("store.not_adopted", error=type(error).__name__)  # the clean-up puts it aside, where it is counted
    return adopted


def _unrecorded(database: sa.Engine, root: Path, newest: float) -> Iterator[Path]:
    """Yield files of the time in question that no row names, oldest first; a folder that is older has none."""
    found: list[tuple[float, Path]] = []
    for shard in sorted(root.iterdir()) if root.is_dir() else ():
        if not shard.is_dir() or len(shard.name) != 2:  # unfinished objects, and what came beside the images, lie elsewhere
            continue
        for folder in shard.iterdir():
            with suppress(FileNotFoundError):  # deleted meanwhile: retention and erasure go on in another process
                if not folder.is_dir() or folder.stat().st_mtime < newest - WINDOW_SECONDS:
                    continue
                prefix = f"{shard.name}/{folder.name}/"
                with reading(database) as connection:  # by the study: for the keys of files there is no index
                    query = sa.select(instance.c.storage_key).where(instance.c.study_key == folder.name)
                    known = set(connection.execute(query).scalars())
                for entry in os.scandir(folder):
                    at = entry.stat().st_mtime
                    if f"{prefix}{entry.name}" not in known and abs(at - newest) <= WINDOW_SECONDS:
                        found.append((at, Path(entry.path)))
    yield from (path for _, path in sorted(found))


def _adopt(database: sa.Engine, root: Path, path: Path, record: Record) -> bool:
    """Write the row of one file, if all of it is there."""
    whole = read_instance(path)
    if path.suffix != ".dcm" or name_of(whole.digest) != path.stem.partition("-")[2]:
        return False  # cut off in the middle: it was never acknowledged
    key = path.relative_to(root).as_posix()
    if study_key(whole.study_instance_uid) != path.parent.name:
        return False
    stat = path.stat()
    with database.begin() as connection:
        if is_referred_to(connection, path.parent.name, key):
            return False  # another process (what an archive sends is taken there) was about to write it
        kept = record(connection, _as_received(whole, path, key), size=stat.st_size, received_utc=stat.st_mtime)
    if not kept:
        path.unlink()
    return kept


def _as_received(whole: Instance, path: Path, key: str) -> Instance:
    meta = read_file_meta_info(path)
    calling, called = (str(meta.get(name, "")) for name in ("SourceApplicationEntityTitle", "ReceivingApplicationEntityTitle"))
    return replace(whole, path=key, calling_ae=calling, called_ae=called)
