"""From rows of the log to what may become a label, in an embedded database without images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.core.feedback import Statement, Verdict
from dicom_node.learning import step
from tests.factories.answer_log import ACCEPT, REJECT, WITHDRAW, AnswerLog


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[AnswerLog]:
    made = AnswerLog(tmp_path)
    yield made
    made.database.dispose()


def labels(answers: AnswerLog) -> dict[str, float | None]:
    with answers.database.connect() as connection:
        return {one.finding: one.label for one in step.labels(connection)[0]}


def test_who_withdraws_the_whole_withdraws_what_they_said_of_what_was_not_assessed(answers: AnswerLog) -> None:
    """The AI gave no probability of pneumonia, the reader saw one: a label, until the reader takes everything back."""
    run_key = answers.result()
    answers.say(run_key, Statement(Verdict.AMENDED, "pneumonia", label_after="present"), Statement(Verdict.REJECTED, "abnormal"))
    assert labels(answers) == {"pneumonia": 1.0, "abnormal": 0.0}
    answers.say(run_key, WITHDRAW)
    assert labels(answers) == {}


def test_who_accepts_a_finding_and_then_the_whole_has_not_unsaid_the_finding(answers: AnswerLog) -> None:
    """The whole of several findings says nothing of each; but whoever rejects the whole leaves no finding that is sure."""
    run_key = answers.result()
    answers.say(run_key, Statement(Verdict.ACCEPTED, "abnormal"))
    answers.say(run_key, ACCEPT)
    assert labels(answers) == {"abnormal": 1.0}
    answers.say(run_key, REJECT)
    assert labels(answers) == {}
