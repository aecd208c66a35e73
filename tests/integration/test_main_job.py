"""The main job, against a real Orthanc and DCMTK."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_node.core.product import PRODUCT_NAME
from dicom_node.demo.peers import OrthancPacs
from tests.integration.running_node import SENDER, RunningNode, configuration

STORESCU = "/usr/bin/storescu"  # DCMTK's; pynetdicom puts a namesake into .venv/bin

PHILIPS = get_testdata_file("RG1_UNCR.dcm", download=False)


def store(node: RunningNode, *files: str | Path) -> None:
    """Send files with DCMTK."""
    command = [STORESCU, "-aet", SENDER, "-aec", node.ae_title, "127.0.0.1", str(node.port), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, env={"TCP_NODELAY": "1"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_philips_chest_comes_back_as_overlay_and_text_report(node: RunningNode, pacs: OrthancPacs) -> None:
    """The Philips chest sent by C-STORE comes back into Orthanc as one SC and one Basic Text SR of the same patient."""
    assert PHILIPS is not None
    source = dcmread(PHILIPS, stop_before_pixels=True)
    store(node, PHILIPS)
    story = node.wait_until_answered(source.StudyInstanceUID)
    assert [d["state"] for d in story["deliveries"]] == ["done", "done"], story["deliveries"]
    back = pacs.fetch(source.StudyInstanceUID)
    assert sorted(d.SOPClassUID.name for d in back) == ["Basic Text SR Storage", "Secondary Capture Image Storage"]
    for dataset in back:
        assert dataset.ManufacturerModelName == PRODUCT_NAME
        assert dataset.PatientName == source.PatientName
        assert dataset.PatientID == source.PatientID
        assert dataset.PatientBirthDate == source.PatientBirthDate
        assert dataset.AccessionNumber == source.AccessionNumber
        assert "RUO" in dataset.SeriesDescription


def test_story_page_and_metrics_tell_without_identifiers(node: RunningNode) -> None:
    """The pages tell the story of a study and never its patient."""
    assert PHILIPS is not None
    source = dcmread(PHILIPS, stop_before_pixels=True)
    store(node, PHILIPS)
    story = node.wait_until_answered(source.StudyInstanceUID)
    for path in ("/", f"/studies/{story['study_key']}", "/metrics", "/healthz", "/readyz"):
        status, text = node.get(path)
        assert status == 200, (path, text)
        for secret in (source.PatientID, "CompressedSamples", source.StudyInstanceUID):
            assert str(secret) not in text, path
    assert node.get("/studies/st_nowhere")[0] == 404


def test_own_results_forwarded_back_end_there(node: RunningNode, pacs: OrthancPacs, tmp_path: Path) -> None:
    """Our own results coming back from an auto-forward rule are recognised and start nothing."""
    assert PHILIPS is not None
    uid = dcmread(PHILIPS, stop_before_pixels=True).StudyInstanceUID
    store(node, PHILIPS)
    before = node.wait_until_answered(uid)
    for number, dataset in enumerate(pacs.fetch(uid)):
        file = tmp_path / f"back{number}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        store(node, file)
    after = node.wait_until(uid, lambda s: any(line["event"] == "result.returned" for line in s["story"]))
    assert len(after["runs"]) == len(before["runs"]) == 1
    assert len(after["deliveries"]) == len(before["deliveries"])


def test_silent_release_sends_nothing(pacs: OrthancPacs, make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """A silent rule analyses, keeps and shows the result on the node, and sends nothing."""
    assert PHILIPS is not None
    uid = dcmread(PHILIPS, stop_before_pixels=True).StudyInstanceUID
    node = make_node(configuration(pacs_port=pacs.dicom_port, release="silent"))
    store(node, PHILIPS)
    story = node.wait_until_answered(uid)
    assert {d["state"] for d in story["deliveries"]} == {"withheld"}
    assert story["runs"][-1]["state"] == "analysed"


def test_sigterm_stops_cleanly(node: RunningNode) -> None:
    """SIGTERM stops all roles and the exit status is 0."""
    assert node.stop() == 0
    assert "node.stopped" in node.log()
