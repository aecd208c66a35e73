"""What was deleted is in no byte of the database's files."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.store import tables
from dicom_node.store.compact import compact, drop_copies
from dicom_node.store.connect import default_url, open_database, reading
from dicom_node.store.story import tell

MARKER = "ZZMARKER"


def holding(folder: Path) -> list[str]:
    """Return the files that hold the marker."""
    return sorted(path.name for path in folder.iterdir() if MARKER.encode() in path.read_bytes())


def test_deleted_rows_are_unreadable_and_the_others_there(tmp_path: Path) -> None:
    """A database keeps deleted bytes; after compaction neither the file nor its log has them."""
    database = open_database(default_url(tmp_path))
    with database.begin() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        for number in range(200):
            tell(connection, f"st_{number % 2}", "studies", "e", f"{MARKER if number % 2 else 'kept'} {number}")
    with database.begin() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.execute(sa.delete(tables.story).where(tables.story.c.study_key == "st_1"))
    assert holding(tmp_path) != [], "there is nothing to clean"
    assert compact(database) == []
    assert holding(tmp_path) == []
    with reading(database) as connection:
        assert len(connection.execute(sa.select(tables.story)).all()) == 100


def test_a_reader_that_stays_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody reads an old state: the log cannot be emptied, and the command says so instead of promising."""
    from dicom_node.store import compact as module

    database = open_database(default_url(tmp_path))
    with database.begin() as connection:
        tell(connection, "st_1", "studies", "e", MARKER)
    monkeypatch.setattr(module, "_TRIES", 1)
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.2)
    with reading(database) as connection:
        connection.execute(sa.select(tables.story)).all()
        assert "run the command again" in compact(database)[0]
    assert compact(database) == []


def test_copies_of_an_earlier_schema_go(tmp_path: Path) -> None:
    database = open_database(default_url(tmp_path))
    for name in ("node.sqlite.schema-1", "node.sqlite.schema-2"):
        (tmp_path / name).write_text(MARKER)
    assert drop_copies(database) == ["node.sqlite.schema-1", "node.sqlite.schema-2"]
    assert holding(tmp_path) == []
