"""What was said cannot be changed unseen, and not at all as long as the database's own guards stand."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from dicom_node.core.feedback import Region, Statement, Verdict
from dicom_node.feedback import chain, witness
from dicom_node.store import tables
from tests.factories.answer_log import ACCEPT, REJECT, AnswerLog, tamper

_COLUMNS = [column.name for column in tables.verdict.columns]


def _five(answers: AnswerLog) -> AnswerLog:
    run_key = answers.result()
    for number in range(5):
        region = Region("1.2.3", ((1.0, 2.5), (30.0, 40.0)))
        answers.say(run_key, (ACCEPT, REJECT)[number % 2], comment="a comment", regions=(region,), seconds_spent=4.25)
    return answers


@pytest.fixture
def five(answers: AnswerLog) -> AnswerLog:
    """A log of five rows, with what belongs to them."""
    return _five(answers)


@pytest.fixture(scope="module")
def shared_five(tmp_path_factory: pytest.TempPathFactory) -> AnswerLog:
    """The same for tests that leave it as it was."""
    return _five(AnswerLog(tmp_path_factory.mktemp("log")))


def problems(log: AnswerLog) -> tuple[str, ...]:
    with log.database.connect() as connection:
        return chain.verify(connection).problems


def test_a_log_that_nobody_touched_holds(five: AnswerLog) -> None:
    with five.database.connect() as connection:
        verified = chain.verify(connection)
    assert (verified.rows, verified.problems) == (5, ())
    assert verified.head == five.rows()[-1].row_hash
    assert [row.number for row in five.rows()] == [1, 2, 3, 4, 5]
    assert five.rows()[0].previous_hash == chain.FIRST


def problems_after(log: AnswerLog, statement: str, **values: object) -> tuple[str, ...]:
    """Return what is found after a change, and undo the change."""
    with log.database.connect() as connection, connection.begin() as transaction:
        tamper(connection, statement, **values)
        found = chain.verify(connection).problems
        transaction.rollback()
    return found


@pytest.mark.parametrize("column", _COLUMNS)
def test_a_change_of_any_column_of_a_row_is_found(shared_five: AnswerLog, column: str) -> None:
    assert problems(shared_five) == ()
    kind = tables.verdict.c[column].type
    new: object = "other"
    if isinstance(kind, sa.Boolean):
        new = not shared_five.rows()[2]._mapping[column]
    elif isinstance(kind, (sa.Integer, sa.Float)):
        new = 77
    found = " ".join(problems_after(shared_five, f"UPDATE verdict SET {column} = :new WHERE number = 3", new=new))
    assert "row 3" in found or "row 77" in found


@pytest.mark.parametrize("column", ["label_after", "supersedes", "reference_value"])
def test_nothing_said_is_not_the_same_as_a_blank(shared_five: AnswerLog, column: str) -> None:
    assert problems_after(shared_five, f"UPDATE verdict SET {column} = ' ' WHERE number = 3") == ("row 3 was changed",)


def test_a_row_left_out_is_found(five: AnswerLog) -> None:
    five.tampered("DELETE FROM verdict WHERE number = 3")
    assert "row 3 is missing" in problems(five)
    five.tampered("DELETE FROM verdict WHERE number = 2")
    assert "rows 2 to 3 are missing" in problems(five)


def test_a_row_changed_with_a_hash_that_fits_is_found_by_the_next_one(five: AnswerLog) -> None:
    row = dict(five.rows()[2]._mapping) | {"verdict": "rejected"}
    five.tampered("UPDATE verdict SET verdict = 'rejected', row_hash = :hash WHERE number = 3", hash=chain.row_hash(row))
    assert problems(five) == ("row 4 does not follow from the row before it",)


def test_two_rows_exchanged_are_found(five: AnswerLog) -> None:
    five.tampered("UPDATE verdict SET number = 9 WHERE number = 3")
    five.tampered("UPDATE verdict SET number = 3 WHERE number = 4")
    five.tampered("UPDATE verdict SET number = 4 WHERE number = 9")
    assert {"row 3 was changed", "row 4 was changed"} <= set(problems(five))


def test_a_missing_end_is_found_by_the_head_that_was_written_down(five: AnswerLog) -> None:
    assert witness.keep_head(five.database, five.home)
    five.tampered("DELETE FROM verdict WHERE number = 5")
    five.tampered("DELETE FROM verdict_private WHERE feedback_id NOT IN (SELECT feedback_id FROM verdict)")
    assert problems(five) == (), "the chain alone cannot know"
    with five.database.connect() as connection:
        assert "row 5 was there and is missing" in witness.problem_with_kept(connection, five.home)
    assert not witness.keep_head(five.database, five.home), "the alarm is not silenced by the next look"
    kept = witness.kept_head(five.home)
    assert kept is not None
    assert kept.number == 5


def test_a_chain_written_anew_is_found_by_the_head(five: AnswerLog) -> None:
    assert witness.keep_head(five.database, five.home)
    rows = [dict(row._mapping) for row in five.rows()]
    five.tampered("DELETE FROM verdict")
    previous = chain.FIRST
    with five.database.begin() as connection:
        for row in rows:
            row |= {"verdict": "accepted", "previous_hash": previous}
            row["row_hash"] = previous = chain.row_hash(row)
            connection.execute(sa.insert(tables.verdict).values(**row))
    assert problems(five) == ()
    with five.database.connect() as connection:
        assert "row 5 is another one than was there" in witness.problem_with_kept(connection, five.home)


def test_the_head_moves_on_with_the_log(five: AnswerLog) -> None:
    assert witness.kept_head(five.home) is None
    assert witness.keep_head(five.database, five.home)
    five.say("rn_a_cxr_tb_1", ACCEPT)
    assert witness.keep_head(five.database, five.home)
    kept = witness.kept_head(five.home)
    assert kept is not None
    assert kept == (6, five.rows()[-1].row_hash)
    (five.home.path / "verdicts.head").write_text("{}")
    assert not witness.keep_head(five.database, five.home)


def test_what_belongs_to_a_row_can_be_erased_and_not_changed(five: AnswerLog) -> None:
    third = five.rows()[2].feedback_id
    with five.database.begin() as connection:
        private = connection.execute(sa.select(tables.verdict_private).where(tables.verdict_private.c.feedback_id == third)).one()
        changed = private.content | {"comment": "another comment"}
        connection.execute(
            sa.update(tables.verdict_private).where(tables.verdict_private.c.feedback_id == third).values(content=changed)
        )
    assert problems(five) == ("row 3: what belongs to it in verdict_private was changed",)
    with five.database.begin() as connection:
        connection.execute(sa.delete(tables.verdict_private).where(tables.verdict_private.c.feedback_id == third))
    assert problems(five) == ()
    with five.database.begin() as connection:
        values = {"feedback_id": "put in", "study_key": "st_a", "salt": "", "content": {}}
        connection.execute(sa.insert(tables.verdict_private).values(**values))
    assert problems(five) == ("verdict_private put in belongs to no row",)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE verdict SET verdict = 'accepted'",
        "DELETE FROM verdict WHERE number = 5",
        "DELETE FROM verdict",
        "INSERT OR REPLACE INTO verdict SELECT * FROM verdict WHERE number = 5",
    ],
)
def test_the_embedded_database_refuses_to_change_rows(five: AnswerLog, statement: str) -> None:
    before = five.rows()
    with pytest.raises(sa.exc.IntegrityError, match="never changed or deleted"), five.database.begin() as connection:
        connection.execute(sa.text(statement))
    assert five.rows() == before


def test_a_guard_that_was_taken_away_is_missed(five: AnswerLog) -> None:
    with five.database.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER verdict_no_delete")
    assert problems(five) == ("trigger verdict_no_delete is missing: the database would let rows be changed",)


def test_a_chain_of_ten_thousand_rows_is_checked_in_seconds(five: AnswerLog) -> None:
    template = dict(five.rows()[-1]._mapping)
    rows, previous = [], five.rows()[-1]
    previous_hash = previous.row_hash
    for number in range(6, 10_001):
        row = template | {"number": number, "feedback_id": f"id {number}", "source": f"source {number}"}
        row["previous_hash"] = previous_hash
        row["row_hash"] = previous_hash = chain.row_hash(row)
        rows.append(row)
    with five.database.begin() as connection:
        connection.execute(sa.insert(tables.verdict), rows)
        connection.execute(
            sa.insert(tables.verdict_private),
            [{"feedback_id": row["feedback_id"], "study_key": "st_a", "salt": "", "content": {}} for row in rows[:1]],
        )
    started = time.monotonic()
    with five.database.connect() as connection:
        verified = chain.verify(connection)
    assert verified.rows == 10_000
    assert verified.problems == ("row 6: what belongs to it in verdict_private was changed",)
    assert time.monotonic() - started < 10


def test_what_a_label_says_is_in_the_hash(answers: AnswerLog) -> None:
    answers.say(answers.result(), Statement(Verdict.AMENDED, "abnormal", label_after="absent", assessment=0.25))
    answers.tampered("UPDATE verdict SET assessment = 0.5")
    assert problems(answers) == ("row 1 was changed",)
