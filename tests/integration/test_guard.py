"""Before analysis and before sending the archive is asked whose study it is now; a difference holds it, and the story tells why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_node.archive.answers import ArchiveBusy, PatientAnswer
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.errors import PeerTimeout
from dicom_node.core.identifiers import study_key
from dicom_node.core.phi import Phi
from dicom_node.demo.peers import LOOPBACK, OrthancPacs, send
from dicom_node.orders.settings import GuardSettings
from dicom_node.stages.guard import Guard
from tests.factories.rejection_notes import rejection_note
from tests.integration.in_process import InProcessNode
from tests.integration.test_safety import TWO, chest, events

ARCHIVE = {"kind": "dimse", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 1}


class Archive:
    """Stands where the archive is: answers what it is told to, and counts how often it was asked."""

    def __init__(self, node: InProcessNode, **guard: Any) -> None:
        self.says: PatientAnswer | Exception = PatientAnswer()
        self.asked = 0
        self.now = 0.0
        archives = {"main": ArchiveSettings.model_validate(ARCHIVE)}
        self.guard = Guard(node.rooms.database, archives, GuardSettings(**guard), self._ask, lambda: self.now)
        node.rooms.__dict__["guard"] = self.guard

    def _ask(self, settings: ArchiveSettings, study_uid: str) -> PatientAnswer:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def has(self, patient_id: str, accession: str = "", issuer: str = "") -> None:
        self.says = PatientAnswer(Phi(patient_id), Phi(issuer), Phi(accession), found=True)


@pytest.fixture
def node(tmp_path: Path) -> InProcessNode:
    return InProcessNode(tmp_path, destination=TWO)


def mine(**elements: Any) -> Any:
    values = {"PatientID": "MINE7", "AccessionNumber": "ACC7", "IssuerOfPatientID": "HERE", **elements}
    return chest("guard", **values)


def told(node: InProcessNode) -> list[str]:
    return [line["text"] for line in node.story(str(mine().StudyInstanceUID))["story"]]


@pytest.mark.parametrize(
    ("patient", "accession", "issuer", "reason"),
    [
        ("MINE7", "ACC7", "HERE", ""),
        (" mine7 ", "", "", ""),
        ("", "ACC7", "", ""),
        ("OTHER7", "ACC7", "", "patient_changed_in_pacs"),
        ("MINE7", "ACC7", "THERE", "patient_changed_in_pacs"),
        ("MINE7", "ACC8", "", "accession_changed_in_pacs"),
    ],
)
def test_what_the_archive_has_decides(node: InProcessNode, patient: str, accession: str, issuer: str, reason: str) -> None:
    """The same, or not said: sent. Another: held before anything is computed, with the reason and without a number."""
    archive = Archive(node)
    archive.has(patient, accession, issuer)
    story = node.answer(mine())
    assert (story["state"], story["hold_reason"]) == (("held", reason) if reason else ("routed", ""))
    assert len(node.sent()) == (0 if reason else 2)
    assert archive.asked == 1, "the answer of a moment ago is good for both deliveries"
    assert not any(number in str(story["story"]) for number in ("MINE7", "OTHER7", "ACC7", "ACC8"))


def test_grouped_procedures_are_one_of_their_numbers(node: InProcessNode) -> None:
    """A study with several accession numbers agrees with an archive that names one of them."""
    from pydicom import Dataset

    request = Dataset()
    request.AccessionNumber = "ACC9"
    Archive(node).has("MINE7", "ACC9")
    assert node.answer(mine(RequestAttributesSequence=[request]))["state"] == "routed"


def test_a_change_between_analysis_and_sending_holds(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is made, then the archive corrects the patient: nothing leaves; the corrected header is answered by itself."""
    archive = Archive(node)
    archive.has("MINE7", "ACC7")
    node.receive(mine())
    kept: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(node._queue, "submit_delivery", lambda *a: kept.append((a[1], a[2])))
        node.work()
    archive.has("OTHER7", "ACC7")
    archive.now += 31
    node._queue.deliveries = kept
    node.work()
    story = node.story(str(mine().StudyInstanceUID))
    assert (story["state"], story["hold_reason"]) == ("held", "patient_changed_in_pacs")
    assert {d["state"] for d in story["deliveries"]} == {"cancelled"}
    assert node.sent() == []
    node.answer(mine(PatientID="OTHER7"))
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"OTHER7"}
    assert len(node.sent_dicom()) == 2


