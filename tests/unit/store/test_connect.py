"""The database is ours, of our schema, and durable."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.core.errors import StoreError
from dicom_node.store import tables
from dicom_node.store.connect import check_database, default_url, open_database, reading
from dicom_node.store.story import read_story, tell


def test_sqlite_is_opened_durable(tmp_path: Path) -> None:
    """Write-ahead log, full synchronisation, foreign keys."""
    database = open_database(default_url(tmp_path))
    with database.connect() as connection:
        values = [
            connection.execute(sa.text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert values == ["wal", 2, 1]
    assert check_database(database)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    """A database of another version is refused with what to do."""
    url = default_url(tmp_path)
    database = open_database(url)
    with database.begin() as connection:
        connection.execute(sa.update(tables.schema).values(version=99))
    with pytest.raises(StoreError, match="schema 99"):
        open_database(url)


def test_story_keeps_order(tmp_path: Path) -> None:
    """Lines come back in the order they were told, one study's only."""
    database = open_database(default_url(tmp_path))
    with database.begin() as connection:
        for number in range(3):
            tell(connection, "st_a", "studies", "x", f"line {number}")
        tell(connection, "st_b", "studies", "x", "other")
        assert [line.text for line in read_story(connection, "st_a")] == ["line 0", "line 1", "line 2"]


def test_reading_never_makes_a_writer_wait(tmp_path: Path) -> None:
    """While one connection reads, another commits; and while one writes, another reads what was committed before."""
    database = open_database(default_url(tmp_path))
    with reading(database) as reader:
        assert read_story(reader, "st_a") == []
        with database.begin() as writer:
            tell(writer, "st_a", "studies", "x", "line")
            with reading(database) as other:
                assert read_story(other, "st_a") == []
    with reading(database) as later:
        assert len(read_story(later, "st_a")) == 1
