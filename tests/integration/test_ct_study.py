"""A chest CT goes through the node: its series is chosen with a reason, marks decide what is read, every object is valid."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from fastapi.testclient import TestClient
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes

from dicom_node.core.identifiers import study_key
from dicom_node.core.product import SYNTHETIC
from dicom_node.web import sessions
from dicom_node.web.app import make_app
from dicom_node.web.passwords import hash_password
from dicom_node.web.settings import WebSettings
from dicom_node.web.site import Site
from models.phantoms.ct import thorax
from models.phantoms.ct_companions import as_localizer, dose_report
from models.phantoms.ct_dicom import as_series
from tests.factories.ct_bundles import write_ct_bundle
from tests.factories.dicom_validators import dciodvfy_errors
from tests.integration.in_process import InProcessNode

SLICES, SIZE = 40, 64
SEED = "ct study"


@pytest.fixture(scope="module")
def sent() -> list[Dataset]:
    """The study as a scanner sends it: scout, axial series, dose report."""
    drawn = thorax(3, slices=SLICES, size=SIZE, nodules=(("pima", 30.0),))
    return [*as_localizer(drawn, seed=SEED), *as_series(drawn, seed=SEED), dose_report(seed=SEED)]


def node_for_ct(folder: Path, **changes: Any) -> InProcessNode:
    """Return a node with a rule for chest CT and a small bundle for it."""
    rule = {"when": {"modality": ["CT"]}, "pipeline": "ct_pima_ipn", "policy": "published", "name": "chest CT"}
    node = InProcessNode(folder, rule=rule, **{"inference": {"allow_synthetic": True}, **changes})
    write_ct_bundle(node.rooms.home.bundles / "ct_pima_ipn" / "99.0.0")
    return node


@pytest.fixture
def node(tmp_path: Path) -> InProcessNode:
    """A node that runs synthetic bundles."""
    return node_for_ct(tmp_path)


def key_object_note(axial: list[Dataset], *, title: Any = dicom_codes.DCM.OfInterest, number: str = "1") -> Dataset:
    """Return a key object note by a person, as a workstation writes one."""
    person = hd.sr.ObserverContext(dicom_codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes("Reader^Ruth"))
    selection = hd.ko.KeyObjectSelection(title, axial, observer_person_context=person)
    uid = f"1.2.826.0.1.{number}"
    return hd.ko.KeyObjectSelectionDocument(axial, selection, f"{uid}.1", 99, f"{uid}.2", 1, manufacturer="Workstation")


def told(story: dict[str, Any]) -> str:
    return "\n".join(line["text"] for line in story["story"])


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.rglob("secondary_capture*.dcm"), key=lambda path: path.stem)


def test_a_ct_study_comes_back_as_every_object(node: InProcessNode, sent: list[Dataset]) -> None:
    """Three key slices, reports, both segmentations, FHIR and HL7; valid all, SYNTHETIC all; the story says why this series."""
    story = node.answer(*sent)
    assert story["runs"][-1]["state"] == "analysed", told(story)
    assert [d["state"] for d in story["deliveries"]] == ["done"] * len(story["deliveries"])
    assert set(node.sent()) >= {
        *("secondary_capture", "secondary_capture-2", "secondary_capture-3", "structured_report", "text_report"),
        *("lung_segmentation", "saliency_segmentation", "diagnostic_report", "oru_message"),
    }
    errors = {path.stem: dciodvfy_errors(path) for path in node.out.rglob("*.dcm")}
    assert errors == {name: [] for name in errors}
    assert all(SYNTHETIC in text for text in (*node.sent_text(".json"), *node.sent_text(".hl7")))
    text = told(story)
    assert "ct_pima_ipn: read Series 1: axial, 7.5 mm slices" in text
    assert "Nobody marked a slice." in text
    assert "Not read: Localizer (scout) image. Series 99: Image Type says LOCALIZER." in text
    assert story["runs"][-1]["summary"]["decision"] == "review"


def test_a_key_object_note_decides_which_slices_are_read(node: InProcessNode, sent: list[Dataset]) -> None:
    """A note that comes later gives a second result, on its slices; the node's own objects, coming back, give none."""
    axial = sent[1:-1]
    first = node.answer(*sent)
    assert len(first["runs"]) == 1
    node.receive(*node.sent_dicom())
    node.work()
    assert len(node.story(str(axial[0].StudyInstanceUID))["runs"]) == 1
    node.receive(key_object_note(axial[18:20]))
    node.work()
    story = node.story(str(axial[0].StudyInstanceUID))
    assert [run["revision"] for run in story["runs"]] == [1, 2], told(story)
    assert "A person marked 2 slices." in told(story)
    second = node.out / story["runs"][-1]["run_key"]
    assert [path.stem for path in pictures(second)] == ["secondary_capture", "secondary_capture-2"]
    named = {dcm.SourceImageSequence[0].ReferencedSOPInstanceUID for dcm in map(_read, pictures(second))}
    assert named == {ds.SOPInstanceUID for ds in axial[18:20]}


