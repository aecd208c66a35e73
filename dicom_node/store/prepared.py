"""Statements of which every received object runs some: made into SQL once, then handed to the driver as they are."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


class Prepared:
    """A statement with fixed parameters. Values go to the driver as they are: no type of SQLAlchemy converts them."""

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

    def run(self, connection: sa.Connection, values: dict[str, Any]) -> sa.CursorResult[Any]:
        """Run it in the connection's transaction; ``KeyError`` where a value is missing."""
        dialect = connection.dialect
        made = self._made.get(dialect.name)
        if made is None:
            compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
            made = self._made[dialect.name] = (str(compiled), compiled.positiontup if compiled.positional else None)
        sql, order = made
        return connection.exec_driver_sql(sql, values if order is None else tuple(values[name] for name in order))
