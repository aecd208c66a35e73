"""How SQLite goes about the questions that a piece of code asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event


@contextlib.contextmanager
def plans(database: sa.Engine) -> Iterator[list[str]]:
    """Give a list that fills with the lines of EXPLAIN QUERY PLAN of each SELECT that is made meanwhile."""
    seen: list[str] = []

    def look(_connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith("SELECT"):
            asked = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            seen.extend(row[3] for row in asked.fetchall())

    event.listen(database, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(database, "before_cursor_execute", look)
