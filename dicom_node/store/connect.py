"""Opening the database. SQLite and PostgreSQL differ here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from dicom_node.core.errors import StoreError
from dicom_node.store import tables
from dicom_node.store.migrations import migrate

_READING = "dicom_node_reading"
_SCHEMA_LOCK = 6_281_977  # any number that stays the same


def default_url(home: Path) -> str:
    """Return the URL of the embedded database of this home."""
    return f"sqlite:///{home.resolve() / 'node.sqlite'}"


def make_engine(url: str) -> sa.Engine:
    """Return an engine that does not lose a commit at a power cut and counts before it claims.

    SQLite: write-ahead log, ``synchronous=FULL``, the write lock taken at BEGIN (pysqlite alone takes it at the first
    INSERT, so a count before it would be outside the lock). Never put the file on NFS or SMB.
    """
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        reading_only = connection.get_execution_options().get(_READING, False)
        connection.exec_driver_sql("BEGIN DEFERRED" if reading_only else "BEGIN IMMEDIATE")

    return engine


def open_database(url: str) -> sa.Engine:
    """Return an engine on a database that has our tables, made or brought up to date where needed.

    Several processes may do this at once. Before an embedded database is changed, a copy is put beside it.

    Raises
    ------
    StoreError
        The database was made by a newer node, or by one so old that no step leads from it; or this user may not write it.
    """
    engine = make_engine(url)
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if file and Path(file).exists() and not os.access(file, os.W_OK):
        raise StoreError(f"{file} may not be written by this user: give it to the node's user (chown); root may have made it")
    with engine.begin() as connection:
        _one_at_a_time(connection)
        found = _schema_of(connection)
        if found is not None and not 0 < found <= tables.SCHEMA_VERSION:
            raise StoreError(
                f"the database has schema {found}, this node knows up to {tables.SCHEMA_VERSION}: "
                "install the node version that made it, or a newer one"
            )
        if found is not None and found < tables.SCHEMA_VERSION:
            _keep_copy(engine, found)
            migrate(connection, found, tables.SCHEMA_VERSION)
            connection.execute(sa.update(tables.schema).values(version=tables.SCHEMA_VERSION))
        tables.metadata.create_all(connection)
        if found is None:
            connection.execute(sa.insert(tables.schema).values(version=tables.SCHEMA_VERSION))
    return engine


def _one_at_a_time(connection: sa.Connection) -> None:
    """Keep other processes from making tables until the transaction ends; on SQLite BEGIN IMMEDIATE did."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})


def _schema_of(connection: sa.Connection) -> int | None:
    """Return the schema of the tables that are there; ``None`` in an empty database."""
    if not sa.inspect(connection).has_table(tables.schema.name):
        return None
    version: int | None = connection.execute(sa.select(tables.schema.c.version)).scalar()
    return version


def _keep_copy(engine: sa.Engine, found: int) -> None:
    """Copy an embedded database to ``<file>.schema-<found>`` before it is changed; PostgreSQL has its own backups."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or path == ":memory:":
        return
    copy = Path(f"{path}.schema-{found}")
    if copy.exists():
        return
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)  # reads what is committed, although the change has begun


def reading(database: sa.Engine) -> sa.Connection:
    """Return a connection for reading only: on SQLite it takes no write lock, so pages and sweeps never make reception wait."""
    return database.connect().execution_options(**{_READING: True})


def check_database(database: sa.Engine) -> bool:
    """Say whether the database answers."""
    try:
        with reading(database) as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.SQLAlchemyError:
        return False
    return True
