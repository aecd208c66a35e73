"""What an answer does, at a real Orthanc, a FHIR R4 server and an HL7 receiver: told once, never final; released, hidden."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydicom import Dataset, dcmread, dcmwrite

from dicom_node.core.delivery import Receipt
from dicom_node.core.errors import PeerTimeout
from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Statement, Targets, Verdict
from dicom_node.core.withdrawal import Cause
from dicom_node.delivery import answers
from dicom_node.delivery.destinations import folder
from dicom_node.demo.peers import LOOPBACK, OrthancPacs, Process, free_ports, start_fhir, start_mllp
from dicom_node.feedback.step import Desk, Recorded, record
from dicom_node.results import repository
from dicom_node.stages.answers.after_answer import EVERY_SECONDS, SETTLE_SECONDS, AfterAnswers
from dicom_node.stages.answers.documents import AnswerDocuments
from dicom_node.stages.withdraw import withdraw_answers
from dicom_node.store import tables
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories.dicom_validators import dciodvfy_errors, dsrdump
from tests.integration.in_process import InProcessNode

IMAGE, _, _ = chest_phantom(seed=3, size=512)
FOUR = {"outputs": ["secondary_capture", "text_report", "diagnostic_report", "oru_message"]}
RESULTS = ["diagnostic_report", "oru_message", "secondary_capture", "text_report"]
READERS = [
    {"name": "Rao^Asha^^Dr.", "role": "radiologist", "login": "asha"},
    {"name": "Kim^Min", "role": "radiologist", "login": "min"},
    {"name": "Doe^Tom", "role": "technologist", "login": "tom"},
]
ACCEPTED, REJECTED, AMENDED = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.AMENDED


def told(number: int) -> list[str]:
    """Return what lies in a folder destination once row ``number`` was told of."""
    return [f"assessment-{number}", f"assessment_message-{number}", f"assessment_report-{number}"]


class Department:
    """A node in this process with one answered study, and the timer that follows answers."""

    def __init__(self, path: Path, name: str = "answer", **made: Any) -> None:
        self.name = name
        self.node = InProcessNode(path, readers=READERS, **{"destination": FOUR, **made})
        self.after = AfterAnswers(self.node.rooms)
        self.node.answer(self.chest())

    def chest(self, **elements: Any) -> Dataset:
        return as_radiograph(IMAGE, seed=self.name, instance=elements.pop("instance", "1"), modality="CR", **elements)

    @property
    def story(self) -> dict[str, Any]:
        return self.node.story(str(self.chest().StudyInstanceUID))

    @property
    def texts(self) -> str:
        return " ".join(line["text"] for line in self.story["story"])

    @property
    def run_key(self) -> str:
        return str(self.story["runs"][-1]["run_key"])

    def say(self, verdict: Verdict, finding: str = "", login: str = "asha", **statement: Any) -> Recorded:
        """Record an answer as the page does."""
        rooms = self.node.rooms
        claim = Claim(
            Channel.WEB,
            uuid.uuid4().hex,
            dt.datetime.now(dt.UTC),
            Targets(run_key=self.run_key),
            ReaderClaim("login", login, login, authenticated=True),
            (Statement(verdict, finding, **statement),),
        )
        with rooms.database.begin() as connection:
            return record(connection, claim, desk=Desk(rooms.home, rooms.settings.readers, rooms.settings.feedback))

    def look(self, after: AfterAnswers | None = None) -> None:
        """Let the answers settle, follow them, and send what follows."""
        for ahead in (0.0, EVERY_SECONDS):
            (after or self.after).look(time.time() + SETTLE_SECONDS + ahead)
            self.node.work()

    def answer(self, verdict: Verdict, finding: str = "", login: str = "asha", **statement: Any) -> None:
        assert self.say(verdict, finding, login, **statement).state == "read"
        self.look()

    def count(self, table: sa.Table) -> int:
        with self.node.rooms.database.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


# ---------------------------------------------------------------- real peers


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An Orthanc, a FHIR server and an HL7 receiver on loopback."""
    work = tmp_path_factory.mktemp("peers")
    dicom, http, fhir, hl7 = free_ports(4)
    pacs = OrthancPacs(work, dicom, http, "AINODE", 1)
    started: list[Process] = []
    try:
        server, name = start_fhir(work, fhir)
        started.append(server)
        assert "R4 server" in name, "run `make setup`: the FHIR peer needs Node.js and its packages"
        receiver, messages = start_mllp(work, hl7)
        started.append(receiver)
        yield {"pacs": pacs, "fhir": f"http://{LOOPBACK}:{fhir}", "hl7": hl7, "messages": messages}
    finally:
        pacs.stop()
        for process in started:
            process.stop()


