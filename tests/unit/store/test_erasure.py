"""No table is forgotten: each is emptied of what is erased, or stands here with the reason why it is not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.store import erasure, tables
from dicom_node.store.connect import default_url, open_database

#: Tables that name neither study nor run: what they hold of a person, and who takes care of it.
ELSEWHERE = {
    "patient": "orders.forget_person",
    "imaging_order": "orders.forget_person, forget_order",
    "lab_result": "orders.forget_person",
    "commitment": "erasure, object by object",
    "message": "nobody: a sender's number and a hash",
    "refused_object": "nobody: a status",
    "association": "nobody: AE titles and addresses",
    "lease": "nobody",
    "schema_version": "nobody",
    "opt_out": "a keyed hash, and a wish that must outlive the person's rows",
    "web_session": "staff",
    "answer_channel": "AE titles",
    "answer_poll": "names of destinations",
}
#: Tables with a study or run whose rows are not simply deleted: what is left of them.
SHELLS = {
    "study": "its key",
    "run": "its key and its place in the order of results",
    "verdict": "the log: keys and hashes",
    "instance": "where its file lies, until that is gone",
    "answer_object": "where its file lies, until that is gone",
}


def test_every_table_is_emptied_or_has_a_reason() -> None:
    """A new table with a study or a run is erased without a word; any other needs one here."""
    named = {t.name for t in tables.metadata.sorted_tables if "study_key" in t.c or "run_key" in t.c}
    assert {t.name for t in tables.metadata.sorted_tables} - named == set(ELSEWHERE)
    assert set(SHELLS) == erasure._KEPT


#: Of the shells, the columns that are left as they were. None of them names a person.
LEFT = {
    *(("run", name) for name in ("pipeline", "rule")),
    *(("instance", name) for name in ("storage_key", "calling_ae", "called_ae")),
    *(("answer_object", name) for name in ("storage_key", "calling_ae", "called_ae", "door")),
}


def test_of_a_study_nothing_is_left_but_the_shells(tmp_path: Path) -> None:
    """A row in every table, a marker in every column: erased, it stands in no other column; another study's rows are as before."""
    database = open_database(default_url(tmp_path))
    with database.begin() as connection:
        for name in ("mine", "other"):
            for table in tables.metadata.sorted_tables:
                if table.name not in ELSEWHERE:
                    connection.execute(sa.insert(table).values(**_row(table, name)))
        before = _columns_with(connection, "MARKER other")
        assert {table for table, _ in _columns_with(connection, "MARKER mine")} >= set(SHELLS) | {
            "story",
            "verdict_private",
            "task",
        }
        erasure.erase_study(connection, "st_mine", time.time())
        found = {one for one in _columns_with(connection, "MARKER mine") if one[0] != "verdict"}
        assert found == LEFT
        assert _columns_with(connection, "MARKER other") == before
        assert [one[2] for one in erasure.marked_files(connection)] == ["MARKER mine", "MARKER mine"]
        erasure.forget_files(connection, erasure.marked_files(connection))
        assert {one for one in _columns_with(connection, "MARKER mine") if one[0] != "verdict"} == {
            one for one in LEFT if one[0] == "run"
        }


def _row(table: sa.Table, name: str) -> dict[str, Any]:
    """Return a row of a table with the marker wherever text can stand."""
    keys = {"study_key": f"st_{name}", "run_key": f"rn_{name}", "artifact_id": f"ar_{name}", "legal_hold": False}
    row: dict[str, Any] = {}
    for column in table.c:
        if column.name in keys:
            row[column.name] = keys[column.name]
        elif isinstance(column.type, sa.JSON):
            row[column.name] = {"key": f"MARKER {name}"} if table.name != "run" else {"read": [f"MARKER {name}"]}
        elif isinstance(column.type, sa.Boolean):
            row[column.name] = False
        elif isinstance(column.type, sa.String):
            row[column.name] = f"MARKER {name}"
        else:
            row[column.name] = 1 if name == "mine" else 2
    return row


def _columns_with(connection: sa.Connection, text: str) -> set[tuple[str, str]]:
    """Return (table, column) of every value that holds the text."""
    return {
        (table.name, column)
        for table in tables.metadata.sorted_tables
        for row in connection.execute(sa.select(table)).mappings()
        for column, value in row.items()
        if text in str(value)
    }
