"""What people are asked to do is closed by the answer it waits for, and by no other."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.core.feedback import ReaderClaim, Statement
from dicom_node.feedback.tasks import AMEND, FRESH, close_tasks, open_kinds, open_task
from dicom_node.store import tables
from tests.factories.answer_log import ACCEPT, DEFER, KOCH, LIND, NOBODY, RAO, REJECT, WITHDRAW, AnswerLog


def asked(answers: AnswerLog, kind: str, reader: str = "") -> str:
    with answers.database.begin() as connection:
        return open_task(connection, kind, "rn_a_cxr_tb_1", "st_a", "A reason.", reader=reader)


def tasks(answers: AnswerLog) -> dict[str, Any]:
    with answers.database.connect() as connection:
        return {row.kind: row for row in connection.execute(sa.select(tables.task))}


@pytest.mark.parametrize(
    ("kind", "reader", "said", "closed"),
    [
        (AMEND, RAO, REJECT, True),
        (AMEND, KOCH, REJECT, True),
        (AMEND, NOBODY, ACCEPT, True),
        (AMEND, RAO, DEFER, False),
        (AMEND, RAO, WITHDRAW, False),
        ("gray_zone", RAO, ACCEPT, True),
        ("gray_zone", KOCH, ACCEPT, False),
        ("gray_zone", NOBODY, ACCEPT, False),
        *((kind, RAO, ACCEPT, True) for kind in FRESH),
    ],
)
def test_which_answer_closes_which_task(answers: AnswerLog, kind: str, reader: ReaderClaim, said: Statement, closed: bool) -> None:
    run_key = answers.result()
    asked(answers, kind)
    answers.say(run_key, said, reader=reader)
    task = tasks(answers)[kind]
    assert task.closed_by == (answers.rows()[0].feedback_id if closed else "")
    assert (task.closed_utc is not None) is closed


@pytest.mark.parametrize("kind", FRESH)
def test_some_tasks_wait_for_a_reader_who_has_not_answered(answers: AnswerLog, kind: str) -> None:
    run_key = answers.result()
    answers.say(run_key, ACCEPT)
    asked(answers, kind)
    answers.say(run_key, REJECT)
    assert tasks(answers)[kind].closed_utc is None
    assert answers.rows()[-1].context == "after_ai"
    answers.say(run_key, REJECT, reader=LIND)
    assert tasks(answers)[kind].closed_utc is not None
    assert answers.rows()[-1].context == ("after_ai" if kind == "low_consensus" else kind)


def test_a_task_for_one_reader_waits_for_that_one(answers: AnswerLog) -> None:
    run_key = answers.result()
    answers.say(run_key, ACCEPT)
    rao = answers.rows()[0].reader
    asked(answers, "gray_zone", reader=rao)
    with answers.database.connect() as connection:
        assert (open_kinds(connection, run_key, rao), open_kinds(connection, run_key, "rd_other")) == (("gray_zone",), ())
    answers.say(run_key, ACCEPT, reader=LIND)
    assert tasks(answers)["gray_zone"].closed_utc is None
    answers.say(run_key, ACCEPT)
    assert tasks(answers)["gray_zone"].closed_utc is not None


def test_a_list_can_be_drawn_up_again_and_amend_is_asked_again(answers: AnswerLog) -> None:
    run_key = answers.result()
    first = [asked(answers, kind) for kind in (AMEND, "gray_zone")]
    answers.say(run_key, ACCEPT)
    assert [asked(answers, kind) for kind in (AMEND, "gray_zone")] == first
    assert [tasks(answers)[kind].closed_utc is None for kind in (AMEND, "gray_zone")] == [True, False]


def test_what_is_not_needed_any_more_is_closed_with_its_reason(answers: AnswerLog) -> None:
    run_key = answers.result()
    for kind in (AMEND, "gray_zone", "golden_case"):
        asked(answers, kind)
    with answers.database.begin() as connection:
        assert close_tasks(connection, run_key, "the result was withdrawn") == 3
        assert close_tasks(connection, run_key, "the result was withdrawn") == 0
    assert {task.closed_by for task in tasks(answers).values()} == {"the result was withdrawn"}
