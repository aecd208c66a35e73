"""Answer AE titles: what belongs together, what it says, and what is recorded of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.core.feedback import Strength, Verdict
from dicom_node.core.study import HeaderFacts, Instance
from dicom_node.feedback import standing
from dicom_node.feedback.ae_titles import answer_objects as objects
from dicom_node.feedback.ae_titles import answering, suspension
from dicom_node.feedback.channels import answer_ae
from dicom_node.feedback.channels.answer_ae import Arrival, answers, meaning
from dicom_node.feedback.settings import AnswerAeSettings, FeedbackSettings
from dicom_node.feedback.step import Desk
from dicom_node.store import tables
from tests.factories.answer_log import READERS, AnswerLog, sop

IDLE = 300.0
ACCEPT, REJECT, AMEND = "AINODE_ACCEPT", "AINODE_REJECT", "AINODE_AMEND"


# --- what belongs together (pure) ------------------------------------------------------------------------------------------


def arrival(number: int, at: float, association: str = "x", *, ended: float | None = -1, **more: Any) -> Arrival:
    """One of our objects; ``ended`` -1: with its last object."""
    facts = {"calling_ae": "WS", "called_ae": ACCEPT, "study_key": "st_a", "state": "waiting", "run_key": "rn_a", "role": "sc"}
    facts |= {"run_study_key": "st_a", "sop_instance_uid": f"1.{number}", **more}
    return Arrival(number, association, received_utc=at, ended_utc=at if ended == -1 else ended, **facts)


def groups(*arrivals: Arrival) -> list[list[int]]:
    return sorted([one.object_id for one in found.arrivals] for found in answers(arrivals, 5, IDLE))


def test_an_association_is_one_answer_whatever_it_brings() -> None:
    assert groups(arrival(1, 0), arrival(2, 100), arrival(3, 200, study_key="st_b")) == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("changed", "together"),
    [({}, True), ({"called_ae": REJECT}, False), ({"calling_ae": "WS2"}, False), ({"study_key": "st_b"}, False)],
)
def test_associations_one_behind_the_other_are_one_answer(changed: dict[str, str], together: bool) -> None:
    """A sender that opens an association for each object."""
    found = groups(arrival(1, 0, "x"), arrival(2, 5, "y", **changed))
    assert found == ([[1, 2]] if together else [[1], [2]])


def test_what_comes_after_they_have_settled_is_another_answer() -> None:
    assert groups(arrival(1, 0, "x"), arrival(2, 5.1, "y")) == [[1], [2]]
    assert groups(arrival(1, 0, "x", ended=4), arrival(2, 9, "y")) == [[1, 2]], "settling begins with the release"
    assert groups(arrival(1, 0, "x"), arrival(2, 4, "y"), arrival(3, 8, "z")) == [[1, 2, 3]]


def test_what_is_sent_again_belongs_to_what_was_cut_off() -> None:
    """Else the rest of a whole study, or its first half, could pass for a result alone."""
    half = arrival(1, 0, "x", ended=None)
    assert groups(half, arrival(2, 200, "y", run_key="")) == [[1, 2]]
    assert groups(half, arrival(2, 306, "y")) == [[1], [2]]


def test_it_is_due_when_all_of_it_is_over() -> None:
    (one,) = answers([arrival(1, 0, ended=10), arrival(2, 8, ended=10)], 5, IDLE)
    assert one.due_utc(5, 60, IDLE) == 75
    (one,) = answers([arrival(1, 0, ended=None)], 5, IDLE)
    assert one.due_utc(5, 60, IDLE) == 365


NOTE = {"role": "assessment:3"}
MEANINGS = [
    ("one result", [arrival(1, 0), arrival(2, 1, role="text_report")], ("rn_a", "")),
    ("a source image", [arrival(1, 0), arrival(2, 1, run_key="")], ("rn_a", answer_ae.FOREIGN)),
    ("source images only", [arrival(1, 0, run_key="")], ("", answer_ae.FOREIGN)),
    ("two results", [arrival(1, 0), arrival(2, 0, run_key="rn_b")], ("", answer_ae.SEVERAL)),
    ("under another study", [arrival(1, 0, study_key="st_b")], ("rn_a", answer_ae.ELSEWHERE)),
    ("cut off", [arrival(1, 0, ended=None)], ("rn_a", answer_ae.CUT_OFF)),
    ("cut off, sent again", [arrival(1, 0, ended=None), arrival(2, 9, "y")], ("rn_a", "")),
    ("something was refused", [arrival(1, 0, state="unclear"), arrival(2, 1, "y")], ("rn_a", answer_ae.REFUSED_TOO)),
    ("our note of an answer", [arrival(1, 0, **NOTE)], ("", answer_ae.NOT_A_RESULT)),
    ("our note of a withdrawal", [arrival(1, 0, role="withdrawal_note:pacs")], ("", answer_ae.NOT_A_RESULT)),
    ("a result with the note of an answer to it", [arrival(1, 0), arrival(2, 0, **NOTE)], ("rn_a", "")),
]


@pytest.mark.parametrize(("arrivals", "said"), [case[1:] for case in MEANINGS], ids=[case[0] for case in MEANINGS])
def test_only_one_result_and_nothing_else_is_an_answer(arrivals: list[Arrival], said: tuple[str, str]) -> None:
    (one,) = answers(arrivals, 5, IDLE)
    found = meaning(one)
    assert (found.run_key, found.problem) == said
    assert found.is_nothing is (found.problem == answer_ae.NOT_A_RESULT)


# --- rows ------------------------------------------------------------------------------------------------------------------


class Department:
    """Results that were delivered, and a clock that only this test moves."""

    def __init__(self, log: AnswerLog) -> None:
        self.log = log
        self.now = 1_790_000_000.0
        self.desk = Desk(log.home, READERS, FeedbackSettings(), clock=lambda: self.now)
        self._associations = itertools.count(1)

    def result(self, study: str = "a", *, delivered: bool = True, **more: Any) -> str:
        run_key = self.log.result(study, **more)
        if delivered:
            self.deliver(run_key, self.now - 3600)
        return run_key

    def deliver(self, run_key: str, at_utc: float) -> None:
        a = tables.artifact.c
        with self.log.database.begin() as connection:
            row = connection.execute(sa.select(tables.artifact).where(a.identifier == sop(run_key))).one()
            study_key = connection.execute(sa.select(tables.run.c.study_key).where(tables.run.c.run_key == run_key)).scalar_one()
            values = {"artifact_id": row.artifact_id, "run_key": run_key, "study_key": study_key, "state": "done"}
            more = {"destination": "pacs", "planned_utc": at_utc, "done_utc": at_utc}
            connection.execute(sa.insert(tables.delivery).values(delivery_id=f"dl_{run_key}", **values, **more))

    def send(self, *uids: str, to: str = ACCEPT, study: str = "st_a", calling: str = "WS", ended: bool = True) -> list[bool]:
        """Send objects over one association, now; say of each whether its file is kept."""
        association = f"as{next(self._associations)}"
        with self.log.database.begin() as connection:
            state = "suspended" if suspension.is_suspended(connection, calling) else "waiting"
            kept = [
                objects.insert(
                    connection,
                    Instance(
                        "1.2", uid, "1.3", "1.4", "1.2.840.10008.1.2", f"d{uid}", f"answers/{uid}", HeaderFacts(), calling, to
                    ),
                    study,
                    received_utc=self.now,
                    association=association,
                    state=state,
                    text="",
                )
                for uid in uids
            ]
            if ended:
                objects.end_association(connection, association, self.now)
        return kept

    def later(self, seconds: float = 66.0) -> int:
        """Let time pass and judge."""
        self.now += seconds
        return answering.judge_waiting(self.log.database, self.desk, IDLE)

    def verdicts(self) -> list[str]:
        return [row.verdict for row in self.log.rows()]

    def states(self) -> list[str]:
        with self.log.database.connect() as connection:
            c = tables.answer_object.c
            return list(connection.execute(sa.select(c.state).order_by(c.object_id)).scalars())

    def story(self) -> list[str]:
        with self.log.database.connect() as connection:
            return list(connection.execute(sa.select(tables.story.c.event).order_by(tables.story.c.story_id)).scalars())


@pytest.fixture
def department(answers: AnswerLog) -> Department:
    return Department(answers)


def test_sending_a_result_is_one_answer_and_sending_it_again_none(department: Department) -> None:
    run_key = department.result()
    department.send(sop(run_key))
    assert department.later(64) == 0, "nothing counts before the minute is over"
    assert department.later(2) == 1
    (row,) = department.log.rows()
    assert (row.verdict, row.strength, row.reader, row.channel, row.finding) == ("accepted", "weak", "", "answer_ae", "")
    assert row.said_utc == pytest.approx(1_790_000_000.0)
    department.send(sop(run_key))
    assert department.later() == 1
    assert department.verdicts() == ["accepted"]
    assert department.states() == ["read", "nothing"]
    assert department.later() == 0


def test_the_workstation_of_a_radiologist_answers_strongly(department: Department) -> None:
    run_key = department.result()
    department.send(sop(run_key), calling="WS_RAO", to=REJECT)
    department.later()
    (row,) = department.log.rows()
    assert (row.verdict, row.strength, row.reader_role) == ("rejected", Strength.STRONG, "radiologist")


def test_changes_of_mind_are_rows_of_their_own_and_the_last_one_stands(department: Department) -> None:
    """Accept, reject, accept, each within ten minutes of the one before."""
    run_key = department.result()
    for to in (ACCEPT, REJECT, ACCEPT):
        department.send(sop(run_key), to=to, calling="WS_RAO")
        department.later(100)
    assert department.verdicts() == ["accepted", "rejected", "accepted"]
    with department.log.database.connect() as connection:
        assert standing.current(connection, run_key)[""].verdict is Verdict.ACCEPTED


def test_after_ten_minutes_the_same_answer_is_a_new_one(department: Department) -> None:
    run_key = department.result()
    for _ in range(2):
        department.send(sop(run_key))
        department.later(601)
    assert department.verdicts() == ["accepted", "accepted"]


def test_amend_opens_one_task_and_says_nothing_of_the_result(department: Department) -> None:
    run_key = department.result()
    for _ in range(2):
        department.send(sop(run_key), to=AMEND)
        department.later()
    assert department.verdicts() == []
    with department.log.database.connect() as connection:
        (task,) = connection.execute(sa.select(tables.task)).all()
    assert (task.kind, task.run_key, task.closed_utc) == ("amend", run_key, None)
    assert department.story().count("answer.amend") == 1


def test_whole_studies_old_and_withdrawn_results_are_unclear(department: Department) -> None:
    old = department.result(revision=1)
    new = department.result(revision=2)
    withdrawn = department.result("b", state="withdrawn")
    department.send(sop(new), "1.5.1", "1.5.2")
    department.later()
    department.send(sop(old))
    department.later()
    department.send(sop(withdrawn), study="st_b")
    department.later()
    assert department.states() == ["unclear"] * 5
    assert department.verdicts() == []
    assert department.story().count("answer.unclear") >= 3


def test_half_an_association_never_counts(department: Department) -> None:
    """The receiver died between two objects. The row of the first is there, the sender tries again, with what was left or all."""
    run_key = department.result()
    department.send(sop(run_key), ended=False)
    assert department.later(299) == 0
    department.send("1.5.1")  # the rest: a source image
    assert department.later(400) == 1
    assert department.states() == ["unclear", "unclear"]
    department.send(sop(run_key), ended=False)
    assert department.later(370) == 1, "nobody came again"
    assert department.verdicts() == []
    department.send(sop(run_key), ended=False)
    department.now += 10
    department.send(sop(run_key))  # all of it again
    assert department.later(370) == 1
    assert department.verdicts() == ["accepted"]
    assert department.states()[-2:] == ["read", "read"]


def test_a_result_at_two_answers_suspends_the_sender_at_once(department: Department, capsys: pytest.CaptureFixture[str]) -> None:
    run_keys = [department.result(name) for name in "abc"]
    for name, run_key in zip("abc", run_keys, strict=True):
        for to in (ACCEPT, REJECT, AMEND):
            department.send(sop(run_key), to=to, study=f"st_{name}")
    assert department.later(1) == 0
    assert set(department.states()) == {"suspended"}
    assert department.send("1.5.9") == [False], "its bytes are not kept"
    assert department.states()[-1] == "suspended"
    department.later()
    assert department.verdicts() == []
    assert capsys.readouterr().out.count('"answers.suspended"') == 1
    assert department.story().count("answers.suspended") == 3, "each study tells it"
    with department.log.database.connect() as connection:
        assert connection.execute(sa.select(tables.task)).all() == []


def test_who_is_resumed_counts_from_then_on(department: Department, capsys: pytest.CaptureFixture[str]) -> None:
    run_key, other = department.result(), department.result("b")
    department.send(sop(run_key))
    department.send(sop(run_key), to=REJECT)
    department.later(1)
    with department.log.database.begin() as connection:
        assert suspension.resume(connection, "WS", "Eva", department.now)
        assert not suspension.resume(connection, "WS", "Eva", department.now)
    department.send(sop(run_key), to=REJECT)
    department.send(sop(other), study="st_b")
    department.later()
    assert department.states() == ["suspended", "suspended", "read", "read"]
    assert department.verdicts() == ["rejected", "accepted"]
    department.send(sop(run_key))
    department.send(sop(run_key), to=AMEND)
    department.later(1)
    assert capsys.readouterr().out.count('"answers.suspended"') == 2, "a second time is a second alarm"


def test_what_was_before_a_person_resumed_makes_nobody_suspicious_again(department: Department) -> None:
    """With quick settings rows of a minute ago are judged already."""
    quick = FeedbackSettings(answer_ae=AnswerAeSettings(two_answers_seconds=1, settle_seconds=0, most_a_minute=3))
    department.desk = replace(department.desk, settings=quick)
    uids = {name: sop(department.result(name)) for name in "abcd"}
    for name in "abc":
        department.send(uids[name], study=f"st_{name}")
        department.later(2)
    with department.log.database.begin() as connection:
        suspension.suspend(connection, "WS", "For another reason.", department.now)
        suspension.resume(connection, "WS", "Eva", department.now)
    department.send(uids["d"], study="st_d")
    department.later(2)
    assert department.states() == ["read"] * 4


def test_an_answer_before_or_right_after_the_delivery_is_a_machine(department: Department) -> None:
    run_key = department.result(delivered=False)
    department.send(sop(run_key))
    department.deliver(run_key, department.now + 0.5)
    department.later(1)
    assert department.states() == ["suspended"]


def test_more_than_twenty_a_minute_are_a_machine_and_none_was_recorded(department: Department) -> None:
    run_keys = [department.result(f"s{number}") for number in range(21)]
    for number, run_key in enumerate(run_keys):
        department.send(sop(run_key), study=f"st_s{number}")
        department.later(2.8)
    department.later()
    assert department.verdicts() == []
    assert set(department.states()) == {"suspended"}


def test_twenty_a_minute_are_a_busy_person(department: Department) -> None:
    run_keys = [department.result(f"s{number}") for number in range(20)]
    for number, run_key in enumerate(run_keys):
        department.send(sop(run_key), study=f"st_s{number}")
        department.later(2.8)
    department.later()
    assert department.verdicts() == ["accepted"] * 20


def test_one_suspended_sender_does_not_keep_another_from_answering(department: Department) -> None:
    run_key, other = department.result(), department.result("b")
    department.send(sop(run_key), calling="PACS")
    department.send(sop(run_key), calling="PACS", to=REJECT)
    department.send(sop(other), study="st_b", calling="WS_RAO")
    department.later()
    assert department.states() == ["suspended", "suspended", "read"]


def test_the_same_object_twice_in_an_association_is_one_row_and_its_bytes_are_kept_once(department: Department) -> None:
    uid = sop(department.result())
    assert department.send(uid, uid) == [True, False]
    assert department.send(uid) == [False], "another row, the same bytes"
    assert len(department.states()) == 2


def test_an_error_leaves_the_answer_for_the_next_look(department: Department, monkeypatch: pytest.MonkeyPatch) -> None:
    run_key, other = department.result(), department.result("b")
    department.send(sop(run_key))
    department.send(sop(other), study="st_b")
    real = answering.record

    def broken(connection: sa.Connection, claim: Any, *, desk: Desk) -> Any:
        done = real(connection, claim, desk=desk)
        if claim.targets.study_key == "st_a":
            raise OSError("no room")
        return done

    monkeypatch.setattr(answering, "record", broken)
    with pytest.raises(OSError, match="no room"):
        department.later()
    assert [row.study_key for row in department.log.rows()] == ["st_b"], "the other one is recorded all the same"
    monkeypatch.setattr(answering, "record", real)
    assert department.later(1) == 1
    assert [row.study_key for row in department.log.rows()] == ["st_b", "st_a"]


def test_files_of_judged_objects_are_forgotten_and_rows_stay(department: Department) -> None:
    run_key = department.result()
    department.send(sop(run_key))
    removed: list[str] = []

    def remove(key: str) -> bool:
        removed.append(key)
        return True

    assert answering.forget_files(department.log.database, department.now + 1, remove) == 0, "it waits"
    department.later()
    assert answering.forget_files(department.log.database, department.now, remove) == 1
    assert answering.forget_files(department.log.database, department.now, remove) == 0
    assert removed == [f"answers/{sop(run_key)}"]
    assert department.states() == ["read"]
