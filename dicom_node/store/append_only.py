"""A table that the database itself lets nobody change: rows are added, never altered or removed.

Who may change the database's structure can take the triggers away. That is why ``missing`` looks whether they are there, and why
the rows are chained by hashes as well.
"""

from __future__ import annotations

import sqlalchemy as sa

_REFUSAL = "rows of this table are never changed or deleted"
# REPLACE deletes rows without asking the triggers of DELETE, so on SQLite a row that collides is refused before it is put in
_SQLITE = {
    "no_update": "BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, '{refusal}'); END",
    "no_delete": "BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, '{refusal}'); END",
    "no_replace": "BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {collision}) "
    "BEGIN SELECT RAISE(ABORT, '{refusal}'); END",
}
_POSTGRESQL = {
    "no_update": "BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_is_append_only()",
    "no_delete": "BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_is_append_only()",
    "no_truncate": "BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()",
}
_FUNCTION = (
    "CREATE OR REPLACE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION '{refusal}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
)


def guard(table: sa.Table, unique: tuple[str, ...]) -> None:
    """Make the triggers whenever the table is made, on SQLite and PostgreSQL.

    Parameters
    ----------
    unique
        Columns of which no value may come twice.
    """
    words = {"table": table.name, "refusal": _REFUSAL, "collision": " OR ".join(f"{name} = NEW.{name}" for name in unique)}
    statements = [("postgresql", _FUNCTION.format(**words))]
    for dialect, triggers in (("sqlite", _SQLITE), ("postgresql", _POSTGRESQL)):
        statements += [(dialect, f"CREATE TRIGGER {table.name}_{name} {how.format(**words)}") for name, how in triggers.items()]
    for dialect, statement in statements:
        sa.event.listen(table, "after_create", sa.DDL(statement).execute_if(dialect=dialect))  # type: ignore[no-untyped-call]


def missing(connection: sa.Connection, table: sa.Table) -> list[str]:
    """Return the names of the triggers that are not there, or are switched off."""
    if connection.dialect.name == "postgresql":
        query = "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass(:table) AND tgenabled IN ('O', 'A')"
        wanted = _POSTGRESQL
    else:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table"
        wanted = _SQLITE
    there = set(connection.execute(sa.text(query), {"table": table.name}).scalars())
    return [name for name in (f"{table.name}_{trigger}" for trigger in wanted) if name not in there]
