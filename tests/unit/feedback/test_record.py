"""A claim becomes rows: one a statement, once, with what the AI said; identifiers stay out of the log."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid

import pytest
import sqlalchemy as sa

from dicom_node.core.feedback import (
    Channel,
    Claim,
    Context,
    ReaderClaim,
    ReferenceStandard,
    Region,
    Statement,
    Targets,
    Verdict,
)
from dicom_node.core.phi import Phi
from dicom_node.feedback import chain
from dicom_node.feedback.step import Recorded, record
from dicom_node.feedback.tasks import open_task
from dicom_node.store import tables
from dicom_node.store.story import read_story
from tests.factories.answer_log import ACCEPT, DEFER, KOCH, NOBODY, RAO, REJECT, AnswerLog, sop


def story(answers: AnswerLog, study: str = "st_a") -> list[tuple[str, str]]:
    with answers.database.connect() as connection:
        return [(line.event, line.text) for line in read_story(connection, study)]


def private(answers: AnswerLog) -> list[dict[str, object]]:
    with answers.database.connect() as connection:
        return [row.content for row in connection.execute(sa.select(tables.verdict_private))]


def test_an_answer_is_one_row_with_all_that_learning_asks_for(answers: AnswerLog) -> None:
    run_key = answers.result()
    shown = dt.datetime(2026, 11, 21, 9, tzinfo=dt.UTC)
    statement = Statement(Verdict.AMENDED, "tuberculosis", "present", assessment=0.75, confidence=4, map_relevant="no")
    done = answers.say(
        run_key,
        statement,
        reason="wrong_region",
        ai_shown_at=shown,
        seconds_spent=12.5,
        reference_standard=ReferenceStandard.CULTURE,
        reference_value="positive",
        at=shown,
    )
    text = "A radiologist amended tuberculosis (strong, on the page)."
    assert done == Recorded("read", text, run_key, "st_a", (1,))
    (row,) = answers.rows()
    assert row.reader.startswith("rd_")
    assert uuid.UUID(row.feedback_id).version == 7
    expected = {
        "number": 1,
        "said_utc": shown.timestamp(),
        "run_key": run_key,
        "study_key": "st_a",
        "finding": "tuberculosis",
        "verdict": "amended",
        "strength": "strong",
        "channel": "web",
        "context": "after_ai",
        "reader_role": "radiologist",
        "experience_years": 12,
        "bundle_hash": "b" * 64,
        "policy_hash": "c" * 64,
        "ai_shown": True,
        "ai_shown_utc": shown.timestamp(),
        "label_before": "negative",
        "label_after": "present",
        "assessment": 0.75,
        "confidence": 4,
        "map_relevant": "no",
        "reason": "wrong_region",
        "seconds_spent": 12.5,
        "reference_standard": "culture",
        "reference_value": "positive",
        "supersedes": "",
    }
    assert {name: getattr(row, name) for name in expected} == expected
    assert story(answers) == [("answer.recorded", text)]


@pytest.mark.parametrize(
    ("finding", "before"), [("", "positive"), ("abnormal", "positive"), ("tuberculosis", "negative"), ("pneumonia", "not_assessed")]
)
def test_what_the_ai_said_stands_beside_the_answer(answers: AnswerLog, finding: str, before: str) -> None:
    answers.say(answers.result(), Statement(Verdict.REJECTED, finding))
    assert answers.rows()[0].label_before == before


def test_a_result_whose_files_are_gone_can_still_be_answered(answers: AnswerLog) -> None:
    run_key = answers.result()
    (answers.home.results / run_key / "findings.json").unlink()
    assert answers.say(run_key, ACCEPT, Statement(Verdict.ACCEPTED, "abnormal")).numbers == (1, 2)
    assert [row.label_before for row in answers.rows()] == ["positive", ""]


def test_the_same_message_again_adds_nothing(answers: AnswerLog) -> None:
    run_key = answers.result()
    claim = answers.claim(run_key, ACCEPT, Statement(Verdict.ACCEPTED, "abnormal"))
    assert answers.bring(claim).numbers == (1, 2)
    again = answers.bring(claim)
    assert (again.state, again.numbers, again.repeated, again.run_key) == ("read", (), True, run_key)
    longer = dataclasses.replace(claim, statements=(*claim.statements, Statement(Verdict.REJECTED, "tuberculosis")))
    assert answers.bring(longer).numbers == (3,), "what is new in it counts"
    assert len(story(answers)) == 2
    answers.result(revision=2)
    assert answers.bring(claim).repeated, "also when the result was replaced since"
    assert answers.bring(dataclasses.replace(claim, channel=Channel.HL7)).state == "unclear", "another channel's is another message"


def test_accept_reject_accept_are_three_rows_each_naming_the_one_it_corrects(answers: AnswerLog) -> None:
    run_key = answers.result()
    for statement in (ACCEPT, REJECT, ACCEPT):
        answers.say(run_key, statement)
    first, second, third = answers.rows()
    assert [row.verdict for row in (first, second, third)] == ["accepted", "rejected", "accepted"]
    assert (first.supersedes, second.supersedes, third.supersedes) == ("", first.feedback_id, second.feedback_id)
    answers.say(run_key, ACCEPT, reader=NOBODY)
    answers.say(run_key, ACCEPT, reader=NOBODY)
    assert [row.supersedes for row in answers.rows()[3:]] == ["", ""], "nobody knows whether it is the same person"


@pytest.mark.parametrize(
    ("targets", "state"),
    [
        (Targets(sop_instance_uids=("1.2.3",)), "quarantined"),
        (Targets(run_key="rn_a_cxr_tb_1"), "unclear"),
        (Targets(run_key="rn_b_cxr_tb_1"), "unclear"),
        (Targets(sop_instance_uids=(sop("rn_a_cxr_tb_2"), sop("rn_c_cxr_tb_1"))), "quarantined"),
    ],
)
def test_what_is_not_about_one_current_result_gives_no_row(answers: AnswerLog, targets: Targets, state: str) -> None:
    for study, revision, run_state in (("a", 1, "analysed"), ("a", 2, "analysed"), ("b", 1, "withdrawn"), ("c", 1, "analysed")):
        answers.result(study, revision=revision, state=run_state)
    claim = answers.claim("", ACCEPT, targets=targets)
    done = answers.bring(claim)
    assert (done.state, done.numbers) == (state, ())
    assert done.text
    assert list(answers.rows()) == []
    assert answers.bring(claim) == done
    assert len(story(answers, done.study_key or "st_a")) == (1 if state == "unclear" else 0), "told once"


def test_a_finding_that_the_result_does_not_have_is_unclear_and_nothing_of_the_claim_counts(answers: AnswerLog) -> None:
    done = answers.say(answers.result(), ACCEPT, Statement(Verdict.ACCEPTED, "fracture"))
    assert (done.state, list(answers.rows())) == ("unclear", [])


def test_a_claim_that_says_nothing_is_nothing(answers: AnswerLog) -> None:
    assert answers.say(answers.result()).state == "nothing"
    assert private(answers) == []


def test_regions_alone_are_evidence_and_no_answer(answers: AnswerLog) -> None:
    run_key = answers.result()
    region = Region("1.2.3", ((1, 2), (3, 4)), "abnormal", -1)
    claim = answers.claim(run_key, channel=Channel.PRESENTATION_STATE, regions=(region,))
    done = answers.bring(claim)
    assert (done.state, done.numbers, list(answers.rows())) == ("read", (), [])
    assert answers.bring(claim).repeated
    (kept,) = private(answers)
    assert kept["run_key"] == run_key
    assert kept["regions"] == [
        {"sop_instance_uid": "1.2.3", "points": [[1.0, 2.0], [3.0, 4.0]], "finding": "abnormal", "sign": -1, "frame": 1}
    ]
    with answers.database.connect() as connection:
        assert chain.verify(connection).problems == ()


def marked(answers: AnswerLog, run_key: str) -> Claim:
    return answers.claim(
        run_key,
        Statement(Verdict.AMENDED, "abnormal", label_after="ZZMARKER said so"),
        Statement(Verdict.ACCEPTED, "tuberculosis", map_relevant="ZZMARKER"),
        reader=ReaderClaim("hl7", "ZZMARKER", "ZZMARKER^Z", authenticated=True),
        source="ZZMARKER|1|",
        targets=Targets(run_key=run_key, identifiers=("ZZMARKER",), accession_number=Phi("ZZMARKER")),
        reason="ZZMARKER",
        comment="ZZMARKER\x00",
        reference_value="ZZMARKER",
        reference_date="20260101",
        digest="ZZMARKER",
        evidence={"report_text": "ZZMARKER"},
        regions=(
            Region("1.ZZMARKER", ((0, 0), (1, 1)), "abnormal"),
            Region("1.2", ((0, 0), (1, 1)), "tuberculosis"),
            Region("1", ()),
        ),
    )


def test_nothing_that_a_message_says_freely_gets_into_the_log_or_the_story(
    answers: AnswerLog, capsys: pytest.CaptureFixture[str]
) -> None:
    done = answers.bring(marked(answers, answers.result()))
    assert done.state == "read"
    rows = [dict(row._mapping) for row in answers.rows()]
    assert "ZZMARKER" not in json.dumps(rows) + str(story(answers)) + str(done) + "".join(capsys.readouterr())
    assert [row["label_after"] for row in rows] == ["", ""]
    first, second = private(answers)
    assert first["comment"] == "ZZMARKER", "and PostgreSQL can keep it: its JSON has no room for NUL"
    assert first["targets"] == {
        "sop_instance_uids": [],
        "tracking_uids": [],
        "identifiers": ["ZZMARKER"],
        "accession_number": "ZZMARKER",
    }
    assert first["labels_said"] == [["abnormal", "ZZMARKER said so"]]
    assert [len(one["regions"]) for one in (first, second)] == [2, 1]  # type: ignore[arg-type]
    assert "comment" not in second


@pytest.mark.parametrize(
    ("kind", "reader", "claimed", "context"),
    [
        ("golden_case", RAO, Context.AFTER_AI, "golden_case"),
        ("random_audit", RAO, Context.BLINDED_FIRST_READ, "random_audit"),
        ("golden_case", RAO, Context.ADJUDICATION, "adjudication"),
        ("gray_zone", RAO, Context.AFTER_AI, "after_ai"),
        ("golden_case", NOBODY, Context.AFTER_AI, "after_ai"),
        ("", RAO, Context.BLINDED_FIRST_READ, "blinded_first_read"),
    ],
)
def test_a_case_that_was_put_before_the_reader_has_its_context(
    answers: AnswerLog, kind: str, reader: ReaderClaim, claimed: Context, context: str
) -> None:
    run_key = answers.result()
    with answers.database.begin() as connection:
        if kind:
            open_task(connection, kind, run_key, "st_a", "why")
    answers.say(run_key, ACCEPT, reader=reader, context=claimed)
    assert answers.rows()[0].context == context


def test_who_is_told_is_told_in_the_same_transaction(answers: AnswerLog) -> None:
    run_key = answers.result()
    told: list[Recorded] = []

    def fails(connection: sa.Connection, done: Recorded) -> None:
        told.append(done)
        raise OSError("disk")

    desk = dataclasses.replace(answers.desk, on_recorded=fails)
    claim = answers.claim(run_key, ACCEPT)
    with pytest.raises(OSError, match="disk"):
        answers.bring(claim, desk)
    assert list(answers.rows()) == []
    assert answers.bring(claim).numbers == told[0].numbers == (1,)


def test_a_row_that_collides_leaves_the_callers_transaction_whole(answers: AnswerLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who did not take the lock wrote the same statement a moment ago."""
    run_key = answers.result()
    claim = answers.claim(run_key, ACCEPT)
    answers.bring(claim)
    seen: list[str] = []

    def at_first_nothing(connection: sa.Connection, source: str) -> object:
        seen.append(source)
        query = sa.select(tables.verdict).where(tables.verdict.c.source == source)
        return None if len(seen) < 3 else connection.execute(query).first()

    monkeypatch.setattr("dicom_node.feedback.repository.row_of_source", at_first_nothing)
    with answers.database.begin() as connection:
        connection.execute(sa.insert(tables.opt_out).values(patient="mine", scope="learning", at_utc=0.0, source="command"))
        done = record(connection, claim, desk=answers.desk)
    assert (done.repeated, done.numbers) == (True, ())
    with answers.database.connect() as connection:
        assert connection.execute(sa.select(tables.opt_out.c.patient)).scalar() == "mine"
        assert chain.verify(connection).problems == ()


