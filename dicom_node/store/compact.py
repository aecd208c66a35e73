"""Making what was deleted unreadable: a database keeps the bytes of deleted rows until their place is used again.

SQLite: the file is written anew and the write-ahead log emptied. PostgreSQL: every table is written anew, statistics too. What lies
outside of these files (PostgreSQL's write-ahead log and its archive, backups, blocks that the disk has freed) is not reached from
here: docs/how-to/erase-and-opt-out.md says what to do about it.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

_LOCK_SECONDS = 60
_TRIES = 5


def compact(database: sa.Engine) -> list[str]:
    """Write the database anew; return what could not be, one sentence each. Others wait meanwhile, nobody loses anything."""
    if database.dialect.name == "sqlite":
        path = database.url.database
        return _compact_sqlite(Path(path)) if path and path != ":memory:" else []
    return _compact_postgresql(database)


def drop_copies(database: sa.Engine) -> list[str]:
    """Remove the copies that were put beside an embedded database before it was changed; return their names."""
    path = database.url.database
    if database.dialect.name != "sqlite" or not path or path == ":memory:":
        return []
    copies = sorted(Path(path).parent.glob(f"{Path(path).name}.schema-*"))
    for copy in copies:
        copy.unlink(missing_ok=True)
    return [copy.name for copy in copies]


def _compact_sqlite(path: Path) -> list[str]:
    with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("PRAGMA temp_store=MEMORY")  # the new file is not built in a folder for everybody
            connection.execute("VACUUM")
            for _ in range(_TRIES):  # a reader of a moment ago keeps the log from being emptied
                if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                    return []
                time.sleep(1)
        except sqlite3.OperationalError as error:
            return [f"The database could not be written anew ({error}); run the command again when the node is quiet."]
    return ["The database's log could not be emptied, somebody reads for long; run the command again when the node is quiet."]


def _compact_postgresql(database: sa.Engine) -> list[str]:
    problems = []
    quote = database.dialect.identifier_preparer.quote
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
        for schema in (None, "dbos"):
            for name in sa.inspect(connection).get_table_names(schema=schema):
                table = f"{quote(schema)}.{quote(name)}" if schema else quote(name)
                try:
                    connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table}")
                except sa.exc.DBAPIError:
                    problems.append(f"Table {table} could not be written anew (in use?); run: VACUUM (FULL, ANALYZE) {table}")
    return problems
