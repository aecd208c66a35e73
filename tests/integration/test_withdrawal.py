"""A result that does not hold any more is taken back wherever it is, and nowhere else: real rooms in one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from pydicom import Dataset, dcmread

from dicom_node import journey
from dicom_node.cli import main
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.core.withdrawal import ROLES, Cause
from dicom_node.delivery import step as delivery
from dicom_node.engine import port
from dicom_node.feedback.tasks import open_task
from dicom_node.stages import withdraw
from dicom_node.stages.withdraw import withdraw_answers, withdraw_void
from dicom_node.store import tables
from dicom_node.store.connect import default_url
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories.dicom_validators import dciodvfy_errors, dsrdump
from tests.factories.rejection_notes import rejection_note
from tests.integration.in_process import InProcessNode
from tests.integration.test_safety import route

IMAGE, _, _ = chest_phantom(seed=3, size=768)
FOUR = {"outputs": ["secondary_capture", "text_report", "diagnostic_report", "oru_message"]}
RESULTS = ["diagnostic_report", "oru_message", "secondary_capture", "text_report"]
TAKEN_BACK = ["withdrawal_message", "withdrawal_note", "withdrawal_report"]
IOCM = ["113001", "113037", "113038", "113039"]


def chest(instance: str = "1", **elements: Any) -> Dataset:
    """Return one frontal radiograph of an adult."""
    return as_radiograph(IMAGE, seed="withdrawal", instance=instance, modality="CR", **elements)


def sent_note(node: InProcessNode) -> Dataset:
    """Return the rejection note that was sent."""
    (path,) = node.out.rglob("withdrawal_note.dcm")
    return dcmread(path)


def texts(story: dict[str, Any]) -> str:
    """Return all that the story says."""
    return " ".join(line["text"] for line in story["story"])


def named(note: Dataset) -> set[str]:
    """Return the SOP Instance UIDs that a note names."""
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    return {
        str(item.ReferencedSOPInstanceUID) for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence
    }


@pytest.mark.parametrize("title", IOCM)
def test_a_rejected_source_image_withdraws_a_delivered_result_everywhere(tmp_path: Path, title: str) -> None:
    """A KOS that names the source after delivery: the PACS, the FHIR server and the RIS get what takes it back; no new result."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.answer(chest())
    story = node.answer(rejection_note(chest(), [chest()], title))
    assert node.sent() == sorted(RESULTS + TAKEN_BACK)
    assert [run["state"] for run in story["runs"]] == ["withdrawn"]
    assert (story["state"], story["hold_reason"]) == ("held", "images_rejected")
    assert story["result"]["status"] == "withdrawn"
    assert {i["state"] for i in story["instances"]} == {"rejected", "rejection_note"}
    assert chest().PatientID not in texts(story)


def test_a_rejected_source_image_stops_a_waiting_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A KOS that names the source before the run began: cancelled, nothing is sent, nothing is taken back."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.receive(chest())
    route(node, monkeypatch)
    story = node.answer(rejection_note(chest(), [chest()]))
    assert [run["state"] for run in story["runs"]] == ["cancelled"]
    assert node.sent() == []


def test_a_note_between_analysis_and_sending_stops_the_sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is made and planned, not sent: the note cancels it, and there is nothing to take back."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.receive(chest())
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "attempt_delivery", lambda *_, **__: Receipt(Outcome.RETRY, "Down.", in_doubt=False))
        patch.setattr(delivery, "settle_delivery", lambda *_: None)
        node.work()
    story = node.answer(rejection_note(chest(), [chest()]))
    assert node.sent() == []
    assert {d["state"] for d in story["deliveries"]} == {"cancelled"}
    assert [run["state"] for run in story["runs"]] == ["withdrawn"]
    assert "sent nowhere" in texts(story)


def test_a_note_that_comes_before_its_image_is_remembered(tmp_path: Path) -> None:
    """A note about a study never seen starts nothing; the image that it names is kept, not analysed; another one is."""
    node = InProcessNode(tmp_path, destination=FOUR)
    story = node.answer(rejection_note(chest(), [chest()]))
    assert (story["state"], story["runs"]) == ("held", [])
    story = node.answer(chest())
    assert (story["runs"], node.sent()) == ([], [])
    assert {i["state"] for i in story["instances"]} == {"rejected", "rejection_note"}
    story = node.answer(chest("2"))
    assert [run["state"] for run in story["runs"]] == ["analysed"]