def test_a_person_who_has_looked_is_not_asked_again(node: InProcessNode) -> None:
    """A release is about what the archive said then: the same answer sends, another one holds again."""
    archive = Archive(node)
    archive.has("OTHER7")
    node.answer(mine())
    node.release(study_key(str(mine().StudyInstanceUID)))
    assert len(node.sent()) == 2
    assert any("as it did when a person released" in text for text in told(node))
    archive.has("THIRD7")
    archive.now += 31
    assert archive.guard.before_sending(study_key(str(mine().StudyInstanceUID))).startswith(
        "The archive has the study under another"
    )


@pytest.mark.parametrize("policy", ["wait", "proceed"])
def test_an_archive_that_cannot_be_asked(node: InProcessNode, policy: str) -> None:
    """wait: analysed, and sent once it answers. proceed: sent, and the story says so. Either way told once."""
    archive = Archive(node, unreachable=policy)
    archive.says = PeerTimeout("no answer from a host that nobody named")
    attempts: list[Any] = []
    submit = node._queue.submit_delivery
    node._queue.submit_delivery = lambda *a: attempts.append(a) if a[2] > 1 else submit(*a)  # type: ignore[method-assign]
    story = node.answer(mine())
    assert story["runs"][0]["state"] == "analysed"
    assert len(node.sent()) == (0 if policy == "wait" else 2)
    assert sum("could not be asked" in text for text in told(node)) == 1
    if policy == "wait":
        assert {d["state"] for d in story["deliveries"]} == {"waiting"}
        archive.has("MINE7", "ACC7")
        archive.now += 31
        node._queue.deliveries = [(a[1], a[2]) for a in attempts]
        node.work()
        assert len(node.sent()) == 2


def test_another_image_does_not_lift_a_hold_while_the_archive_is_silent(node: InProcessNode) -> None:
    """The archive said another patient, then it falls silent, and a lateral with the old header comes: nothing leaves."""
    archive = Archive(node, unreachable="proceed")
    archive.has("OTHER7")
    node.answer(mine())
    archive.says = PeerTimeout("no answer")
    archive.now += 31
    story = node.answer(mine(SOPInstanceUID="1.2.3", ViewPosition="LL"))
    assert (story["state"], story["hold_reason"]) == ("held", "patient_changed_in_pacs")
    assert node.sent() == []
    assert events(node, mine())[-1] == "instance.held"
    node.answer(mine(PatientID="OTHER7"), mine(PatientID="OTHER7", SOPInstanceUID="1.2.3", ViewPosition="LL"))
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"OTHER7"}


def test_a_rejection_note_does_not_lift_a_hold(node: InProcessNode) -> None:
    """The archive corrected the patient after the result was sent, and a note rejects what was read: taken back, still held."""
    archive = Archive(node, unreachable="proceed")
    archive.has("MINE7")
    node.answer(mine(AcquisitionTime="100500"), mine(SOPInstanceUID="1.2.3", AcquisitionTime="100000"))
    assert len(node.sent()) == 2
    archive.has("OTHER7")
    archive.now += 31
    archive.guard.before_sending(study_key(str(mine().StudyInstanceUID)))
    assert told(node)[-1].startswith("A result was given before; it stands until corrected images come")
    archive.says = PeerTimeout("no answer")
    archive.now += 31
    story = node.answer(rejection_note(mine(), [mine()]))
    assert [run["state"] for run in story["runs"]] == ["withdrawn"]
    assert (story["state"], story["hold_reason"]) == ("held", "patient_changed_in_pacs")
    assert node.sent() == ["secondary_capture", "text_report", "withdrawal_note"]


