"""An older node's home is taken over: every row stays, and the tables are those that a new home would have."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from dicom_node.core.errors import StoreError
from dicom_node.store import migrations, tables
from dicom_node.store.connect import open_database

_SCHEMA_1 = (Path(__file__).parent / "schema_1.sql").read_text()
_ROWS = """
INSERT INTO study VALUES ('st_a', '1.2.3', 'routed', '', 10.0, 11.0, NULL, 99.0, 2);
INSERT INTO instance VALUES (1, 'st_a', '1.2.3.1', '1', '1.2.3.0', '1.2', 'h', 9, 'k', '{}', 'current', 'A', 'B', 10.0);
INSERT INTO run VALUES ('rn_a', 'st_a', 'cxr_tb', 'rule', 1, 'analysed', '{}', NULL, 12.0, 13.0, 0);
INSERT INTO artifact VALUES ('ar_a', 'rn_a', 'text_report', 'application/dicom', '1.2.4', '', 0, 'k', 'h');
INSERT INTO artifact VALUES ('ar_b', 'rn_a', 'secondary_capture', 'application/dicom', '1.2.5', '', 0, 'k', 'h');
INSERT INTO delivery VALUES ('dl_a', 'ar_a', 'rn_a', 'st_a', 'pacs', 'done', 1, 14.0, NULL, 15.0, 'Success');
INSERT INTO delivery VALUES ('dl_b', 'ar_b', 'rn_a', 'st_a', 'pacs', 'waiting', 2, 14.0, 16.0, NULL, 'down');
"""


def _old_home(path: Path, rows: str = _ROWS) -> str:
    with sqlite3.connect(path) as connection:
        connection.executescript(_SCHEMA_1 + rows)
    connection.close()
    return f"sqlite:///{path}"


def _differences(engine: sa.Engine) -> list[object]:
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))


def test_there_is_a_step_to_every_schema() -> None:
    assert sorted(migrations.STEPS) == list(range(2, tables.SCHEMA_VERSION + 1))


def test_rows_of_an_old_home_stay_and_its_tables_become_the_new_ones(tmp_path: Path) -> None:
    engine = open_database(_old_home(tmp_path / "node.sqlite"))
    assert _differences(engine) == []
    with engine.connect() as connection:
        assert connection.execute(sa.select(tables.schema.c.version)).scalar() == tables.SCHEMA_VERSION
        study = connection.execute(sa.select(tables.study)).one()
        assert (study.study_key, study.revision, study.legal_hold, study.pixels_deleted_utc) == ("st_a", 2, False, None)
        assert connection.execute(sa.select(tables.instance.c.digest)).scalar() == "sha256:h"
        proofs = {row.delivery_id: row.proof for row in connection.execute(sa.select(tables.delivery))}
        assert proofs == {"dl_a": "answer", "dl_b": ""}
    engine.dispose()


def test_laboratory_values_of_an_older_home_came_by_messages(tmp_path: Path) -> None:
    table = """
CREATE TABLE lab_result (lab_result_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, patient VARCHAR NOT NULL, code VARCHAR NOT NULL,
 value VARCHAR NOT NULL, unit VARCHAR NOT NULL, status VARCHAR NOT NULL, observed_utc FLOAT, received_utc FLOAT NOT NULL);
CREATE INDEX lab_result_patient ON lab_result (patient);
INSERT INTO lab_result VALUES (1, 'p1|', '543-9^LN', 'M. avium', '', 'F', 10.0, 11.0);
"""
    engine = open_database(_old_home(tmp_path / "node.sqlite", rows=_ROWS + table))
    assert _differences(engine) == []
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(tables.lab_result))
    assert (row.value, row.source, row.resource) == ("M. avium", "hl7", "")
    engine.dispose()


def test_a_copy_of_the_old_file_is_kept_and_a_second_start_changes_nothing(tmp_path: Path) -> None:
    url = _old_home(tmp_path / "node.sqlite")
    open_database(url).dispose()
    copy = tmp_path / "node.sqlite.schema-1"
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM delivery").fetchone() == (2,)
    connection.close()
    before = copy.stat().st_mtime_ns
    open_database(url).dispose()
    assert copy.stat().st_mtime_ns == before


def test_a_step_that_fails_leaves_the_old_home_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(operations: object) -> None:
        operations.add_column("study", sa.Column("half", sa.Boolean))  # type: ignore[attr-defined]
        raise OSError("disk")

    monkeypatch.setitem(migrations.STEPS, 2, breaks)
    url = _old_home(tmp_path / "node.sqlite")
    with pytest.raises(OSError, match="disk"):
        open_database(url)
    with sqlite3.connect(tmp_path / "node.sqlite") as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchone() == (1,)
        assert "half" not in {row[1] for row in connection.execute("PRAGMA table_info(study)")}
    connection.close()


def test_the_database_of_a_newer_node_is_refused_with_a_cure(tmp_path: Path) -> None:
    url = _old_home(tmp_path / "node.sqlite", rows="UPDATE schema_version SET version = 99;")
    with pytest.raises(StoreError, match="install the node version that made it"):
        open_database(url)
