"""Opening the database. SQLite and PostgreSQL differ here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from dicom_node.core.errors import StoreError
from dicom_node.store import tables

_READING = "dicom_node_reading"


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
    """Return an engine on a database that has our tables, made where missing.

    Raises
    ------
    StoreError
        The database was made by a node with another schema.
    """
    engine = make_engine(url)
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        version = connection.execute(sa.select(tables.schema.c.version)).scalar()
        if version is None:
            connection.execute(sa.insert(tables.schema).values(version=tables.SCHEMA_VERSION))
        elif version != tables.SCHEMA_VERSION:
            raise StoreError(
                f"the database has schema {version}, this node needs {tables.SCHEMA_VERSION}: "
                "install the node version that made it, or start with an empty home"
            )
    return engine


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