def _read(path: Path) -> Dataset:
    return dcmread(path)


def test_a_note_in_the_study_from_the_start_is_heeded(node: InProcessNode, sent: list[Dataset]) -> None:
    """Marks that arrive with the study give one result, on them; a rejection note or one that lists everything marks nothing."""
    axial = sent[1:-1]
    story = node.answer(*sent, key_object_note(axial[17:20]), key_object_note(axial, title=dicom_codes.DCM.Manifest, number="2"))
    assert len(story["runs"]) == 1
    assert "A person marked 3 slices." in told(story)


def test_a_note_on_another_reconstruction_is_mapped_by_position(node: InProcessNode, sent: list[Dataset]) -> None:
    """The note names the soft-tissue series; the one with the lung kernel is read at the same places, and every output says so."""
    drawn = thorax(3, slices=SLICES, size=SIZE, nodules=(("pima", 30.0),))
    soft = as_series(drawn, seed=SEED, series="4", SeriesNumber=4, ConvolutionKernel="B30f")
    story = node.answer(*sent, *soft, key_object_note(soft[18:20]))
    assert len(story["runs"]) == 1
    assert "ct_pima_ipn: read Series 1:" in told(story)
    assert "A person marked 2 slices (2 in other series)." in told(story)
    named = {dcm.SourceImageSequence[0].ReferencedSOPInstanceUID for dcm in map(_read, pictures(node.out))}
    assert named == {ds.SOPInstanceUID for ds in sent[1:-1][18:20]}
    assert all("mapped by position from series 4" in text for text in (*node.sent_text(".json"), *node.sent_text(".hl7")))
    errors = {path.stem: dciodvfy_errors(path) for path in node.out.rglob("*.dcm")}
    assert errors == {name: [] for name in errors}
    assert all("SYNTHETIC" in _read(path).SeriesDescription for path in node.out.rglob("*.dcm"))


def test_slices_marked_on_the_page_are_read_again(node: InProcessNode, sent: list[Dataset]) -> None:
    """A reader who is logged in names slices; the study gets another result on them; nobody else can, and no other image."""
    node.answer(*sent)
    uid = str(sent[1].StudyInstanceUID)
    client = _browser(node)
    token = re.findall(r'name="form_token" value="([^"]+)"', client.get("/marks").text)[-1]
    slices = "\n".join(str(ds.SOPInstanceUID) for ds in sent[19:21])
    assert client.post("/marks", data={"study": uid, "slices": slices}).status_code == 403  # a form of somebody else
    wrong = client.post("/marks", data={"form_token": token, "study": uid, "slices": "1.2.3"})
    assert (wrong.status_code, "no image of the study" in wrong.text) == (422, True)
    assert client.post("/marks", data={"form_token": token, "study": uid, "slices": f"{slices} x"}).status_code == 422
    done = client.post("/marks", data={"form_token": token, "study": uid, "slices": slices})
    assert (done.status_code, done.headers["location"]) == (303, f"/studies/{study_key(uid)}")
    node.work()
    story = node.story(uid)
    assert [run["revision"] for run in story["runs"]] == [1, 2]
    assert "A person marked 2 slices on the node." in told(story)
    client.cookies.clear()
    assert client.post("/marks", data={"study": uid}).status_code == 401


def _browser(node: InProcessNode) -> TestClient:
    users = [{"login": "rao", "password_hash": hash_password("correct horse battery"), "role": "reader"}]
    site = Site(node.rooms.database, node.rooms.home, WebSettings(users=users))
    app = make_app(node.rooms.database, "test", dict, 60, site=site)
    client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
    client.cookies.set("ainode", sessions.begin(node.rooms.database, "rao", "reader", hours=1))
    return client


def test_a_synthetic_bundle_is_refused_unless_the_site_allows_it(tmp_path: Path, sent: list[Dataset]) -> None:
    """Without allow_synthetic the study gets a coded refusal, as a report and never as a picture, in a time that nobody notices."""
    node = node_for_ct(tmp_path, inference={"allow_synthetic": False})
    started = time.monotonic()
    story = node.answer(*sent)
    assert story["runs"][-1]["summary"]["reason_key"] == "synthetic_model"
    assert not [name for name in node.sent() if name.startswith("secondary_capture")]
    assert time.monotonic() - started < 60