def test_remaining_images_are_looked_at_again(tmp_path: Path) -> None:
    """The newest of two repeats was read and is rejected: its result is withdrawn, the other one gives result 2 with new UIDs."""
    node = InProcessNode(tmp_path, destination=FOUR)
    first = chest("1", AcquisitionTime="100000")
    second = chest("2", AcquisitionTime="100500")
    node.answer(first, second)
    story = node.answer(rejection_note(first, [second], "113001"))
    assert [run["state"] for run in story["runs"]] == ["withdrawn", "analysed"]
    assert story["revision"] == 2
    assert len(node.sent()) == 2 * len(RESULTS) + len(TAKEN_BACK)
    note = sent_note(node)
    dicom = [d for d in node.sent_dicom() if d.Modality in ("OT", "SR")]
    assert len({d.SOPInstanceUID for d in dicom}) == 4
    assert named(note) == {str(d.SOPInstanceUID) for d in dicom if str(d.SOPInstanceUID) in named(note)}
    assert len(named(note)) == 2


def test_a_rejected_image_that_was_not_read_changes_nothing(tmp_path: Path) -> None:
    """The blurred first take is rejected after the repeat was read: the result stands."""
    node = InProcessNode(tmp_path, destination=FOUR)
    first = chest("1", AcquisitionTime="100000")
    second = chest("2", AcquisitionTime="100500")
    node.answer(first, second)
    story = node.answer(rejection_note(first, [first], "113001"))
    assert [run["state"] for run in story["runs"]] == ["analysed"]
    assert node.sent() == RESULTS
    assert any(line["reason"] == "images_rejected" for line in story["story"])


def test_a_note_about_our_objects_alone_rejects_no_source(tmp_path: Path) -> None:
    """It may be an answer, never a withdrawal; one that names both rejects the sources that it names."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.answer(chest())
    ours = node.sent_dicom()
    story = node.answer(rejection_note(chest(), ours, "113037"))
    assert [run["state"] for run in story["runs"]] == ["analysed"]
    assert node.sent() == RESULTS
    story = node.answer(rejection_note(chest(), [*ours, chest()], "113037", number=2))
    assert [run["state"] for run in story["runs"]] == ["withdrawn"]


def test_a_key_object_selection_that_rejects_nothing_is_no_note(tmp_path: Path) -> None:
    """113000 "Of Interest" naming the source changes nothing."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.answer(chest())
    story = node.answer(rejection_note(chest(), [chest()], "113000"))
    assert [run["state"] for run in story["runs"]] == ["analysed"]
    assert node.sent() == RESULTS


