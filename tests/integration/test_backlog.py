"""After an outage, and after the radiologist: the urgent comes first, the old makes no noise, what is too late stays here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node import journey
from dicom_node.core.identifiers import study_key
from dicom_node.core.run import Priority
from dicom_node.core.withdrawal import Cause
from dicom_node.inference import repository as runs
from dicom_node.orders import repository as orders
from dicom_node.stages.rooms import Rooms
from dicom_node.stages.withdraw import withdraw_answers
from dicom_node.store import tables
from dicom_node.studies.account import list_studies
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories.rejection_notes import rejection_note
from tests.integration.in_process import InProcessNode
from tests.unit.delivery.test_hl7_mllp import peer

NORMAL, _, _ = chest_phantom(seed=3, size=768)
ABNORMAL, _, _ = chest_phantom(seed=3, size=768, abnormal=True)
ACCESSION = "ACC-77"
OUTPUTS = {"outputs": ["secondary_capture", "key_objects", "diagnostic_report", "oru_message"]}


def chest(seed: str = "backlog", image: Any = NORMAL, **elements: Any) -> Dataset:
    """Return one frontal radiograph of an adult."""
    return as_radiograph(image, seed=seed, modality="CR", AccessionNumber=ACCESSION, **elements)


def report_comes(node: InProcessNode, status: str = "F") -> None:
    """Let the RIS tell of the radiologist's report."""
    with node.rooms.database.begin() as connection:
        orders.keep_order(connection, ACCESSION, time.time(), report_status=status, report_utc=time.time())


def flags(node: InProcessNode) -> list[str]:
    """Return OBX-8 of every message that was sent."""
    lines = [line.split("|") for text in node.sent_text(".hl7") for line in text.split("\r") if line.startswith("OBX|")]
    return [line[8] for line in lines if line[8]]


def test_the_newest_study_is_started_second_however_long_the_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 due studies: the newest and the oldest take turns, each is started once."""
    node = InProcessNode(tmp_path)
    with node.rooms.database.begin() as connection:
        for n in range(300):
            common = {"state": "receiving", "first_received_utc": n, "last_received_utc": n, "ceiling_utc": n, "revision": 1}
            connection.execute(
                sa.insert(tables.study).values(
                    study_key=f"st_{n:03}", study_instance_uid=f"1.2.{n}", deadline_utc=float(n), **common
                )
            )
    started: list[str] = []

    def start(rooms: Rooms, key: str, now: float) -> None:
        started.append(key)
        if len(started) == 10:
            with node.rooms.database.begin() as connection:
                late = {"state": "receiving", "first_received_utc": 1, "last_received_utc": 1, "ceiling_utc": 1, "revision": 1}
                connection.execute(
                    sa.insert(tables.study).values(study_key="st_stat", study_instance_uid="1.3", deadline_utc=time.time(), **late)
                )

    monkeypatch.setattr(journey, "start_study", start)
    assert journey.sweep_due_studies(node.rooms) == 301
    assert started[:3] == ["st_299", "st_000", "st_298"]
    assert started.index("st_stat") == 10
    assert len(set(started)) == 301


def test_the_order_makes_a_study_urgent(tmp_path: Path) -> None:
    """The more urgent of rule and order counts; an order that says nothing changes nothing."""
    node = InProcessNode(tmp_path, destination=OUTPUTS)
    with node.rooms.database.begin() as connection:
        orders.keep_order(connection, ACCESSION, time.time(), priority="stat")
    run_key = node.answer(chest())["runs"][0]["run_key"]
    with node.rooms.database.begin() as connection:
        assert runs.load_run(connection, run_key).request.priority is Priority.STAT


def test_a_fresh_positive_result_flags_and_an_old_one_does_not(tmp_path: Path) -> None:
    """Worked off after an outage, the result says what it found, without OBX-8 and without key objects."""
    fresh = InProcessNode(tmp_path / "fresh", destination=OUTPUTS)
    fresh.answer(chest(image=ABNORMAL))
    assert "A" in flags(fresh)
    old = InProcessNode(tmp_path / "old", rule={"max_flag_age_hours": 0.001}, destination=OUTPUTS)
    story = old.answer(chest(image=ABNORMAL, StudyDate="20200101"))
    assert flags(old) == []
    assert old.sent() == ["diagnostic_report", "oru_message", "secondary_capture"]
    assert "without a flag. The study is older than 0.001 hours." in str(story["story"])


def test_flags_are_capped_an_hour(tmp_path: Path) -> None:
    """The third positive result within an hour goes out without a flag, and its story says so."""
    node = InProcessNode(tmp_path, rule={"max_flags_per_hour": 2}, destination=OUTPUTS)
    stories = [node.answer(chest(f"flag{n}", ABNORMAL)) for n in range(3)]
    assert flags(node).count("A") == 2
    assert node.sent().count("oru_message") == 3
    assert ["flag.withheld" in str(story["story"]) for story in stories] == [False, False, True]


def test_the_decision_on_the_flag_is_made_once(tmp_path: Path) -> None:
    """A result that is built again after a damage has the same bytes, although the hour's flags are used up by then."""
    node = InProcessNode(tmp_path, rule={"max_flags_per_hour": 1}, destination=OUTPUTS)
    node.receive(chest(image=ABNORMAL))
    time.sleep(0.01)
    journey.sweep_due_studies(node.rooms)
    (key,) = node._queue.runs
    from tests.integration.in_process import _Here

    journey.analyse(node.rooms, _Here(), key)  # type: ignore[arg-type]
    journey.build(node.rooms, key)
    (message,) = (node.rooms.home.results / key).glob("oru_message.hl7")
    before = message.read_bytes()
    message.unlink()
    journey.build(node.rooms, key)
    assert message.read_bytes() == before
    assert b"|A|" in before


