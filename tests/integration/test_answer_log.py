"""The log on a real PostgreSQL, under two writers at once, and about a result that a pipeline made."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.core.feedback import Channel, Claim, Statement, Targets, Verdict
from dicom_node.core.phi import Phi
from dicom_node.feedback import chain, standing, witness
from dicom_node.feedback.settings import FeedbackSettings
from dicom_node.feedback.step import Desk, record
from dicom_node.store import tables
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories.answer_log import ACCEPT, LIND, RAO, READERS, REJECT, AnswerLog, sop
from tests.factories.postgresql import running_postgresql
from tests.integration.in_process import InProcessNode
from tests.unit.feedback.test_answer_ae import Department

_EACH = 50


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One PostgreSQL for all tests of this file."""
    with running_postgresql() as running:
        yield running.url


@pytest.fixture(params=["sqlite", "postgresql"])
def answers(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Iterator[AnswerLog]:
    """A log of its own, on either database."""
    url = ""
    if request.param == "postgresql":
        name = f"log_{abs(hash(request.node.name))}"
        admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        admin.dispose()
        url = f"{server.rpartition('/')[0]}/{name}"
    made = AnswerLog(tmp_path, url)
    yield made
    made.database.dispose()


def problems(answers: AnswerLog) -> tuple[str, ...]:
    with answers.database.connect() as connection:
        return chain.verify(connection).problems


def test_both_databases_refuse_to_change_a_row(answers: AnswerLog) -> None:
    run_key = answers.result()
    answers.say(run_key, REJECT)
    answers.say(run_key, ACCEPT)
    statements = ["UPDATE verdict SET verdict = 'accepted' WHERE number = 1", "DELETE FROM verdict WHERE number = 2"]
    if answers.database.dialect.name == "postgresql":
        statements += [
            "TRUNCATE verdict",
            "INSERT INTO verdict SELECT * FROM verdict ON CONFLICT (number) DO UPDATE SET reader = 'x'",
        ]
    for statement in statements:
        with pytest.raises(sa.exc.IntegrityError, match="never changed or deleted"), answers.database.begin() as connection:
            connection.execute(sa.text(statement))
    assert [row.verdict for row in answers.rows()] == ["rejected", "accepted"]
    assert problems(answers) == ()


def test_a_changed_row_a_missing_row_and_a_missing_end_are_found(answers: AnswerLog) -> None:
    run_key = answers.result()
    for _ in range(4):
        answers.say(
            run_key, Statement(Verdict.AMENDED, "abnormal", "absent", assessment=0.1), comment="ü \x00 \u2028", seconds_spent=0.1
        )
    assert problems(answers) == (), "what the database gives back is what was hashed"
    assert witness.keep_head(answers.database, answers.home)
    answers.tampered("UPDATE verdict SET label_after = 'present' WHERE number = 2")
    assert problems(answers) == ("row 2 was changed",)
    answers.tampered("UPDATE verdict SET label_after = 'absent' WHERE number = 2")
    answers.tampered("DELETE FROM verdict_private")
    answers.tampered("DELETE FROM verdict WHERE number = 4")
    assert problems(answers) == ()
    with answers.database.connect() as connection:
        assert "row 4 was there and is missing" in witness.problem_with_kept(connection, answers.home)
    answers.tampered("DELETE FROM verdict WHERE number = 1")
    assert "row 1 is missing" in problems(answers)


def test_a_guard_that_was_switched_off_is_missed(answers: AnswerLog) -> None:
    with answers.database.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("ALTER TABLE verdict DISABLE TRIGGER verdict_no_update"))
        else:
            connection.execute(sa.text("DROP TRIGGER verdict_no_update"))
    assert problems(answers) == ("trigger verdict_no_update is missing: the database would let rows be changed",)


