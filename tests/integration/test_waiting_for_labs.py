"""A run waits for what a laboratory tells, in a row with a deadline: who ends it, what a kill leaves, what comes too late."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydicom.dataset import Dataset

from dicom_node import journey
from dicom_node.core.identifiers import study_key
from dicom_node.inference import repository as runs
from dicom_node.inference import waiting
from dicom_node.inference.findings_store import load_outcome
from dicom_node.orders import step as orders
from dicom_node.stages.clinical_data import ClinicalData, values_changed
from dicom_node.stages.merges import patient_merged
from dicom_node.stages.run import analyse
from dicom_node.stages.withdraw import withdraw_void
from dicom_node.store import erasure, tables
from dicom_node.web import sessions
from dicom_node.web.app import make_app
from dicom_node.web.settings import WebSettings
from dicom_node.web.site import Site
from models.phantoms.ct import thorax
from models.phantoms.ct_dicom import as_series
from tests.factories.hl7_messages import answer, lab
from tests.factories.postgresql import running_postgresql
from tests.factories.shown_results import HASH
from tests.integration.in_process import InProcessNode
from tests.unit.pipelines.test_ct_ntm import write_bundle

AT = "20261101080000"
MINUTES = 30.0
SMEAR = lab("11545-1^Smear^LN", "2+", "F", patient="P1", at=AT, kind="ST")
SPECIES = lab("543-9^Culture^LN", "1^Mycobacterium kansasii^SCT", "F", patient="P1", at=AT)
RULE = {"when": {"modality": ["CT"]}, "pipeline": "ct_ntm", "policy": "screening", "name": "NTM", "wait_for_labs_minutes": MINUTES}


@pytest.fixture(scope="module")
def series() -> list[Dataset]:
    """A chest CT of patient P1."""
    drawn = thorax(11, slices=64, size=72, ntm=0.8, cavities=3)
    return list(as_series(drawn, seed="waits", PatientID="P1", IssuerOfPatientID="", PatientSex="F"))


class Waiting:
    """A node with a rule that waits, and a clock that the test moves."""

    def __init__(self, folder: Path, series: list[Dataset], **sections: Any) -> None:
        listener = {"listener": {"peers": ["127.0.0.1"]}}
        self.node = InProcessNode(folder, rule=RULE, **{"inference": {"allow_synthetic": True}, "orders": listener, **sections})
        bundle = self.node.rooms.home.bundles / "ct_ntm"
        bundle.mkdir(parents=True)
        write_bundle(bundle / "1.0.0")
        self.uid = str(series[0].StudyInstanceUID)
        self.key = study_key(self.uid)
        self.ahead = 0.0
        self.judge = ClinicalData(self.node.rooms, lambda: time.time() + self.ahead)

    def hear(self, *messages: bytes) -> None:
        """Take messages as the port does."""
        rooms = self.node.rooms
        inbox = orders.Inbox(
            rooms.database, rooms.settings.orders, dt.UTC, "AINODE", patient_merged, lambda *_: (False, ""), values_changed
        )
        for one in messages:
            assert answer(orders.take(inbox, one))[0] == "AA"

    @property
    def story(self) -> dict[str, Any]:
        return self.node.story(self.uid)

    @property
    def told(self) -> str:
        return "\n".join(line["text"] for line in self.story["story"])

    def states(self) -> list[str]:
        return [run["state"] for run in self.story["runs"]]

    def flags(self) -> dict[str, str]:
        found = load_outcome(self.node.rooms.home.results / self.story["runs"][-1]["run_key"])
        return {flag.key: flag.text for flag in found.flags}

    def browser(self) -> TestClient:
        """Return a browser in which a reader is logged in."""
        rooms = self.node.rooms
        web = WebSettings.model_validate({"users": [{"login": "rao", "password_hash": HASH, "role": "reader"}]})
        app = make_app(rooms.database, "test", dict, 60, site=Site(rooms.database, rooms.home, web))
        client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
        client.cookies.set("ainode", sessions.begin(rooms.database, "rao", "reader", hours=1))
        return client

    def say(self, client: TestClient, **answers: str) -> Any:
        """Send the form as the page has it."""
        page = client.get(f"/studies/{self.key}/clinical")
        assert page.status_code == 200, page.text
        token = re.findall(r'name="form_token" value="([^"]+)"', page.text)[-1]
        return client.post(f"/studies/{self.key}/clinical", data={"form_token": token, **answers})


@pytest.fixture
def waits(tmp_path: Path, series: list[Dataset]) -> Iterator[Waiting]:
    """A node that waits for the values of a study that came."""
    made = Waiting(tmp_path, series)
    made.node.receive(*series)
    made.node.work()
    assert made.states() == ["waiting"], made.told
    yield made
    made.node.rooms.database.dispose()


def test_a_run_waits_until_both_values_are_known_and_uses_them(waits: Waiting) -> None:
    """The story says for what; half of it is not enough; other looks, sweeps and restarts change nothing; then it runs once."""
    assert "ct_ntm: waits for acid-fast smear and mycobacterial species, 30 minutes at most." in waits.told
    waits.hear(SMEAR)
    assert (waits.judge.look(), journey.sweep_unfinished(waits.node.rooms)) == (0, 0)
    waits.hear(lab("543-9^Culture^LN", "2^Mycobacterium abscessus^SCT", "F", patient="P2", at=AT))
    assert waits.judge.look() == 0
    waits.hear(SPECIES)
    assert [ClinicalData(waits.node.rooms).look(), waits.judge.look()] == [1, 0]  # two processes at once end it once
    assert waits.states() == ["queued"]
    waits.node.work()
    assert waits.states() == ["analysed"], waits.told
    assert "clinical_missing" not in waits.flags()
    assert "nothing is left to wait for" in waits.told
    found = load_outcome(waits.node.rooms.home.results / waits.story["runs"][0]["run_key"])
    assert found.provenance["clinical"]["missing"] == []
    assert found.provenance["clinical"]["known"]["smear"]["source"] == "hl7"
    waits.hear(lab("11545-1^Smear^LN", "4+", "F", patient="P1", at="20261102080000", kind="ST"))
    waits.hear(lab("11545-1^Smear^LN", "3+", "F", patient="P1", at="20261103080000", kind="ST"))
    late = [line for line in waits.story["story"] if line["event"] == "value.late"]
    assert [line["text"] for line in late] == [
        "ct_ntm: acid-fast smear came after result 1 was begun; not used, and nothing runs again by itself."
    ]
    for _ in range(2):  # the laboratory corrects what the result rests on, and takes the rest back
        waits.hear(lab("11545-1^Smear^LN", "0", "C", patient="P1", at=AT, kind="ST"))
        waits.hear(lab("543-9^Culture^LN", "", "W", patient="P1", at=AT))
    changed = [line["text"] for line in waits.story["story"] if line["event"] == "value.changed"]
    assert [text.partition(" after")[0] for text in changed] == [
        "ct_ntm: acid-fast smear was corrected by the laboratory",
        "ct_ntm: mycobacterial species was taken back by the laboratory",
    ]
    assert all("which may rest on what it was before; nothing runs again by itself." in text for text in changed)
    waits.hear(lab("11545-1^Smear^LN", "", "W", patient="P1", at="20261103080000", kind="ST"))  # no result had read this one
    assert [line["event"] for line in waits.story["story"]].count("value.changed") == 2
    waits.node.work()
    assert waits.states() == ["analysed"]
    assert "2+" not in waits.told
    assert "kansasii" not in waits.told


def test_a_culture_without_growth_ends_the_waiting_and_the_result_says_what_it_was_not(waits: Waiting) -> None:
    waits.hear(SMEAR)
    waits.hear(lab("543-9^Culture^LN", "264868006^No growth to date^SCT", "F", patient="P1", at="20261031080000"))
    assert waits.judge.look() == 0
    waits.hear(lab("543-9^Culture^LN", "264868006^No growth^SCT", "F", patient="P1", at=AT))
    assert waits.judge.look() == 1
    waits.node.work()
    assert waits.states() == ["analysed"], waits.told
    assert waits.flags()["clinical_missing"] == (
        "Clinical data missing: species (the laboratory's result is none that the model takes); the model went on without."
    )


def test_after_the_deadline_it_goes_on_without_says_so_and_reads_nothing_later(waits: Waiting) -> None:
    """Killed after it read what was known: what came meanwhile was told as late, and is not used the second time either."""
    waits.hear(SMEAR)
    waits.ahead = MINUTES * 60 - 5
    assert waits.judge.look() == 0
    waits.ahead = MINUTES * 60 + 5
    assert waits.judge.look() == 1
    assert "ct_ntm: mycobacterial species did not come within 30 minutes; it goes on without." in waits.told
    requested = waits.story["runs"][0]["requested_utc"]
    assert requested > time.time() + MINUTES * 60 - 60  # what it makes is of when it was made

    class Dies:
        def run(self, *_: Any) -> float:
            raise OSError("power")

    (key,) = waits.node.rooms.port.runs  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="power"):
        analyse(waits.node.rooms, Dies(), key)  # type: ignore[arg-type]
    waits.hear(SPECIES)
    assert [line["event"] for line in waits.story["story"]].count("value.late") == 1
    waits.node.work()
    assert waits.states() == ["analysed"], waits.told
    assert waits.flags()["clinical_missing"] == (
        "Clinical data missing: species (did not come within 30 minutes); the model went on without."
    )


def test_a_clock_that_was_set_back_makes_nobody_wait_longer(waits: Waiting) -> None:
    waits.judge.look()
    waits.ahead = -7200.0
    assert waits.judge.look() == 0
    waits.ahead = -7200.0 + MINUTES * 60 + 5
    assert waits.judge.look() == 1


def test_a_pipeline_that_cannot_be_asked_any_more_keeps_nobody_waiting(waits: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed anew with other settings: the run goes on, and says itself what is wrong."""

    def broken(*_: Any) -> None:
        raise ValueError("PHANTOM^NAME")

    monkeypatch.setattr("pipelines.ct_ntm.lab_inputs", broken)
    assert waits.judge.look() == 1
    assert waits.states() == ["queued"]
    assert "PHANTOM" not in waits.told


