"""``dicom-node verdicts`` and ``answers``: what was said, whether it still stands as it was, and what does not count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from dicom_node.cli import main
from dicom_node.core.feedback import Statement, Verdict
from dicom_node.feedback import witness
from dicom_node.feedback.ae_titles import suspension
from dicom_node.store import tables
from dicom_node.web.metrics import render_metrics
from tests.factories.answer_log import ACCEPT, LIND, NOBODY, REJECT, AnswerLog


@pytest.fixture
def answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AnswerLog:
    """Study a rejected by one radiologist and accepted by another, study b accepted by nobody knows whom."""
    (tmp_path / "node.yaml").write_text(yaml.safe_dump({"site": {"timezone": "UTC"}}))
    made = AnswerLog(tmp_path)
    first, second = made.result("a"), made.result("b")
    made.say(first, REJECT, Statement(Verdict.AMENDED, "abnormal", "absent"), comment="ZZMARKER")
    made.say(first, ACCEPT, reader=LIND)
    made.say(second, ACCEPT, reader=NOBODY)
    capsys.readouterr()
    return made


def said(answers: AnswerLog, capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[str]:
    assert main([words[0], "--home", str(answers.home.path), *words[1:]]) == status
    captured = capsys.readouterr()
    assert "ZZMARKER" not in captured.out + captured.err
    return captured.out.splitlines() or captured.err.splitlines()


@pytest.mark.parametrize(("command", "words"), [("verdicts", "Nobody has answered yet."), ("answers", "Nothing waits")])
def test_an_empty_list_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, words: str) -> None:
    (tmp_path / "node.yaml").write_text(yaml.safe_dump({"site": {"timezone": "UTC"}}))
    AnswerLog(tmp_path).database.dispose()
    assert main([command, "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(words)
    assert main([command, "--home", str(tmp_path), "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_the_log_is_listed_newest_first(answers: AnswerLog, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(answers, capsys, "verdicts")
    assert [line.split()[0] for line in lines] == ["4", "3", "2", "1"]
    assert "accepted   weak   web                unknown  positive" in lines[0]
    assert "abnormal         amended    strong" in lines[2]
    assert lines[2].endswith("positive -> absent")
    assert len(said(answers, capsys, "verdicts", "--limit", "1")) == 1
    (line,) = said(answers, capsys, "verdicts", "--study", "st_b", "--json")
    row = json.loads(line)
    assert set(row) == set(tables.verdict.columns.keys())
    assert (row["number"], row["strength"], row["reader"]) == (4, "weak", "")


def test_what_counts_now(answers: AnswerLog, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in said(answers, capsys, "verdicts", "--current", "--json")]
    assert [(row["study_key"], row["finding"], row["verdict"], row["conflict"], row["state"]) for row in rows] == [
        ("st_b", "", "accepted", False, "answered"),
        ("st_a", "", "accepted", True, "answered"),
        ("st_a", "abnormal", "amended", False, "answered"),
    ]
    lines = said(answers, capsys, "verdicts", "--current")
    assert lines[1].endswith("readers differ")
    assert "amended    -> absent strong" in lines[2]


def test_verify_says_that_the_log_holds_and_what_to_note_down(answers: AnswerLog, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(answers, capsys, "verdicts", "--verify")
    head = f"4:{answers.rows()[-1].row_hash}"
    assert line == f"The log holds: 4 rows. Its head, to note down: {head}"
    assert said(answers, capsys, "verdicts", "--verify", "--head", head) == [line]
    found = json.loads(said(answers, capsys, "verdicts", "--verify", "--json")[0])
    assert found == {"rows": 4, "head": head, "problems": []}


def test_verify_finds_a_changed_row(answers: AnswerLog, capsys: pytest.CaptureFixture[str]) -> None:
    answers.tampered("UPDATE verdict SET verdict = 'accepted' WHERE number = 2")
    lines = said(answers, capsys, "verdicts", "--verify", status=1)
    assert lines == ["row 2 was changed", "The log does not hold: 1 problem(s) in 4 rows."]
    found = json.loads(said(answers, capsys, "verdicts", "--verify", "--json", status=1)[0])
    assert found["problems"] == ["row 2 was changed"]


def test_verify_finds_that_the_end_is_missing(answers: AnswerLog, capsys: pytest.CaptureFixture[str]) -> None:
    head = f"4:{answers.rows()[-1].row_hash}"
    witness.keep_head(answers.database, answers.home)
    answers.tampered("DELETE FROM verdict WHERE number = 4")
    answers.tampered("DELETE FROM verdict_private WHERE feedback_id NOT IN (SELECT feedback_id FROM verdict)")
    capsys.readouterr()
    assert "row 4 was there and is missing" in said(answers, capsys, "verdicts", "--verify", status=1)[0]
    (answers.home.path / "verdicts.head").unlink()
    said(answers, capsys, "verdicts", "--verify")
    assert "row 4 was there and is missing" in said(answers, capsys, "verdicts", "--verify", "--head", head, status=1)[0]


@pytest.mark.parametrize(
    "words",
    [
        ("verdicts", "--head", "1:x"),
        ("verdicts", "--verify", "--head", "x"),
        ("verdicts", "--study", "st_x"),
        ("answers", "--by", "x"),
    ],
)
def test_what_cannot_be_meant_is_refused(answers: AnswerLog, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert said(answers, capsys, *words, status=2)


@pytest.fixture
def stuck(answers: AnswerLog, capsys: pytest.CaptureFixture[str]) -> AnswerLog:
    """A suspended sender, an object without a result, a message about two, and one that was read."""
    with answers.database.begin() as connection:
        suspension.suspend(connection, "PACS1", "More than 20 answers came within a minute.", 1_790_000_000.0)
        words = {"calling_ae": "WS1", "called_ae": "AINODE_ACCEPT", "study_key": "st_a", "sop_class_uid": "", "digest": ""}
        for number, state in enumerate(("quarantined", "read", "unclear")):
            values = {"door": "answer_ae", "sop_instance_uid": "1.2.ZZMARKER", "received_utc": float(number), "state": state}
            connection.execute(sa.insert(tables.answer_object).values(**values, **words, text=f"Text {number}."))
        message = {"at_utc": 9.0, "channel": "hl7", "source": "s", "state": "quarantined", "text": "It matches several."}
        connection.execute(sa.insert(tables.answer_message).values(**message))
    capsys.readouterr()
    return answers


def test_what_does_not_count_is_listed_with_its_reason(stuck: AnswerLog, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(stuck, capsys, "answers")
    assert lines[0] == "SUSPENDED since 2026-09-21 14:13:20: PACS1. More than 20 answers came within a minute."
    assert "--resume PACS1 --by YOUR-NAME" in lines[1]
    assert [line.rpartition("  ")[2].strip() for line in lines[2:]] == ["It matches several.", "Text 2.", "Text 0."]
    rows = [json.loads(line) for line in said(stuck, capsys, "answers", "--json")]
    assert rows[0]["suspended"] == "PACS1"
    assert [row["state"] for row in rows[1:]] == ["quarantined", "unclear", "quarantined"]
    assert len(said(stuck, capsys, "answers", "--quarantine")) == 2


def test_a_sender_is_resumed_by_a_person_with_a_name(stuck: AnswerLog, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--by NAME" in said(stuck, capsys, "answers", "--resume", "PACS1", status=2)[0]
    assert "not suspended" in said(stuck, capsys, "answers", "--resume", "PACS2", "--by", "E. Vogt", status=2)[0]
    assert said(stuck, capsys, "answers", "--resume", "PACS1", "--by", "E. Vogt")[0].startswith("Answers of PACS1 count again.")
    assert not any("SUSPENDED" in line for line in said(stuck, capsys, "answers"))
    with stuck.database.connect() as connection:
        assert connection.execute(sa.select(tables.answer_channel.c.resumed_by)).scalar() == "E. Vogt"


def test_the_sites_monitoring_sees_it(stuck: AnswerLog) -> None:
    text = render_metrics(stuck.database, {}).decode()
    assert 'dicom_node_verdicts{channel="web",strength="weak",verdict="accepted"} 1.0' in text
    assert 'dicom_node_answers{state="quarantined"} 2.0' in text
    assert "dicom_node_answer_channels_suspended 1.0" in text