def at_peers(path: Path, peers: dict[str, Any], name: str, **pacs: Any) -> Department:
    """Return a department whose results go to the real peers."""
    common = {"allow_unvalidated": True}
    where = {"ae_title": "DEMOPACS", "host": LOOPBACK, "port": peers["pacs"].dicom_port}
    return Department(
        path,
        name,
        rule={"destinations": ["pacs", "fhir", "ris"]},
        destinations={
            "pacs": {"kind": "dicom_store", **where, **common, **pacs},
            "fhir": {"kind": "fhir_rest", "base_url": peers["fhir"], **common},
            "ris": {"kind": "hl7_mllp", "host": LOOPBACK, "port": peers["hl7"], **common},
        },
    )


def held(url: str, kind: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{url}/{kind}", trust_env=False).json()
    return [entry["resource"] for entry in answer.get("entry", ())]


def messages_of(peers: dict[str, Any]) -> list[str]:
    return [path.read_text() for path in sorted(peers["messages"].iterdir(), key=lambda path: path.stat().st_mtime_ns)]


def assessments(objects: list[Dataset]) -> list[Dataset]:
    found = [ds for ds in objects if ds.Modality == "SR" and ds.ConceptNameCodeSequence[0].CodeValue == "AI-ASSESSMENT"]
    return sorted(found, key=lambda ds: int(ds.InstanceNumber))


def verdict_codes(report: Dataset) -> list[str]:
    containers = [item for item in report.ContentSequence if item.ValueType == "CONTAINER"]
    items = [item for box in containers for item in box.ContentSequence if item.ValueType == "CODE"]
    return [i.ConceptCodeSequence[0].CodeValue for i in items if i.ConceptNameCodeSequence[0].CodeValue == "ASSESSMENT"]


def test_the_record_shows_that_a_person_disagreed(tmp_path: Path, peers: dict[str, Any]) -> None:
    """Rejected, then accepted: one SR each, the second names the first; FHIR two more versions; ORU P again."""
    final = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "Chest"}, "conclusion": "Clear."}
    ris = httpx.post(f"{peers['fhir']}/DiagnosticReport", json=final, trust_env=False).json()
    place = at_peers(tmp_path, peers, "record")
    study = str(place.chest().StudyInstanceUID)
    assert len(peers["pacs"].fetch(study)) == 2
    (ours,) = [r for r in held(peers["fhir"], "DiagnosticReport") if r["id"] != ris["id"]]
    (first_message,) = messages_of(peers)

    place.answer(REJECTED)
    (one,) = assessments(peers["pacs"].fetch(study))
    path = tmp_path / "one.dcm"
    dcmwrite(path, one, enforce_file_format=True)
    assert dciodvfy_errors(path) == []
    assert "AI result rejected" in dsrdump(path)
    assert (one.VerificationFlag, verdict_codes(one)) == ("UNVERIFIED", ["REJECT"])
    assert str(one.PatientID) == str(place.chest().PatientID)
    versions = httpx.get(f"{peers['fhir']}/DiagnosticReport/{ours['id']}/_history", trust_env=False).json()["entry"]
    assert len(versions) == 2
    now = httpx.get(f"{peers['fhir']}/DiagnosticReport/{ours['id']}", trust_env=False).json()
    assert (now["status"], now["identifier"]) == ("partial", ours["identifier"])
    assert "ANSWER: An authenticated radiologist rejected this AI result." in now["conclusion"]
    assert {o["status"] for o in held(peers["fhir"], "Observation")} == {"preliminary"}

    def rows(text: str, segment: str, *fields: int) -> list[tuple[str, ...]]:
        lines = [line.split("|") for line in text.splitlines() if line.startswith(segment + "|")]
        return [tuple(line[n] if n < len(line) else "" for n in fields) for line in lines]

    _, message = messages_of(peers)
    assert rows(message, "OBR", 3, 4, 25) == rows(first_message, "OBR", 3, 4, 25)
    old = rows(first_message, "OBX", 3, 4, 11)
    new = rows(message, "OBX", 3, 4, 11)
    assert new[:-1] == old
    assert new[-1] == ("ASSESSMENT^Assessment of the AI result^99PACSAI", "RESULT", "P")
    assert not {status for *_, status in new} & {"F", "C"}

    place.answer(ACCEPTED)
    one, two = assessments(peers["pacs"].fetch(study))
    assert verdict_codes(two) == ["ACCEPT"]
    (named,) = two.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert len(httpx.get(f"{peers['fhir']}/DiagnosticReport/{ours['id']}/_history", trust_env=False).json()["entry"]) == 3
    assert len(messages_of(peers)) == 3
    for sweep in (place.after, AfterAnswers(place.node.rooms)):  # as it is, and after a restart
        place.look(sweep)
        place.look(sweep)
    assert len(peers["pacs"].fetch(study)) == 4
    assert len(messages_of(peers)) == 3
    assert httpx.get(f"{peers['fhir']}/DiagnosticReport/{ris['id']}", trust_env=False).json() == ris

    # what the archive forwards back to us is no answer and no image
    rows_before, runs_before = place.count(tables.verdict), place.count(tables.run)
    place.node.receive(*[ds for ds in peers["pacs"].fetch(study) if ds.Modality in ("SR", "KO")])
    documents_are_read(place)
    place.look(AfterAnswers(place.node.rooms))
    assert (place.count(tables.verdict), place.count(tables.run)) == (rows_before, runs_before)
    assert len(peers["pacs"].fetch(study)) == 4