def test_a_corrected_patient_is_answered_anew_and_the_old_result_taken_back(tmp_path: Path) -> None:
    """Corrected Patient ID: each message and object for the wrong patient is taken back from that patient, the new one stands."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.answer(chest(PatientID="WRONG"))
    story = node.answer(chest(PatientID="RIGHT"))
    assert [run["state"] for run in story["runs"]] == ["withdrawn", "analysed"]
    note = sent_note(node)
    assert note.PatientID == "WRONG"
    assert named(note) == {str(d.SOPInstanceUID) for d in node.sent_dicom() if d.PatientID == "WRONG" and d.Modality != "KO"}
    fillers = {line.split("|")[3] for text in node.sent_text(".hl7") for line in text.split("\r") if line.startswith("OBR")}
    assert len(fillers) == 2  # of three messages: the withdrawn result has its own, so that taking it back cannot hit the new one
    bundles = [json.loads(text) for text in node.sent_text(".json")]
    reports = [e["resource"] for b in bundles for e in b["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"]
    by_number: dict[str, set[tuple[str, str]]] = {}
    for report in reports:
        number = report["identifier"][0]["value"]
        by_number.setdefault(number, set()).add((report["subject"]["identifier"]["value"], report["status"]))
    assert sorted(map(sorted, by_number.values())) == [
        [("RIGHT", "partial")],
        [("WRONG", "entered-in-error"), ("WRONG", "partial")],
    ]


def test_the_note_is_valid_and_names_our_objects_only(tmp_path: Path) -> None:
    """No error by dciodvfy, readable by DCMTK, TID 2010 with its title and reason, addressed as the objects were."""
    node = InProcessNode(tmp_path, destination={**FOUR, "outputs": [*FOUR["outputs"], "structured_report", "lung_segmentation"]})
    node.answer(chest(PatientName="Иванов^Иван", SpecificCharacterSet="ISO_IR 144"))
    ours = node.sent_dicom()
    node.answer(rejection_note(chest(), [chest()]))
    (path,) = node.out.rglob("withdrawal_note.dcm")
    assert dciodvfy_errors(path) == []
    assert "Rejected for Quality Reasons" in dsrdump(path)
    note = dcmread(path)
    assert str(note.PatientName) == "Иванов^Иван"
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert note.ContentSequence[0].ConceptNameCodeSequence[0].CodeValue == "113011"
    assert named(note) == {str(d.SOPInstanceUID) for d in ours}
    assert str(chest().SOPInstanceUID) not in note.to_json()
    assert note.SeriesNumber == 9009


def test_the_title_of_the_note_is_a_setting(tmp_path: Path) -> None:
    """113037 carries no quality reason."""
    node = InProcessNode(tmp_path, destination=FOUR, results={"withdrawal_title": "113037"})
    node.answer(chest())
    node.answer(rejection_note(chest(), [chest()]))
    note = sent_note(node)
    assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
    assert "113011" not in note.to_json()
    (path,) = node.out.rglob("withdrawal_note.dcm")
    assert dciodvfy_errors(path) == []


def test_the_message_says_w_under_the_same_numbers(tmp_path: Path) -> None:
    """OBR-3, OBX-3 and OBX-4 as sent, OBX-11 W, no flag, another control id; never F or C; valid HL7."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.answer(chest())
    (before,) = (text.split("\r") for text in node.sent_text(".hl7"))
    node.answer(rejection_note(chest(), [chest()]))
    (path,) = node.out.rglob("withdrawal_message.hl7")
    text = path.read_bytes().decode()
    parse_message(text, validation_level=VALIDATION_LEVEL.STRICT)
    after = text.split("\r")

    def rows(lines: list[str], segment: str, *fields: int) -> list[tuple[str, ...]]:
        found = [line.split("|") for line in lines if line.startswith(segment + "|")]
        return [tuple(line[n] if n < len(line) else "" for n in fields) for line in found]

    assert rows(after, "OBX", 1, 3, 4) == rows(before, "OBX", 1, 3, 4)
    assert rows(after, "OBR", 1, 3, 4) == rows(before, "OBR", 1, 3, 4)
    assert rows(after, "PID", 3, 5) == rows(before, "PID", 3, 5)
    assert set(rows(after, "OBX", 11)) == {("W",)}
    assert set(rows(after, "OBX", 8)) == {("",)}
    assert rows(after, "OBR", 25) == [("X",)]
    assert rows(after, "MSH", 9) != rows(before, "MSH", 9)
    assert "WITHDRAWN" in text


def test_a_person_withdraws_a_result(tmp_path: Path) -> None:
    """By command: taken back everywhere, once, and nobody is asked about it any more; a late lateral does not bring it back."""
    node = InProcessNode(tmp_path, destination=FOUR)
    made = node.answer(chest())
    key = made["study_key"]
    with node.rooms.database.begin() as connection:
        open_task(connection, "gray_zone", made["runs"][0]["run_key"], key, "Near the threshold.")
    assert withdraw_answers(node.rooms, key, Cause.FAULTY_RESULT) == 1
    assert withdraw_answers(node.rooms, key, Cause.FAULTY_RESULT) == 0
    with node.rooms.database.connect() as connection:
        assert connection.execute(sa.select(tables.task.c.closed_by)).scalar() == "the result was withdrawn"
    node.work()
    assert node.sent() == sorted(RESULTS + TAKEN_BACK)
    story = node.answer(chest("lateral", ViewPosition="LL"))
    assert [run["state"] for run in story["runs"]] == ["withdrawn"]
    assert "A person found this result faulty" in texts(story)


def test_what_was_withheld_is_not_taken_back(tmp_path: Path) -> None:
    """A silent rule sent nothing: the run is withdrawn, and nothing leaves the node."""
    node = InProcessNode(tmp_path, rule={"release": "silent"}, destination=FOUR)
    node.answer(chest())
    story = node.answer(rejection_note(chest(), [chest()]))
    assert [run["state"] for run in story["runs"]] == ["withdrawn"]
    assert node.sent() == []