def test_two_who_record_at_once_leave_no_gap_and_no_double(answers: AnswerLog) -> None:
    """Each brings messages of its own, and both bring the same ones: each message is one row."""
    run_keys = [answers.result(f"s{number}") for number in range(5)]
    shared = [answers.claim(run_keys[n % 5], ACCEPT, source=f"shared {n}") for n in range(_EACH // 2)]
    failures: list[BaseException] = []
    repeated: list[bool] = []
    barrier = threading.Barrier(2)

    def work(reader: int) -> None:
        try:
            barrier.wait()
            for n in range(_EACH // 2):
                own = answers.claim(run_keys[n % 5], REJECT, reader=(RAO, LIND)[reader], source=f"of {reader}, {n}")
                for claim in (shared[n], own):
                    repeated.append(answers.bring(claim).repeated)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(repeated) == _EACH // 2
    rows = answers.rows()
    assert [row.number for row in rows] == list(range(1, _EACH + _EACH // 2 + 1))
    assert problems(answers) == ()
    with answers.database.connect() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(tables.verdict_private)).scalar()
        assert count == len(rows)
        # the last of all that was said about a result comes from both, as it happens; each reader's last word is kept
        assert set(standing.current(connection, run_keys[0])) == {""}


def _concept(item: Dataset) -> str:
    """Return the code of a content item's name."""
    return str(item.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in item else ""


def test_a_real_result_is_known_by_all_that_it_is_sent_under(tmp_path: Path) -> None:
    """Objects, tracking UIDs, numbers of messages, the accession number: each names the one result."""
    image, _, _ = chest_phantom(seed=3, size=512)
    radiograph = as_radiograph(image, seed="answered", modality="CR", AccessionNumber="ACC-7")
    node = InProcessNode(tmp_path)
    (run,) = node.answer(radiograph)["runs"]
    objects = node.sent_dicom()
    (message,), (report,) = node.sent_text(".hl7"), node.sent_text(".json")
    obr = next(line for line in message.split("\r") if line.startswith("OBR")).split("|")
    resources = [entry["resource"] for entry in json.loads(report)["entry"]]
    results = [one for one in resources if one["resourceType"] in ("DiagnosticReport", "Observation")]
    values = [identifier["value"] for one in results for identifier in one["identifier"]]
    tracking = [str(element.value) for made in objects for element in made.iterall() if element.keyword == "TrackingUID"]
    items = [item for made in objects for element in made.iterall() if element.VR == "SQ" for item in element.value]
    tracking += [str(item.UID) for item in items if _concept(item) == "112040"]
    targets = [Targets(sop_instance_uids=(str(made.SOPInstanceUID),)) for made in objects]
    targets += [Targets(identifiers=(value,)) for value in (*values, obr[3].partition("^")[0], message.split("|")[9])]
    targets += [Targets(tracking_uids=(uid,)) for uid in set(tracking)]
    targets += [Targets(accession_number=Phi("ACC-7"))]
    assert len(objects) >= 5
    assert len(set(tracking)) >= 2
    desk = Desk(node.rooms.home, READERS, FeedbackSettings())
    findings = (Statement(Verdict.ACCEPTED), *(Statement(Verdict.ACCEPTED, key) for key in run["summary"]["probabilities"]))
    for number, one in enumerate(targets):
        claim = Claim(Channel.WEB, f"message {number}", dt.datetime.now(dt.UTC), one, RAO, findings)
        with node.rooms.database.begin() as connection:
            done = record(connection, claim, desk=desk)
        assert (done.state, done.run_key) == ("read", run["run_key"]), one
    with node.rooms.database.connect() as connection:
        rows = connection.execute(sa.select(tables.verdict)).all()
        assert chain.verify(connection).problems == ()
    assert len(rows) == len(targets) * len(findings)
    assert {row.label_before for row in rows if not row.finding} == {run["summary"]["decision"]}
    assert {row.label_before for row in rows if row.finding} <= {"positive", "negative"}
    assert {len(row.bundle_hash) for row in rows} == {len(row.policy_hash) for row in rows} == {64}


def test_what_came_to_answer_ae_titles_is_judged_on_either_database(answers: AnswerLog) -> None:
    """One answer, its repetition, and a machine."""
    department = Department(answers)
    uid, other = sop(department.result()), sop(department.result("b"))
    for _ in range(2):
        department.send(uid)
        department.later()
    department.send(other, study="st_b", calling="PACS")
    department.send(other, study="st_b", calling="PACS", to="AINODE_REJECT")
    department.later()
    assert department.verdicts() == ["accepted"]
    assert department.states() == ["read", "nothing", "suspended", "suspended"]
