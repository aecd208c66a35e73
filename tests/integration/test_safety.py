"""What must not happen when things go wrong in between: real rooms in one process, faults put in by hand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node import journey
from dicom_node.core.identifiers import study_key
from dicom_node.delivery import step as delivery
from dicom_node.results import repository
from dicom_node.results import step as results
from dicom_node.stages.rooms import Rooms
from dicom_node.store import tables
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.integration.in_process import InProcessNode, _Here

IMAGE, _, _ = chest_phantom(seed=3, size=768)
TWO = {"outputs": ["secondary_capture", "text_report"]}


def chest(seed: str = "safety", **elements: Any) -> Dataset:
    """Return one frontal radiograph of an adult."""
    return as_radiograph(IMAGE, seed=seed, modality="CR", **elements)


def events(node: InProcessNode, dataset: Dataset) -> list[str]:
    """Return what happened to a study, in order."""
    return [line["event"] for line in node.story(str(dataset.StudyInstanceUID))["story"]]


def route(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Request what is due; leave the work in the queue."""
    with monkeypatch.context() as patch:
        patch.setattr(journey, "analyse", lambda *_: None)
        patch.setattr(journey, "build", lambda *_: None)
        patch.setattr(journey, "plan", lambda *_: None)
        queued = node._queue
        runs: list[str] = []
        patch.setattr(queued, "submit_run", lambda _c, key, *_: runs.append(key))
        node.work()
    queued.runs += runs


def test_a_study_that_cannot_be_started_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest due study fails at every sweep: the other is answered, and the story of the first says why it waits, once."""
    node = InProcessNode(tmp_path, destination=TWO)
    bad, good = chest("bad"), chest("good")
    node.receive(bad)
    node.receive(good)
    start = journey.start_study

    def failing(rooms: Rooms, key: str, now: float) -> None:
        if key == study_key(str(bad.StudyInstanceUID)):
            raise OSError("disk")
        start(rooms, key, now)

    monkeypatch.setattr(journey, "start_study", failing)
    monkeypatch.setattr(journey, "PUT_OFF_SECONDS", 0.001)
    node.work()
    node.work()
    assert node.sent() == ["secondary_capture", "text_report"]
    assert events(node, bad).count("study.put_off") == 1
    monkeypatch.setattr(journey, "start_study", start)
    node.work()
    assert len(node.sent()) == 4


@pytest.mark.parametrize("broken", ["once", "always"])
def test_a_result_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """A defect in an output gives a coded refusal; where not even that can be written, the run ends and the story says so."""
    node = InProcessNode(tmp_path, destination=TWO)
    real, calls = results.build_results, []

    def failing(context: Any, roles: Any) -> Any:
        calls.append(roles)
        if len(calls) == 1 or broken == "always":
            raise KeyError("Doe^John")
        return real(context, roles)

    monkeypatch.setattr(results, "build_results", failing)
    story = node.answer(chest())
    assert story["runs"][-1]["state"] == ("not_analysed" if broken == "once" else "failed")
    assert "pipeline_failed" in [line["reason"] for line in story["story"]]
    assert node.sent() == (["text_report"] if broken == "once" else [])
    assert "Doe" not in str([line["text"] for line in story["story"]])
    assert journey.sweep_unfinished(node.rooms) == 0


def test_a_full_disk_is_waited_for_and_counts_as_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes no result for now: the run waits, told once, and gives the true result afterwards."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.receive(chest())
    route(node, monkeypatch)
    (key,) = node._queue.runs

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(repository, "write_artifacts", full)
        for _ in range(25):
            with pytest.raises(OSError, match="No space"):
                journey._patiently(node.rooms, key, lambda: _all(node, key))
    with node.rooms.database.begin() as connection:
        row = connection.execute(sa.select(tables.run)).one()
    assert (row.state, row.crashes) == ("queued", 0)
    assert events(node, chest()).count("run.waiting") == 1
    node.work()
    assert node.story(str(chest().StudyInstanceUID))["runs"][-1]["state"] == "analysed"
    assert node.sent() == ["secondary_capture", "text_report"]


def _all(node: InProcessNode, key: str) -> None:
    """Do the steps of one run, in order."""
    journey.analyse(node.rooms, _Here(), key)  # type: ignore[arg-type]
    journey.build(node.rooms, key)
    journey.plan(node.rooms, key)


def test_a_run_whose_patient_was_corrected_meanwhile_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run waits in the queue, then the patient is corrected: one result goes out, and it names the right patient only."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.receive(chest(PatientID="WRONG"))
    route(node, monkeypatch)
    story = node.answer(chest(PatientID="RIGHT"))
    assert [run["state"] for run in story["runs"]] == ["cancelled", "analysed"]
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"RIGHT"}
    assert len(node.sent_dicom()) == 2


@pytest.mark.parametrize("second", ["other patient", "corrected"])
def test_a_queued_delivery_does_not_leave_once_the_patient_is_in_doubt(tmp_path: Path, second: str) -> None:
    """A destination was down; then two patients are found in the study, or the patient is corrected: the old result stays here."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.out.rmdir()
    node.receive(chest(PatientID="WRONG"))
    later = chest(PatientID="RIGHT") if second == "corrected" else chest(instance="two", PatientID="RIGHT")
    _work_once(node)
    node.out.mkdir()
    node.receive(later)
    node.work()
    assert "WRONG" not in {str(d.PatientID) for d in node.sent_dicom()}
    assert len(node.sent_dicom()) == (2 if second == "corrected" else 0)
    assert "delivery.cancelled" in events(node, later)


def _work_once(node: InProcessNode) -> None:
    """Work until the first attempts have failed and the next ones are queued."""
    time.sleep(0.01)
    journey.sweep_due_studies(node.rooms)
    (key,) = node._queue.runs
    node._queue.runs.clear()
    _all(node, key)
    waiting, node._queue.deliveries = node._queue.deliveries, []
    settings = node.rooms.settings.destinations
    for one, attempt in waiting:
        receipt = delivery.attempt_delivery(node.rooms.database, one, attempt, settings, node.rooms.home.results)
        delivery.settle_delivery(node.rooms.database, one, attempt, receipt, settings, node._queue.submit_delivery)


def test_building_again_keeps_what_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that runs twice does not build whole results again; damaged bytes are built anew and then pass their checksum."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.receive(chest())
    route(node, monkeypatch)
    (key,) = node._queue.runs
    journey.analyse(node.rooms, _Here(), key)  # type: ignore[arg-type]
    journey.build(node.rooms, key)
    with monkeypatch.context() as patch:
        patch.setattr(results, "build_results", lambda *_: pytest.fail("built again"))
        journey.build(node.rooms, key)
    (node.rooms.home.results / key / "text_report.dcm").write_bytes(b"damaged")
    node.work()
    assert node.sent() == ["secondary_capture", "text_report"]


def test_a_run_that_keeps_killing_its_worker_ends_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with findings whose worker has died again and again is closed as failed, with its reason; the sweep is done with it."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.receive(chest())
    route(node, monkeypatch)
    (key,) = node._queue.runs
    journey.analyse(node.rooms, _Here(), key)  # type: ignore[arg-type]
    with node.rooms.database.begin() as connection:
        connection.execute(sa.update(tables.run).values(crashes=journey.MAX_CRASHES, requested_utc=0.0))
    node._queue.runs.clear()
    journey.sweep_unfinished(node.rooms)
    assert node._queue.runs == []
    assert events(node, chest())[-1] == "run.failed"
    assert journey.sweep_unfinished(node.rooms) == 0