def test_an_attempt_whose_answer_was_lost_counts_as_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer may have it: it is taken back there. What a peer surely refused is not."""
    from dicom_node.core.errors import DimseFailure, PeerTimeout
    from dicom_node.delivery.destinations import folder

    node = InProcessNode(tmp_path, destination=FOUR)
    real = folder.send

    def send(artifact: Any, settings: Any) -> Receipt:
        if artifact.role == "oru_message":
            raise PeerTimeout("The receiver did not acknowledge the message in time.")
        if artifact.role in ("text_report", "secondary_capture", "diagnostic_report"):
            raise DimseFailure("Status 0xA700.", status=0xA700, temporary=True)
        return real(artifact, settings)

    node.receive(chest())
    with monkeypatch.context() as patch:
        patch.setattr(folder, "send", send)
        submit = node._queue.submit_delivery
        patch.setattr(node._queue, "submit_delivery", lambda *args: submit(*args) if args[2] == 1 else None)
        node.work()
    node.answer(rejection_note(chest(), [chest()]))
    assert node.sent() == ["withdrawal_message"]


def test_what_arrives_after_its_withdrawal_is_taken_back_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is on its way while the result is withdrawn, and arrives: the withdrawal follows it once more."""
    from dicom_node.delivery.destinations import folder

    node = InProcessNode(tmp_path, destination={"outputs": ["text_report"]})
    real, order = folder.send, []

    def send(artifact: Any, settings: Any) -> Receipt:
        order.append(artifact.role)
        if artifact.role == "text_report":
            withdraw_answers(node.rooms, artifact_study(node), Cause.WRONG_PATIENT)
            for delivery_id, attempt in _drain(node):  # the note overtakes the report
                _deliver(node, delivery_id, attempt)
        return real(artifact, settings)

    monkeypatch.setattr(folder, "send", send)
    node.answer(chest())
    assert order == ["text_report", "withdrawal_note", "withdrawal_note"]
    story = node.story(str(chest().StudyInstanceUID))
    assert {(d["role"], d["state"]) for d in story["deliveries"]} == {("text_report", "done"), ("withdrawal_note", "done")}


def artifact_study(node: InProcessNode) -> str:
    """Return the key of the one study."""
    return str(node.story(str(chest().StudyInstanceUID))["study_key"])


def _drain(node: InProcessNode) -> list[tuple[str, int]]:
    waiting, node._queue.deliveries = node._queue.deliveries, []
    return waiting


def _deliver(node: InProcessNode, delivery_id: str, attempt: int) -> None:
    settings = node.rooms.settings.destinations
    receipt = delivery.attempt_delivery(node.rooms.database, delivery_id, attempt, settings, node.rooms.home.results)
    delivery.settle_delivery(node.rooms.database, delivery_id, attempt, receipt, settings, node._queue.submit_delivery)


def test_a_crash_between_correction_and_withdrawal_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The withdrawal fails at first: the next sweep withdraws; doing it again adds nothing."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.answer(chest())

    def failing(*_: Any) -> None:
        raise OSError("disk")

    node.receive(rejection_note(chest(), [chest()]))
    with monkeypatch.context() as patch:
        patch.setattr(withdraw.artifacts, "write_artifacts", failing)
        patch.setattr(journey, "PUT_OFF_SECONDS", 0.001)
        node.work()
    assert node.sent() == RESULTS
    node.work()
    assert node.sent() == sorted(RESULTS + TAKEN_BACK)
    assert withdraw_void(node.rooms) == 0


def test_a_result_that_cannot_be_read_any_more_is_withdrawn_all_the_same(tmp_path: Path) -> None:
    """The stored report is damaged: the rest is taken back, and the story tells what a person must do."""
    node = InProcessNode(tmp_path, destination=FOUR)
    story = node.answer(chest())
    (path,) = (node.rooms.home.results / story["runs"][0]["run_key"]).glob("oru_message.hl7")
    path.write_bytes(b"damaged")
    story = node.answer(rejection_note(chest(), [chest()]))
    assert [run["state"] for run in story["runs"]] == ["withdrawn"]
    assert node.sent() == sorted([*RESULTS, "withdrawal_note", "withdrawal_report"])
    assert "a person must do it at the receiver" in texts(story)


