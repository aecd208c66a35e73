"""Statements of which every received object runs some: made into SQL once, then handed to the driver as they are."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import sqlalchemy as sa


class Prepared:
    """A statement with fixed parameters. Values go to the driver as they are: no type of SQLAlchemy converts them.

    The driver's cursor is used: what SQLAlchemy puts around each statement costs ten times as much as SQLite itself.
    """

    def __init__(self, statement: Any, columns: tuple[str, ...] = ()) -> None:
        """Keep a statement.

        Parameters
        ----------
        columns
            Of an INSERT or UPDATE: the columns that are given, each a parameter of its name.
        """
        self._statement = statement
        self._columns = list(columns) or None
        self._made: dict[str, tuple[str, list[str] | None]] = {}
        self._row: Any = None

    def run(self, connection: sa.Connection, values: dict[str, Any]) -> None:
        """Run it in the connection's transaction; ``KeyError`` where a value is missing.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            As of any other statement, without the values.
        """
        self._execute(connection, values).close()

    def first(self, connection: sa.Connection, values: dict[str, Any]) -> Any:
        """Run it and return its first row, with the columns as attributes; ``None`` where there is none. Raises as ``run``."""
        cursor = self._execute(connection, values)
        try:
            found = cursor.fetchone()
            if found is None:
                return None
            if self._row is None:
                self._row = namedtuple("Row", [column[0] for column in cursor.description])  # type: ignore[misc]
            return self._row._make(found)
        finally:
            cursor.close()

    def _execute(self, connection: sa.Connection, values: dict[str, Any]) -> Any:
        dialect = connection.dialect
        made = self._made.get(dialect.name)
        if made is None:
            compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
            made = self._made[dialect.name] = (str(compiled), compiled.positiontup if compiled.positional else None)
        sql, order = made
        if not connection.in_transaction():
            connection.begin()  # as any other statement would
        pooled = connection.connection
        cursor = pooled.cursor()
        try:
            cursor.execute(sql, values if order is None else tuple(values[name] for name in order))
        except dialect.loaded_dbapi.Error as error:
            gone = dialect.is_disconnect(error, pooled.dbapi_connection, cursor)
            cursor.close()  # an open statement keeps the transaction, and thereby the lock, of a connection that is dropped
            raise sa.exc.DBAPIError.instance(
                sql, {}, error, dialect.loaded_dbapi.Error, hide_parameters=True, connection_invalidated=gone, dialect=dialect
            ) from error
        return cursor