@pytest.mark.parametrize(("after_report", "sent"), [("hold", []), ("quiet", ["diagnostic_report", "secondary_capture"])])
def test_after_the_final_report(tmp_path: Path, after_report: str, sent: list[str]) -> None:
    """hold: analysed, nothing sent, on the list of discrepancies; quiet: stored, without message and flag."""
    node = InProcessNode(tmp_path, rule={"after_report": after_report}, destination=OUTPUTS)
    report_comes(node)
    story = node.answer(chest(image=ABNORMAL))
    assert story["result"]["status"] == "analysed"
    assert node.sent() == sent
    assert "final report" in str(story["story"])
    with node.rooms.database.begin() as connection:
        assert [item["study_key"] for item in list_studies(connection, discrepancies=True)] == [story["study_key"]]


def test_a_preliminary_report_holds_nothing(tmp_path: Path) -> None:
    """Only F and C are a report."""
    node = InProcessNode(tmp_path, destination=OUTPUTS)
    report_comes(node, "P")
    story = node.answer(chest(image=ABNORMAL))
    assert node.sent() == ["diagnostic_report", "key_objects", "oru_message", "secondary_capture"]
    with node.rooms.database.begin() as connection:
        assert list_studies(connection, discrepancies=True) == []
    assert story["result"]["status"] == "analysed"


def test_a_report_that_comes_between_planning_and_sending_withholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again before sending."""
    node = InProcessNode(tmp_path, destination=OUTPUTS)
    plan = journey.plan

    def plan_then_report(rooms: Rooms, key: str) -> None:
        plan(rooms, key)
        report_comes(node)

    monkeypatch.setattr(journey, "plan", plan_then_report)
    story = node.answer(chest())
    assert node.sent() == []
    assert {d["state"] for d in story["deliveries"]} == {"withheld"}


class Ris:
    """A RIS that holds reports by accession number and what the node told it by the node's own numbers."""

    def __init__(self) -> None:
        self.reports = {ACCESSION: ("F", "Normal chest.")}
        self.told: dict[str, set[str]] = {}

    def read(self, messages: list[bytes]) -> None:
        """Take messages as a RIS does: by OBR-18 or OBR-3 it finds a report, and any F or C replaces it."""
        for message in messages:
            segments = [line.split("|") for line in message.decode().split("\r") if line]
            order = next(fields for fields in segments if fields[0] == "OBR")
            statuses = {fields[11] for fields in segments if fields[0] == "OBX"}
            number = (order + [""] * 19)[18] or order[3].partition("^")[0]
            if any(fields[0] == "ORC" for fields in segments) or (number in self.reports and statuses & {"F", "C", "D"}):
                self.reports[number] = ("changed", message.decode())
            self.told.setdefault(order[3], set()).update(statuses)


@pytest.fixture
def ris() -> Iterator[Any]:
    """A receiver that says yes to everything."""
    with peer("AA") as server:
        yield server


def to_ris(server: Any) -> dict[str, Any]:
    """Return destinations with the RIS as ``pacs``, the name that the rule sends to."""
    common = {"kind": "hl7_mllp", "host": "127.0.0.1", "port": server.server_address[1], "allow_unvalidated": True}
    return {"destinations": {"pacs": common}, "results": {"hl7": {"accession_field": "OBR-18"}}}


@pytest.mark.parametrize(("known", "messages"), [("before", 0), ("after", 2)])
def test_a_ris_that_holds_the_final_report_is_unchanged(tmp_path: Path, ris: Any, known: str, messages: int) -> None:
    """Run, re-run and withdrawal: the radiologist's report stays; known before, the RIS is not even told."""
    node = InProcessNode(tmp_path, **to_ris(ris))
    if known == "before":
        report_comes(node)
    node.answer(chest())
    report_comes(node)
    node.answer(chest(PatientID="RIGHT"))  # corrected: the first is taken back, the second is withheld
    story = node.answer(rejection_note(chest(), [chest()]))
    assert [run["state"] for run in story["runs"]] == ["withdrawn", "withdrawn"]
    system = Ris()
    system.read(ris.messages)
    assert system.reports == {ACCESSION: ("F", "Normal chest.")}
    assert len(ris.messages) == messages
    assert all(statuses <= {"P", "X", "W"} for statuses in system.told.values())


def test_a_person_sees_why_a_study_is_on_the_list(tmp_path: Path) -> None:
    """The discrepancy list holds what was withheld for the report, and nothing else."""
    node = InProcessNode(tmp_path, destination=OUTPUTS)
    node.answer(chest("other"))
    report_comes(node)
    story = node.answer(chest("reported"))
    with node.rooms.database.begin() as connection:
        listed = list_studies(connection, discrepancies=True)
    assert [item["study_key"] for item in listed] == [story["study_key"]]
    assert listed[0]["study_key"] == study_key(str(chest("reported").StudyInstanceUID))
    withdraw_answers(node.rooms, story["study_key"], Cause.FAULTY_RESULT)
    with node.rooms.database.begin() as connection:
        assert list_studies(connection, discrepancies=True) == []
