"""Who said no: the rows, and the file that brings many."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.core.errors import UsageError
from dicom_node.home import Home
from dicom_node.store.connect import default_url, open_database
from dicom_node.store.tables import opt_out
from dicom_node.studies import opt_outs


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path)


@pytest.fixture
def database(home: Home) -> sa.Engine:
    """Its rows."""
    return open_database(default_url(home.path))


def test_scopes_are_kept_apart_and_twice_is_once(database: sa.Engine, home: Home) -> None:
    with database.begin() as connection:
        assert opt_outs.add(connection, home, "P-1", scope="learning") == 1
        assert opt_outs.add(connection, home, "P-1", scope="learning") == 0
        assert opt_outs.opted_out(connection, home, ["P-1"], opt_outs.LEARNING)
        assert not opt_outs.opted_out(connection, home, ["P-1"], opt_outs.ANALYSIS)
        assert opt_outs.add(connection, home, "P-1", scope="both") == 1
        assert opt_outs.opted_out(connection, home, ["P-1"], opt_outs.ANALYSIS)
        assert opt_outs.remove(connection, home, "P-1", scope="analysis") == 1
        assert not opt_outs.opted_out(connection, home, ["P-1"], opt_outs.ANALYSIS)
        assert opt_outs.opted_out(connection, home, ["other", "P-1"], opt_outs.LEARNING)
        assert not opt_outs.opted_out(connection, home, ["other", ""], opt_outs.LEARNING)


def test_the_number_is_compared_as_people_read_it_and_not_kept(database: sa.Engine, home: Home) -> None:
    with database.begin() as connection:
        opt_outs.add(connection, home, " Ab 1|2 ", issuer="Hospital", scope="both", source="http")
        assert opt_outs.opted_out(connection, home, ["ab 1|2"], opt_outs.ANALYSIS)
        rows = [tuple(row) for row in connection.execute(sa.select(opt_out))]
    assert "1|2" not in str(rows)
    assert "hospital" not in str(rows).lower()


def test_nobody_cannot_opt_out(database: sa.Engine, home: Home) -> None:
    with database.begin() as connection, pytest.raises(UsageError, match="Patient ID is missing"):
        opt_outs.add(connection, home, "  ")
    with database.begin() as connection, pytest.raises(UsageError, match="analysis, learning or both"):
        opt_outs.add(connection, home, "P", scope="research")


def test_a_file_is_read_with_columns_in_any_order() -> None:
    lines = ["Scope,patient_id,issuer\n", "learning, P1 ,\n", "\n", ',"P,2",H\n']
    assert opt_outs.read_csv(lines) == [("P1", "", "learning"), ("P,2", "H", "both")]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "line 1: the columns must be patient_id,issuer,scope"),
        (["patient_id;issuer;scope\n"], "line 1: .*separated by commas"),
        (["patient_id,issuer,scope\n", "P1,H,both\n", "SECRET,H\n"], "line 3: 2 values .*leave issuer and scope empty"),
        (["patient_id,issuer,scope\n", "SECRET,H,all\n"], "line 2: the scope .*write analysis, learning or both"),
        (["patient_id,issuer,scope\n", " ,SECRET,both\n"], "line 2: the Patient ID is missing"),
        (["patient_id,issuer,scope\n", '"SECRET,H,both\n'], "line 2: a quotation mark is open"),
    ],
)
def test_a_wrong_line_is_named_with_its_cure_and_not_quoted(lines: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        opt_outs.read_csv(lines)
    assert "SECRET" not in str(error.value)