def test_a_late_image_replaces_in_place_and_withdraws_nothing(tmp_path: Path) -> None:
    """A newer frontal: result 2 replaces 1 under the same message numbers, no withdrawal; both are taken back by one rejection."""
    node = InProcessNode(tmp_path, destination=FOUR)
    first = chest("1", AcquisitionTime="100000")
    second = chest("2", AcquisitionTime="100500")
    node.answer(first)
    story = node.answer(second)
    assert [run["state"] for run in story["runs"]] == ["analysed", "analysed"]
    assert not ROLES.intersection(node.sent())
    numbers = {line.split("|")[3] for text in node.sent_text(".hl7") for line in text.split("\r") if line.startswith("OBR")}
    assert len(numbers) == 1
    second_message = [text for text in node.sent_text(".hl7") if "Result 2, replaces 1" in text]
    assert len(second_message) == 1
    assert {line.split("|")[11] for line in second_message[0].split("\r") if line.startswith("OBX")} <= {"P", "X"}
    statuses = [e["resource"].get("status") for t in node.sent_text(".json") for e in json.loads(t)["entry"]]
    assert set(statuses) <= {"partial", "preliminary", "active", "available", None}
    key = story["study_key"]
    assert withdraw_answers(node.rooms, key, Cause.WRONG_PATIENT) == 2
    node.work()
    assert [name for name in node.sent() if name in ROLES] == [
        "withdrawal_message",
        "withdrawal_note",
        "withdrawal_note",
        "withdrawal_report",
    ]


def test_our_note_that_comes_back_rejects_nothing(tmp_path: Path) -> None:
    """A PACS forwards our own withdrawal to us: it is ours, and no image of the study is touched."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.answer(chest())
    withdraw_answers(node.rooms, artifact_study(node), Cause.WRONG_PATIENT)
    node.work()
    story = node.answer(sent_note(node))
    assert {i["state"] for i in story["instances"]} == {"current", "ours"}
    assert story["revision"] == 1


def test_the_command_withdraws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``studies withdraw`` submits what takes the result back; without a reason, or for a word that is none, it does nothing."""
    node = InProcessNode(tmp_path, destination=FOUR)
    key = node.answer(chest())["study_key"]
    home = node.rooms.home.path
    port.prepare_tables(default_url(home))
    with pytest.raises(SystemExit):
        main(["studies", "withdraw", key, "--home", str(home), "--reason", "Doe^Jane"])
    assert main(["studies", "withdraw", key, "--home", str(home)]) == 2
    for told in ("1 result(s) withdrawn", "nothing to withdraw"):
        assert main(["studies", "withdraw", key, "--home", str(home), "--reason", "wrong-patient"]) == 0
        assert told in capsys.readouterr().out
    engine = port.Port(node.rooms.database)
    try:
        assert len(engine.alive("dlv:")) == len(TAKEN_BACK)
    finally:
        engine.close()
    assert main(["studies", "--home", str(home)]) == 0
    assert "Withdrawn. A person found that this result was addressed to the wrong patient." in capsys.readouterr().out


def test_a_replacement_that_was_never_sent_does_not_keep_the_message_standing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Result 1 is at the RIS, result 2 still waits to be sent: both are withdrawn, so the RIS is told of result 1."""
    node = InProcessNode(tmp_path, destination={"outputs": ["oru_message"]})
    node.answer(chest("1", AcquisitionTime="100000"))
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "attempt_delivery", lambda *_, **__: Receipt(Outcome.RETRY, "Down.", in_doubt=False))
        patch.setattr(delivery, "settle_delivery", lambda *_: None)
        node.answer(chest("2", AcquisitionTime="100500"))
    assert node.sent() == ["oru_message"]
    assert withdraw_answers(node.rooms, artifact_study(node), Cause.WRONG_PATIENT) == 2
    node.work()
    assert node.sent() == ["oru_message", "withdrawal_message"]


def test_a_person_also_stops_what_is_not_answered_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Withdrawn while the run waits: nothing is made or sent, and a lateral that comes later does not bring it back."""
    node = InProcessNode(tmp_path, destination=FOUR)
    node.receive(chest())
    route(node, monkeypatch)
    assert withdraw_answers(node.rooms, artifact_study(node), Cause.WRONG_PATIENT) == 1
    node.work()
    story = node.answer(chest("lateral", ViewPosition="LL"))
    assert ([run["state"] for run in story["runs"]], node.sent()) == (["withdrawn"], [])