def documents_are_read(place: Department) -> None:
    """Let the room of answers read the documents that came."""
    rooms = place.node.rooms
    AnswerDocuments(rooms.home, rooms.settings, rooms.database).sweep()


def test_a_person_who_answered_by_fhir_is_not_overwritten(tmp_path: Path, peers: dict[str, Any]) -> None:
    """The report on the server was made final by a person: what tells of an answer leaves it, and says so; nothing is parked."""
    place = at_peers(tmp_path, peers, "by fhir")
    number = json.loads(place.node.rooms.home.results.joinpath(place.run_key, "diagnostic_report.json").read_text())
    (made,) = [e["resource"] for e in number["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"]
    (ours,) = [r for r in held(peers["fhir"], "DiagnosticReport") if r.get("identifier", [{}])[0] == made["identifier"][0]]
    edited = {**ours, "status": "final", "resultsInterpreter": [{"display": "A reader"}]}
    httpx.put(f"{peers['fhir']}/DiagnosticReport/{ours['id']}", json=edited, trust_env=False).raise_for_status()
    place.answer(REJECTED)
    now = httpx.get(f"{peers['fhir']}/DiagnosticReport/{ours['id']}", trust_env=False).json()
    assert now["status"] == "final"
    assert "ANSWER" not in now["conclusion"]
    (row,) = [d for d in place.story["deliveries"] if d["role"].startswith("assessment_report")]
    assert row["state"] == "done_with_warning"
    assert "left as it is" in row["detail"]


def test_a_rejected_result_is_hidden_where_the_site_wants_it(tmp_path: Path, peers: dict[str, Any]) -> None:
    """By setting only: one note, naming our objects alone and not the assessment; a later accept says that it stays hidden."""
    place = at_peers(tmp_path, peers, "hidden", hide_rejected=True, hide_title="113037")
    study = str(place.chest().StudyInstanceUID)
    ours = {str(ds.SOPInstanceUID) for ds in peers["pacs"].fetch(study)}
    place.answer(REJECTED, login="tom")  # weak
    place.answer(REJECTED, "abnormal")  # of one finding
    assert [ds for ds in peers["pacs"].fetch(study) if ds.Modality == "KO"] == []
    place.answer(REJECTED)
    (note,) = [ds for ds in peers["pacs"].fetch(study) if ds.Modality == "KO"]
    path = tmp_path / "note.dcm"
    dcmwrite(path, note, enforce_file_format=True)
    assert dciodvfy_errors(path) == []
    assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
    (evidence,) = note.CurrentRequestedProcedureEvidenceSequence
    named = {str(i.ReferencedSOPInstanceUID) for s in evidence.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    assert named == ours
    place.answer(ACCEPTED)
    place.answer(REJECTED)
    assert len([ds for ds in peers["pacs"].fetch(study) if ds.Modality == "KO"]) == 1
    assert "nobody can ask to show it again" in place.texts
    before = place.count(tables.verdict)
    place.node.receive(note)
    documents_are_read(place)
    assert place.count(tables.verdict) == before
    assert [run["state"] for run in place.story["runs"]] == ["analysed"]


# ---------------------------------------------------------------- what is told, and what is not


def test_a_burst_is_one_answer_and_the_same_answer_again_is_none(tmp_path: Path) -> None:
    """Accept and reject within seconds: one SR, of the last. Said again: nothing. Withdrawn: a successor that says so."""
    place = Department(tmp_path)
    place.say(ACCEPTED)
    place.after.look(time.time() + 1)
    assert place.node.sent() == RESULTS
    place.say(REJECTED)
    place.look()
    assert place.node.sent() == sorted(RESULTS + told(2))
    place.answer(REJECTED)
    assert place.node.sent() == sorted(RESULTS + told(2))
    place.answer(Verdict.WITHDRAWN)
    assert place.node.sent() == sorted(RESULTS + told(2) + told(4))
    (last,) = place.node.out.rglob("assessment-4.dcm")
    assert verdict_codes(dcmread(last)) == ["NO-ANSWER"]
    place.answer(Verdict.DEFERRED)
    assert place.node.sent() == sorted(RESULTS + told(2) + told(4))


def test_who_accepts_by_mistake_and_amends_is_told_to_have_amended(tmp_path: Path) -> None:
    """The record does not say of one person that the result was accepted and that its finding is absent."""
    place = Department(tmp_path)
    place.answer(ACCEPTED)
    place.answer(Verdict.AMENDED, "abnormal", label_after="absent")
    (last,) = place.node.out.rglob("assessment-2.dcm")
    assert sorted(verdict_codes(dcmread(last))) == ["MODIFY", "NO-ANSWER"]
    said = dsrdump(last)
    assert "An earlier answer to this AI result was taken back; none stands." in said
    assert "accepted this AI result" not in said


def test_an_unknown_reader_is_told_as_unknown_and_never_overwrites(tmp_path: Path) -> None:
    """A weak answer is told as such; after a strong one it changes nothing."""
    place = Department(tmp_path)
    place.answer(ACCEPTED, login="tom")
    (path,) = place.node.out.rglob("assessment-1.dcm")
    assert "Reader not known" in dsrdump(path)
    place.answer(REJECTED)
    place.answer(ACCEPTED, login="tom")
    assert place.node.sent() == sorted(RESULTS + told(1) + told(2))
    assert "Rao" not in place.texts


@pytest.mark.parametrize("named", [True, False])
def test_a_person_is_named_only_where_the_site_wants_it(tmp_path: Path, named: bool) -> None:
    """results.assessment.reader_names; default false."""
    settings: dict[str, Any] = {"results": {"assessment": {"reader_names": True}}} if named else {}
    place = Department(tmp_path, "named", **settings)
    place.answer(REJECTED)
    texts = "".join([*place.node.sent_text(".json"), *place.node.sent_text(".hl7")])
    (path,) = place.node.out.rglob("assessment-1.dcm")
    assert ("Rao" in texts, "Rao^Asha" in dsrdump(path)) == (named, named)


def test_a_destination_can_do_without(tmp_path: Path) -> None:
    """assessments: false: the answer is in the log, and nobody is told."""
    place = Department(tmp_path, destination={**FOUR, "assessments": False})
    place.answer(REJECTED)
    assert place.node.sent() == RESULTS
    assert place.count(tables.verdict) == 1


def test_a_picture_alone_gets_no_report_about_it(tmp_path: Path) -> None:
    """An SR goes only where an SR went."""
    place = Department(tmp_path, destination={"outputs": ["secondary_capture"]})
    place.answer(REJECTED)
    assert place.node.sent() == ["secondary_capture"]


def test_a_withdrawn_result_is_not_told_of_and_takes_its_answers_back(tmp_path: Path) -> None:
    """Told once; withdrawn: the note names the assessment too; what was answered in that moment is not told any more."""
    place = Department(tmp_path)
    place.answer(REJECTED)
    place.say(ACCEPTED)
    assert withdraw_answers(place.node.rooms, place.story["study_key"], Cause.FAULTY_RESULT) == 1
    place.look()
    assert [name for name in place.node.sent() if name.startswith("assessment-")] == ["assessment-1"]
    (path,) = place.node.out.rglob("withdrawal_note.dcm")
    (study,) = dcmread(path).CurrentRequestedProcedureEvidenceSequence
    named = {str(i.ReferencedSOPInstanceUID) for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence}
    assert named == {str(ds.SOPInstanceUID) for ds in place.node.sent_dicom() if ds.Modality != "KO"}
    (report,) = place.node.out.rglob("withdrawal_report.json")
    statuses = [e["resource"].get("status") for e in json.loads(report.read_text())["entry"]]
    assert "partial" not in statuses
    assert "preliminary" not in statuses


def test_a_new_result_is_unanswered(tmp_path: Path) -> None:
    """A newer image gives result 2: what was said of result 1 does not count for it, and the story says so."""
    place = Department(tmp_path)
    place.answer(ACCEPTED)
    place.node.answer(place.chest(instance="2", AcquisitionTime="235900"))
    assert len(place.story["runs"]) == 2
    assert "Result 2 has not been answered" in place.texts
    sent = place.node.sent()
    place.look(AfterAnswers(place.node.rooms))
    assert place.node.sent() == sent


# ---------------------------------------------------------------- order, crashes, the guard


def test_what_tells_of_a_result_never_comes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is down, so what tells of it waits; parked, it is parked; a newer answer replaces the message of the older one."""
    place_down = {"down": True}
    real = folder.send

    def send(artifact: Any, settings: Any) -> Receipt:
        if place_down["down"] and artifact.role in ("oru_message", "text_report"):
            raise PeerTimeout("The receiver did not acknowledge the message in time.")
        return real(artifact, settings)

    monkeypatch.setattr(folder, "send", send)
    submitted: list[tuple[str, int]] = []
    place = Department.__new__(Department)
    place.name = "order"
    place.node = InProcessNode(tmp_path, readers=READERS, destination={"outputs": ["oru_message", "text_report"]})
    submit = place.node._queue.submit_delivery

    def at_first_only(*args: Any) -> None:
        submit(*args) if args[2] == 1 else submitted.append((args[1], args[2]))

    monkeypatch.setattr(place.node._queue, "submit_delivery", at_first_only)
    place.after = AfterAnswers(place.node.rooms)
    place.node.answer(place.chest())
    place.answer(REJECTED)
    place.answer(ACCEPTED)
    assert place.node.sent() == []
    states = {d["role"]: d["state"] for d in place.story["deliveries"]}
    assert states["assessment_message:1"] == "cancelled"
    assert {states[role] for role in ("assessment:1", "assessment:2", "assessment_message:2")} == {"waiting"}
    place_down["down"] = False
    monkeypatch.setattr(place.node._queue, "submit_delivery", submit)
    while submitted:
        place.node._queue.deliveries = list(submitted)
        submitted.clear()
        place.node.work()
    assert place.node.sent() == ["assessment-1", "assessment-2", "assessment_message-2", "oru_message", "text_report"]


def test_a_crash_at_any_point_loses_nothing_and_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes cannot be written; then the transaction fails: told in the story, tried again, sent once."""
    place = Department(tmp_path)
    place.say(REJECTED)

    def failing(*_: Any, **__: Any) -> None:
        raise OSError("disk")

    for module, name in ((repository, "write_artifacts"), (answers, "plan_roles")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing)
            place.look(AfterAnswers(place.node.rooms))
        assert place.node.sent() == RESULTS
    assert "it is tried again" in place.texts
    place.look(AfterAnswers(place.node.rooms))
    assert place.node.sent() == sorted(RESULTS + told(1))


def test_a_message_that_a_newer_answer_overtook_is_followed_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 1 is on its way while row 2 is told: whichever came last, the receiver ends with the newest."""
    place = Department(tmp_path, destination={"outputs": ["oru_message"]})
    real, order = folder.send, []

    def send(artifact: Any, settings: Any) -> Receipt:
        if artifact.role == "assessment_message:1" and not order:
            order.append("begun")
            place.answer(ACCEPTED)
        order.append(artifact.role)
        return real(artifact, settings)

    monkeypatch.setattr(folder, "send", send)
    place.answer(REJECTED)
    assert order == ["begun", "assessment_message:2", "assessment_message:1", "assessment_message:2"]
    assert {d["state"] for d in place.story["deliveries"]} == {"done"}


def test_the_guard_stands_before_what_tells_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose study it is cannot be told between answer and sending: nothing goes out."""
    place = Department(tmp_path)
    place.say(REJECTED)
    place.after.look(time.time() + SETTLE_SECONDS)
    monkeypatch.setattr(type(place.node.rooms.guard), "before_sending", lambda *_: _raise(PeerTimeout("wait")))
    place.node._queue.submit_delivery, submit = (lambda *_: None), place.node._queue.submit_delivery  # type: ignore[method-assign]
    place.node.work()
    place.node._queue.submit_delivery = submit  # type: ignore[method-assign]
    assert place.node.sent() == RESULTS


def _raise(error: Exception) -> None:
    raise error


# ---------------------------------------------------------------- release: after_answer


def test_release_is_nothing_then_all(tmp_path: Path) -> None:
    """silent, after_answer, at_once on one study: 0, 0 then all, all. A weak answer releases nothing, nor does a rejection."""
    for release in ("silent", "after_answer", "at_once"):
        place = Department(tmp_path / release, rule={"release": release})
        everything = RESULTS if release == "at_once" else []
        assert place.node.sent() == everything
        place.answer(ACCEPTED, login="tom")
        place.answer(REJECTED)
        if release != "at_once":
            assert place.node.sent() == []
        place.answer(ACCEPTED)
        if release == "silent":
            assert place.node.sent() == []
            continue
        assert [name for name in place.node.sent() if name in RESULTS] == RESULTS
        place.look(AfterAnswers(place.node.rooms))
        assert len(place.node.sent()) == len(set(place.node.sent()))
        if release == "after_answer":
            assert place.node.sent() == sorted(RESULTS + told(3))
            assert "only an answer of an authenticated radiologist releases it" in place.texts
            assert "is not sent: a radiologist rejected it" in place.texts
            assert "is released to pacs" in place.texts


def test_other_reasons_to_withhold_stand_after_the_answer(tmp_path: Path) -> None:
    """A model without evidence is not released by an answer; the story says why."""
    place = Department(tmp_path, rule={"release": "after_answer"}, destination={**FOUR, "allow_unvalidated": False})
    place.answer(ACCEPTED)
    assert place.node.sent() == []
    assert "is answered, and not sent to pacs: The evidence for the model is" in place.texts
    assert {d["state"] for d in place.story["deliveries"]} == {"withheld"}