def test_killed_between_row_and_workflow_it_waits_on_or_is_queued(waits: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row and workflow are one transaction: what fails in between leaves it waiting; the next look does it."""
    waits.hear(SMEAR, SPECIES)
    queue = waits.node.rooms.port

    def dies(*_: Any, **__: Any) -> None:
        raise OSError("power")

    monkeypatch.setattr(queue, "submit_run", dies)
    assert waits.judge.look() == 0
    assert waits.states() == ["waiting"]
    assert "waits no longer" not in waits.told
    monkeypatch.undo()
    assert waits.judge.look() == 1
    assert queue.runs == [waits.story["runs"][0]["run_key"]]  # type: ignore[attr-defined]


def test_other_runs_of_the_study_do_not_wait_and_a_rejection_or_correction_ends_the_run(
    tmp_path: Path, series: list[Dataset]
) -> None:
    other = {"name": "nodules", "when": {"modality": "CT"}, "pipeline": "ct_pima_ipn", "policy": "no such"}
    rules = [{**one, "max_study_age_hours": 1_000_000} for one in ({**RULE, "when": {"modality": "CT"}}, other)]
    waits = Waiting(tmp_path, series, routing={"rules": rules})
    waits.node.receive(*series)
    waits.node.work()
    state = {run["pipeline"]: run["state"] for run in waits.story["runs"]}
    assert state["ct_ntm"] == "waiting"
    assert state["ct_pima_ipn"] == "not_analysed"
    with waits.node.rooms.database.begin() as connection:
        connection.execute(sa.update(tables.study).values(revision=2))
    withdraw_void(waits.node.rooms, waits.key)
    state = {run["pipeline"]: run["state"] for run in waits.story["runs"]}
    assert state["ct_ntm"] == "cancelled"
    waits.ahead = 1e6
    assert waits.judge.look() == 0
    waits.node.rooms.database.dispose()


def test_other_images_begin_another_run_that_waits_no_longer_than_the_first(tmp_path: Path, series: list[Dataset]) -> None:
    """The last slices come late: the first run is not made, and nobody waits twice as long."""
    waits = Waiting(tmp_path, series)
    waits.node.receive(*series[:-3])
    waits.node.work()
    (run,) = waits.story["runs"]
    first = run["wait_until_utc"]
    with waits.node.rooms.database.begin() as connection:
        waiting.bring_forward(connection, run["run_key"], first - 600)
    waits.node.receive(*series[-3:])
    waits.node.work()
    assert waits.states() == ["cancelled", "waiting"], waits.told
    assert waits.story["runs"][1]["wait_until_utc"] == first - 600
    assert "Other images are to be read since it began to wait." in waits.told
    waits.ahead = MINUTES * 60 - 590
    assert waits.judge.look() == 1
    waits.node.work()
    assert waits.states() == ["cancelled", "analysed"]
    waits.node.rooms.database.dispose()


def test_a_rule_that_does_not_wait_runs_at_once_and_what_comes_later_is_told(tmp_path: Path, series: list[Dataset]) -> None:
    rule = {**RULE, "max_study_age_hours": 1_000_000, "wait_for_labs_minutes": 0}
    waits = Waiting(tmp_path, series, routing={"rules": [rule]})
    waits.node.receive(*series)
    waits.node.work()
    assert waits.states() == ["analysed"], waits.told
    assert waits.flags()["clinical_missing"] == "Clinical data missing: smear, species; the model went on without."
    waits.hear(SPECIES, SPECIES)
    late = [line["text"] for line in waits.story["story"] if line["event"] == "value.late"]
    assert late == ["ct_ntm: mycobacterial species came after result 1 was begun; not used, and nothing runs again by itself."]
    waits.node.rooms.database.dispose()


def test_a_person_says_it_on_the_page(waits: Waiting) -> None:
    """Only who is logged in, only by the form of the page, only what it offers; who and when are kept; the story has no value."""
    client = waits.browser()
    assert f"/studies/{waits.key}/clinical" in client.get(f"/studies/{waits.key}").text
    page = client.get(f"/studies/{waits.key}/clinical").text
    assert "P1" in page  # whose it is
    assert "The analysis waits for these until" in page
    assert client.post(f"/studies/{waits.key}/clinical", data={"smear": "2"}).status_code == 403
    wrong = waits.say(client, smear="17", species="")
    assert (wrong.status_code, "choose at least one answer" in wrong.text) == (422, True)
    assert client.get("/studies/st_nothing/clinical").status_code == 404
    done = waits.say(client, smear="3")
    assert (done.status_code, done.headers["location"]) == (303, f"/studies/{waits.key}")
    assert waits.judge.look() == 0
    assert waits.say(client, species="not_known").status_code == 303
    assert waits.judge.look() == 1
    waits.node.work()
    assert waits.states() == ["analysed"], waits.told
    assert waits.flags()["clinical_missing"] == (
        "Clinical data missing: species (a person says: not known); the model went on without."
    )
    assert "A person said acid-fast smear." in waits.told
    assert "A person said that nobody knows mycobacterial species." in waits.told
    assert waits.say(client, smear="1", species="kansasii").status_code == 303
    assert "acid-fast smear was said by a person after result 1 was begun; not used" in waits.told
    assert "Said by rao" in client.get(f"/studies/{waits.key}/clinical").text
    with waits.node.rooms.database.connect() as connection:
        rows = list(connection.execute(sa.select(tables.lab_answer)))
    assert [(row.part, row.value, row.login) for row in rows] == [
        *(("smear", "3", "rao"), ("species", "", "rao"), ("smear", "1", "rao"), ("species", "kansasii", "rao"))
    ]
    client.cookies.clear()
    assert client.get(f"/studies/{waits.key}/clinical").status_code == 303
    assert client.post(f"/studies/{waits.key}/clinical", data={}).status_code == 401


def test_on_postgresql_it_waits_is_said_and_is_erased(tmp_path: Path, series: list[Dataset]) -> None:
    with running_postgresql() as server:
        _waits_and_is_erased(Waiting(tmp_path, series, database_url=server.url), series)


def _waits_and_is_erased(waits: Waiting, series: list[Dataset]) -> None:
    waits.node.receive(*series)
    waits.node.work()
    waits.hear(SMEAR)
    assert waits.judge.look() == 0
    waits.say(waits.browser(), species="abscessus")
    assert waits.judge.look() == 1
    assert waits.states() == ["queued"]
    database = waits.node.rooms.database
    with database.begin() as connection:
        (stored,) = runs.unfinished_runs(connection)
        assert stored.wait_minutes == MINUTES
        erasure.erase_study(connection, waits.key, time.time())
        for table in (tables.lab_input, tables.lab_answer):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0
    database.dispose()