def test_the_words_of_the_story(answers: AnswerLog) -> None:
    run_key = answers.result()
    answers.say(run_key, REJECT, reader=NOBODY, channel=Channel.ANSWER_AE)
    answers.say(run_key, Statement(Verdict.REJECTED, "abnormal"), Statement(Verdict.ACCEPTED, "tuberculosis"), reader=KOCH)
    answers.say(run_key, DEFER)
    assert [text for _, text in story(answers)] == [
        "Somebody unknown rejected the result (weak: shown, never a label, sent to an answer AE title).",
        "A technologist accepted tuberculosis; rejected abnormal (weak: shown, never a label, on the page).",
        "A radiologist put off the answer to the result (strong, on the page).",
    ]


@pytest.mark.parametrize("code", ["233604007^SCT", "LA9633-4^LN", "111000^DCM", "A15.0^I10"])
def test_a_code_of_a_known_scheme_is_a_label(answers: AnswerLog, code: str) -> None:
    answers.say(answers.result(), Statement(Verdict.AMENDED, "abnormal", label_after=code))
    assert [row.label_after for row in answers.rows()] == [code]


@pytest.mark.parametrize("code", ["ZZMRN-0042^L", "DOE.JANE^SCT", "1.2.840^DCM", "ZZMRN0042^99HOSP", "0042^SCT", "DOE^99PACSAI"])
def test_what_could_be_a_number_of_a_patient_never_stands_in_the_log(answers: AnswerLog, code: str) -> None:
    """A message may call anything a code. The log is never erased: it goes into the part that is."""
    answers.say(answers.result(), Statement(Verdict.AMENDED, "abnormal", label_after=code))
    assert [row.label_after for row in answers.rows()] == [""]
    (content,) = private(answers)
    assert content["labels_said"] == [["abnormal", code]]
