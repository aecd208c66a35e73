"""What counts: the latest strong answer; a weak one never instead of a strong one; silence never."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from dicom_node.core.feedback import Channel, Context, ReaderClaim, Statement, Strength, Verdict
from dicom_node.feedback import standing
from dicom_node.feedback.standing import Standing
from tests.factories.answer_log import ACCEPT, DEFER, KOCH, LIND, NOBODY, RAO, REJECT, WITHDRAW, AnswerLog

_AMEND = Statement(Verdict.AMENDED, label_after="absent")


def now(answers: AnswerLog, run_key: str) -> dict[str, Standing]:
    with answers.database.connect() as connection:
        return standing.current(connection, run_key)


#: The withdrawal at the end is of somebody who has not answered, or for whom nobody vouches.
TAKES_BACK_NOTHING = (
    [(RAO, ACCEPT), (LIND, WITHDRAW)],
    [(RAO, ACCEPT), (NOBODY, WITHDRAW)],
    [(RAO, ACCEPT), (ReaderClaim("login", "rao"), WITHDRAW)],
    [(RAO, WITHDRAW)],
)


@pytest.mark.parametrize(
    ("said", "verdict", "strong", "conflict"),
    [
        ([(RAO, ACCEPT), (RAO, REJECT), (RAO, ACCEPT)], "accepted", True, False),
        ([(RAO, ACCEPT), (LIND, REJECT)], "rejected", True, True),
        ([(RAO, ACCEPT), (LIND, REJECT), (RAO, REJECT)], "rejected", True, False),
        ([(RAO, ACCEPT), (LIND, ACCEPT)], "accepted", True, False),
        ([(RAO, ACCEPT), (LIND, _AMEND)], "amended", True, True),
        ([(RAO, _AMEND), (LIND, Statement(Verdict.AMENDED, label_after="present"))], "amended", True, True),
        ([(RAO, _AMEND), (LIND, _AMEND)], "amended", True, False),
        ([(RAO, ACCEPT), (NOBODY, REJECT), (KOCH, REJECT)], "accepted", True, False),
        ([(NOBODY, REJECT), (KOCH, ACCEPT)], "accepted", False, False),
        ([(RAO, ACCEPT), (LIND, REJECT), (LIND, WITHDRAW)], "accepted", True, False),
        ([(NOBODY, REJECT), (RAO, ACCEPT), (RAO, WITHDRAW)], "rejected", False, False),
        ([(RAO, ACCEPT), (LIND, WITHDRAW)], "accepted", True, False),
        ([(RAO, ACCEPT), (NOBODY, WITHDRAW)], "accepted", True, False),
        ([(RAO, ACCEPT), (ReaderClaim("login", "rao"), WITHDRAW)], "accepted", True, False),  # nobody vouches for the second
        ([(RAO, ACCEPT), (RAO, DEFER)], "accepted", True, False),
        ([(RAO, ACCEPT), (RAO, WITHDRAW)], "", True, False),
        ([(RAO, WITHDRAW)], "", True, False),
        ([(RAO, DEFER)], "", True, False),
    ],
)
def test_what_counts_of_a_whole_result(
    answers: AnswerLog, said: list[tuple[ReaderClaim, Statement]], verdict: str, strong: bool, conflict: bool
) -> None:
    run_key = answers.result()
    empty = int(said in TAKES_BACK_NOTHING)
    states = [answers.say(run_key, statement, reader=reader).state for reader, statement in said]
    assert [state for state in states if state != "read"] == ["nothing"] * empty
    assert len(answers.rows()) == len(said) - empty, "every answer is kept; who withdraws what was not theirs, answers nothing"
    found = now(answers, run_key)
    if not verdict:
        assert found == {}
        return
    one = found[""]
    assert (one.verdict.value, one.strength is Strength.STRONG, one.conflict) == (verdict, strong, conflict)


def test_findings_are_answered_apart(answers: AnswerLog) -> None:
    run_key = answers.result()
    answers.say(run_key, Statement(Verdict.REJECTED, "abnormal"), Statement(Verdict.ACCEPTED, "tuberculosis"))
    answers.say(run_key, Statement(Verdict.WITHDRAWN, "abnormal"))
    assert {key: one.verdict.value for key, one in now(answers, run_key).items()} == {"tuberculosis": "accepted"}
    answers.say(run_key, WITHDRAW)  # all that this reader said
    assert now(answers, run_key) == {}


_ABSENT = Statement(Verdict.AMENDED, "abnormal", label_after="absent")
_NO_TB = Statement(Verdict.ACCEPTED, "tuberculosis", label_after="absent")
_RAO_AT_A_WORKSTATION = ReaderClaim("login", "rao")  # nobody vouches for her


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ([(RAO, ACCEPT), (RAO, _ABSENT)], {"abnormal": "amended"}),
        ([(RAO, REJECT), (RAO, _ABSENT)], {"abnormal": "amended"}),
        ([(RAO, _ABSENT), (RAO, ACCEPT)], {"": "accepted"}),
        ([(RAO, _ABSENT), (RAO, REJECT), (RAO, _ABSENT)], {"abnormal": "amended"}),
        ([(RAO, ACCEPT), (RAO, _NO_TB)], {"": "accepted", "tuberculosis": "accepted"}),  # no contradiction
        ([(RAO, ACCEPT), (LIND, _ABSENT)], {"": "accepted", "abnormal": "amended"}),  # two people
        ([(RAO, ACCEPT), (_RAO_AT_A_WORKSTATION, _ABSENT)], {"": "accepted", "abnormal": "amended"}),  # weak unsays nothing strong
        ([(_RAO_AT_A_WORKSTATION, ACCEPT), (RAO, _ABSENT)], {"abnormal": "amended"}),
        ([(NOBODY, ACCEPT), (NOBODY, _ABSENT)], {"": "accepted", "abnormal": "amended"}),  # nobody knows whether it is one person
        ([(RAO, ACCEPT), (RAO, _ABSENT), (RAO, WITHDRAW)], {}),
    ],
)
def test_who_accepts_the_whole_and_then_amends_a_part_has_changed_their_mind(
    answers: AnswerLog, said: list[tuple[ReaderClaim, Statement]], counts: dict[str, str]
) -> None:
    """And the other way round: the record never says both of one person."""
    run_key = answers.result()
    for minute, (reader, statement) in enumerate(said):
        at = dt.datetime(2026, 11, 20, 9, minute, tzinfo=dt.UTC)
        assert answers.say(run_key, statement, reader=reader, at=at).state == "read"
    assert {key: one.verdict.value for key, one in now(answers, run_key).items()} == counts
    assert len(answers.rows()) == len(said), "what counts no more is kept"


def test_what_one_message_says_of_the_whole_and_of_a_part_stands_together(answers: AnswerLog) -> None:
    run_key = answers.result()
    answers.say(run_key, Statement(Verdict.AMENDED), Statement(Verdict.REJECTED, "abnormal"))
    assert {key: one.verdict.value for key, one in now(answers, run_key).items()} == {"": "amended", "abnormal": "rejected"}


def test_who_settles_a_difference_ends_it(answers: AnswerLog) -> None:
    run_key = answers.result()
    answers.say(run_key, ACCEPT)
    answers.say(run_key, REJECT, reader=LIND)
    assert now(answers, run_key)[""].conflict
    answers.say(run_key, REJECT, reader=LIND, context=Context.ADJUDICATION)
    assert not now(answers, run_key)[""].conflict


def state(answers: AnswerLog, run_key: str) -> Any:
    with answers.database.connect() as connection:
        return standing.study_state(connection, run_key), standing.seen(connection, run_key)


def test_not_opened_silent_and_answered_are_kept_apart(answers: AnswerLog) -> None:
    run_key = answers.result()
    assert state(answers, run_key) == ("not_opened", "not_opened")
    with answers.database.begin() as connection:
        standing.opened(connection, run_key, "st_a", "rd_x", "web")
    assert state(answers, run_key) == ("opened_silent", "opened")
    answers.say(run_key, DEFER)
    assert state(answers, run_key) == ("opened_silent", "opened")
    answers.say(run_key, ACCEPT)
    assert state(answers, run_key) == ("answered", "opened")
    answers.say(run_key, WITHDRAW)
    assert state(answers, run_key) == ("withdrawn", "opened")
    taken_back = answers.result("b", state="withdrawn")
    assert state(answers, taken_back) == ("withdrawn", "not_opened")


def test_other_rooms_see_every_answer(answers: AnswerLog) -> None:
    run_key = answers.result()
    answers.say(run_key, ACCEPT, channel=Channel.HL7)
    answers.say(run_key, REJECT)
    with answers.database.connect() as connection:
        first, second = standing.answers(connection, run_key)
    assert (first.verdict, first.channel, first.strength) == (Verdict.ACCEPTED, Channel.HL7, Strength.STRONG)
    assert (second.supersedes, second.label_before) == (first.feedback_id, "positive")
