"""The disk below HOME/store: where an object lies, and the clean-up of what a crash left."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from dicom_node.store import tables
from dicom_node.store.connect import reading


def store_folder(home: Path) -> Path:
    """Return the folder of received objects."""
    return home.resolve() / "store"


def object_path(home: Path, storage_key: str) -> Path:
    """Return where an object lies.

    Raises
    ------
    ValueError
        The key leads out of the store: the row is damaged.
    """
    folder = store_folder(home)
    path = (folder / storage_key).resolve()
    if not path.is_relative_to(folder):
        raise ValueError("a storage key leads out of the store")
    return path


class Cleaned(NamedTuple):
    """What the clean-up removed. None of it was ever acknowledged."""

    unfinished: int  # files that were being written
    orphans: int  # whole files whose row was never committed


def clean_store(database: sa.Engine, home: Path, *, older_than_utc: float) -> Cleaned:
    """Remove files that no row names. Called at start, before the port is opened.

    Parameters
    ----------
    older_than_utc
        Younger files are left alone: they may be in the middle of being received. Usually the process' own start.
    """
    unfinished = orphans = 0
    root = store_folder(home)
    if not root.is_dir():
        return Cleaned(0, 0)
    for shard in sorted(path for path in root.iterdir() if path.is_dir()):
        with reading(database) as connection:
            query = sa.select(tables.instance.c.storage_key).where(
                tables.instance.c.storage_key.startswith(f"{shard.name}/", autoescape=True)
            )
            known = set(connection.execute(query).scalars())
        for path in sorted(shard.rglob("*")):
            if not path.is_file() or path.relative_to(root).as_posix() in known or path.stat().st_mtime >= older_than_utc:
                continue
            path.unlink()
            if path.suffix == ".part":
                unfinished += 1
            else:
                orphans += 1
    return Cleaned(unfinished, orphans)
