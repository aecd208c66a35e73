"""The disk below HOME/store: where an object lies, and the clean-up of what a crash left."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from dicom_node.store import tables
from dicom_node.store.connect import reading


def store_folder(home: Path) -> Path:
    """Return the folder of received objects."""
    return home.resolve() / "store"


def object_path(home: Path, storage_key: str) -> Path:
    """Return where an object lies; raises as ``path_in``."""
    return path_in(store_folder(home), storage_key)


def path_in(folder: Path, storage_key: str) -> Path:
    """Return where an object lies in the ``store_folder``.

    Raises
    ------
    ValueError
        The key leads out of the store: the row is damaged.
    """
    if Path(storage_key).is_absolute() or ".." in storage_key.split("/"):
        raise ValueError("a storage key leads out of the store")
    return folder / storage_key


class Cleaned(NamedTuple):
    """What the clean-up took out of the store."""

    unfinished: int  # files that were being written: removed
    orphans: int  # whole files without a row: moved to HOME/unclaimed


def clean_store(database: sa.Engine, home: Path, *, older_than_utc: float) -> Cleaned:
    """Take files that no row names out of the store. Called at start, beside the open port: what comes now is younger.

    A whole file is moved, not removed: when the database is new, restored from an older copy, or simply the wrong one, it is an
    image that was acknowledged.

    Parameters
    ----------
    older_than_utc
        Younger files are left alone: they may be in the middle of being received. Usually the process' own start.
    """
    unfinished = orphans = 0
    root = store_folder(home)
    if not root.is_dir():
        return Cleaned(0, 0)
    for name, _, files in os.walk(root):
        folder = Path(name)
        if not files:
            continue
        known = _known(database, folder.name)
        for path in (folder / file for file in sorted(files)):
            with suppress(FileNotFoundError):  # deleted meanwhile: retention and erasure go on in another process
                if path.relative_to(root).as_posix() in known or path.stat().st_mtime >= older_than_utc:
                    continue
                if path.suffix == ".part":
                    path.unlink()
                    unfinished += 1
                else:
                    unclaimed = home.resolve() / "unclaimed" / path.relative_to(root)
                    unclaimed.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(unclaimed)
                    orphans += 1
    return Cleaned(unfinished, orphans)


def _known(database: sa.Engine, study_key: str) -> set[str]:
    """Return the keys of a study's files, by the study, whose key its folder has: for keys of files there is no index."""
    with reading(database) as connection:
        columns = [(table.c.storage_key, table.c.study_key) for table in (tables.instance, tables.answer_object)]
        return {key for file, study in columns for key in connection.execute(sa.select(file).where(study == study_key)).scalars()}