def test_our_own_limit_of_questions_makes_results_wait_without_a_word(node: InProcessNode) -> None:
    """Nobody's fault: nothing is told, nothing is sent unasked."""
    archive = Archive(node)
    archive.says = ArchiveBusy("asked as often as allowed")
    node._queue.submit_delivery = lambda *a: None if a[2] > 1 else node._queue.deliveries.append((a[1], a[2]))  # type: ignore[method-assign]
    node.answer(mine())
    assert node.sent() == []
    assert not any("asked" in text for text in told(node) if "Archive main" in text)


def test_a_study_that_the_archive_does_not_know_is_sent(node: InProcessNode) -> None:
    """The modality sends to both at once, and this node may be faster; the story says so."""
    Archive(node)
    node.answer(mine())
    assert len(node.sent()) == 2
    assert any("does not know the study yet" in text for text in told(node))


def test_a_held_study_stays_for_a_person_where_a_person_must_decide(node: InProcessNode) -> None:
    """The guard does not lift or rename the hold of two patients in one study."""
    archive = Archive(node)
    archive.has("OTHER7")
    node.answer(mine(), mine(PatientID="SECOND", SOPInstanceUID="1.2.3"))
    assert node.story(str(mine().StudyInstanceUID))["hold_reason"] == "patient_conflict"
    assert archive.guard.before_sending(study_key(str(mine().StudyInstanceUID))) == "Images of two patients share one study."
    assert events(node, mine()).count("study.held") == 1


def test_switched_off(node: InProcessNode) -> None:
    """guard: {ask_archive: false} asks nobody."""
    archive = Archive(node, ask_archive=False)
    archive.has("OTHER7")
    node.answer(mine())
    assert (archive.asked, len(node.sent())) == (0, 2)


# ---------------------------------------------------------------- a real archive


def correct_patient(pacs: OrthancPacs, study_uid: str, patient_id: str) -> None:
    """Correct the patient in Orthanc, as a person at the PACS does: the same UIDs, another number."""
    study = pacs._http.get(f"/studies/{pacs._study(study_uid)}").json()
    kept = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    body = {"Replace": {"PatientID": patient_id}, "Keep": kept, "Force": True, "KeepSource": False, "Synchronous": True}
    answer = pacs._http.post(f"/patients/{study['ParentPatient']}/modify", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", ["dimse", "dicomweb"])
def test_a_patient_corrected_in_orthanc_holds_the_result(tmp_path: Path, pacs: OrthancPacs, kind: str) -> None:
    """Received, then corrected in the archive: held. The archive sends the corrected header: answered under the new patient."""
    asked = {"kind": "dimse", "ae_title": "DEMOPACS", "host": LOOPBACK, "port": pacs.dicom_port, "retrieve": "c_get"}
    if kind == "dicomweb":
        asked = {"kind": "dicomweb", "base_url": f"{pacs._http.base_url}/dicom-web".replace("//dicom-web", "/dicom-web")}
    node = InProcessNode(tmp_path / "node", destination=TWO, archives={"pacs": asked}, guard={"cache_seconds": 0})
    dataset = mine()
    send([dataset], pacs.dicom_port, "DEMOPACS", "SENDER")
    node.receive(dataset)
    correct_patient(pacs, str(dataset.StudyInstanceUID), "RIGHT7")
    node.work()
    story = node.story(str(dataset.StudyInstanceUID))
    assert (story["state"], story["hold_reason"]) == ("held", "patient_changed_in_pacs")
    assert node.sent() == []
    assert "RIGHT7" not in str(story["story"])
    (corrected,) = pacs.fetch(str(dataset.StudyInstanceUID))
    node.answer(corrected)
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"RIGHT7"}
    pacs._http.delete(f"/studies/{pacs._study(str(dataset.StudyInstanceUID))}")
    send([mine(PatientID="RIGHT7", AccessionNumber="ACC8")], pacs.dicom_port, "DEMOPACS", "SENDER")
    assert "accession number" in node.rooms.guard.before_sending(study_key(str(dataset.StudyInstanceUID)))