@pytest.mark.parametrize("begun", [True, False])
def test_an_answer_that_is_lost_after_the_withdrawal_is_followed_by_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """The withdrawal goes while an object is on its way, whose answer never comes; a refusal that is certain is not followed."""
    from dicom_node.core.errors import DimseFailure, PeerTimeout
    from dicom_node.delivery.destinations import folder

    node = InProcessNode(tmp_path, destination={"outputs": ["text_report"]})
    real, order = folder.send, []

    def send(artifact: Any, settings: Any) -> Receipt:
        order.append(artifact.role)
        if artifact.role != "text_report":
            return real(artifact, settings)
        withdraw_answers(node.rooms, artifact_study(node), Cause.WRONG_PATIENT)
        for delivery_id, attempt in _drain(node):
            _deliver(node, delivery_id, attempt)
        if begun:
            raise PeerTimeout("The PACS did not answer the C-STORE in time.")
        raise DimseFailure("Status 0xA700.", status=0xA700, temporary=True)

    monkeypatch.setattr(folder, "send", send)
    story = node.answer(chest())
    assert order == ["text_report", "withdrawal_note", *(["withdrawal_note"] if begun else [])]
    assert {(d["role"], d["state"]) for d in story["deliveries"]} == {("text_report", "cancelled"), ("withdrawal_note", "done")}


def _undelivered(node: InProcessNode, patch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Let nothing be delivered while the patch holds; what was to be sent is in the list."""
    kept: list[tuple[str, int]] = []
    patch.setattr(node._queue, "submit_delivery", lambda *args: kept.append((args[1], args[2])))
    return kept


@pytest.mark.parametrize("second_goes_out", [True, False])
def test_a_withdrawal_that_waits_gives_way_only_to_a_result_that_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second_goes_out: bool
) -> None:
    """The RIS has result 1 and is down; 1 is withdrawn, 2 is made. If 2 arrives, it stands; if it never does, 1 is taken back."""
    node = InProcessNode(tmp_path, destination={"outputs": ["oru_message"]})
    node.answer(chest("1", AcquisitionTime="100000"))
    key = artifact_study(node)
    with monkeypatch.context() as patch:
        withdrawal = _undelivered(node, patch)
        withdraw_answers(node.rooms, key, Cause.FAULTY_RESULT)
    with monkeypatch.context() as patch:
        second = _undelivered(node, patch)
        node.answer(chest("2", AcquisitionTime="100500"))
    assert (len(withdrawal), len(second)) == (1, 1)
    if second_goes_out:
        node._queue.deliveries = [*second, *withdrawal]
    else:
        withdraw_answers(node.rooms, key, Cause.FAULTY_RESULT)
        node._queue.deliveries += [*second, *withdrawal]
    node.work()
    expected = ["oru_message", "oru_message"] if second_goes_out else ["oru_message", "withdrawal_message"]
    assert node.sent() == expected


def test_one_result_that_cannot_be_withdrawn_does_not_keep_the_others_standing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two studies with results that do not hold: the first's folder cannot be written, the second is taken back all the same."""
    node = InProcessNode(tmp_path, destination={"outputs": ["text_report"]})
    bad, good = chest(), as_radiograph(IMAGE, seed="another", instance="1", modality="CR")
    keys = [node.answer(one)["study_key"] for one in (bad, good)]
    real = withdraw.artifacts.write_artifacts
    first = node.story(str(bad.StudyInstanceUID))["runs"][0]["run_key"]

    def write(root: Path, made: Any) -> None:
        if any(one.run_key == first for one in made):
            raise OSError("disk")
        real(root, made)

    monkeypatch.setattr(withdraw.artifacts, "write_artifacts", write)
    with node.rooms.database.begin() as connection:
        connection.execute(sa.update(tables.study).where(tables.study.c.study_key.in_(keys)).values(revision=2))
    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            withdraw_void(node.rooms)
    told = texts(node.story(str(bad.StudyInstanceUID)))
    assert told.count("result 1 cannot be withdrawn for now (OSError)") == 1
    states = [node.story(str(one.StudyInstanceUID))["runs"][0]["state"] for one in (bad, good)]
    assert states == ["analysed", "withdrawn"]
