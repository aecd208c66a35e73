"""Completeness that asks, against a real Orthanc and against an archive that is not polite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicom_node.demo.peers import LOOPBACK, PACS_AE, OrthancPacs, free_ports, send
from models.phantoms.dicom import as_radiograph, made_uid
from tests.factories.phantom_dicom import chest, picture
from tests.factories.quirky_archive import QuirkyArchive, quirky_archive
from tests.integration.running_node import SENDER, RunningNode, configuration

NodeMaker = Callable[[dict[str, Any]], RunningNode]


class Department:
    """An Orthanc that knows the node, and the node's settings."""

    def __init__(self, work: Path) -> None:
        self.dicom_port, self.http_port, self.node_port = free_ports(3)
        self.pacs = OrthancPacs(work, self.dicom_port, self.http_port, "AINODE", self.node_port)

    def settings(self, archive: dict[str, Any], **rule: Any) -> dict[str, Any]:
        made = configuration(pacs_port=self.dicom_port, **rule)
        made["reception"]["port"] = self.node_port
        made["archives"] = {"pacs": {"compare_seconds": 0.3, **archive}}
        return made

    def dimse(self, retrieve: str) -> dict[str, Any]:
        return {"kind": "dimse", "ae_title": PACS_AE, "host": LOOPBACK, "port": self.dicom_port, "retrieve": retrieve}

    def dicomweb(self) -> dict[str, Any]:
        return {"kind": "dicomweb", "base_url": f"http://{LOOPBACK}:{self.http_port}/dicom-web"}


@pytest.fixture
def department(tmp_path: Path) -> Iterator[Department]:
    """A department with its PACS running."""
    made = Department(tmp_path)
    yield made
    made.pacs.stop()


def lateral(seed: str) -> Dataset:
    """The other image of the study, in a series of its own."""
    other = {"SeriesInstanceUID": made_uid(seed, "lateral"), "ViewPosition": "LL", "ViewCodeSequence": None}
    return as_radiograph(picture("lateral"), seed=seed, instance="lateral", **other)


def report(seed: str) -> Dataset:
    """A structured report that somebody else made and nobody forwards."""
    ds = chest(seed, instance="report", SeriesInstanceUID=made_uid(seed, "report"))
    for keyword in ("PixelData", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"):
        delattr(ds, keyword)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    ds.Modality = "SR"
    return ds


def photograph(seed: str) -> Dataset:
    """A series of a kind that no rule wants."""
    return chest(seed, instance="photo", SeriesInstanceUID=made_uid(seed, "photo"), Modality="XC")


@pytest.mark.parametrize("way", ["c_move", "c_get", "wado_rs"])
def test_a_withheld_image_is_fetched_and_the_study_analysed_whole(way: str, department: Department, make_node: NodeMaker) -> None:
    """Orthanc has two images and forwards one, the lateral; the frontal one is fetched and read."""
    archive = department.dicomweb() if way == "wado_rs" else department.dimse(way)
    node = make_node(department.settings(archive))
    pa, other = chest(way), lateral(way)
    send([pa, other], department.dicom_port, PACS_AE, SENDER)
    send([other], node.port, "AINODE", SENDER)
    story = node.wait_until_answered(str(pa.StudyInstanceUID))
    assert story["result"]["status"] == "analysed", story["result"]
    assert {i["state"] for i in story["instances"]} == {"current"}
    assert len(story["instances"]) == 2
    events = [line["event"] for line in story["story"]]
    assert "archive.fetching" in events
    assert "study.incomplete" not in events
    assert len(story["runs"]) == 1
    assert all("incomplete" not in flag for flag in story["result"]["flags"])


def test_a_report_our_own_objects_and_what_no_rule_wants_hold_nothing_back(department: Department, make_node: NodeMaker) -> None:
    """The PACS has an extra SR, our SC and a series that is never forwarded: the study is answered, nothing is fetched."""
    node = make_node(department.settings(department.dimse("c_move"), incomplete="hold"))
    pa = chest("extra")
    send([pa, report("extra"), photograph("extra")], department.dicom_port, PACS_AE, SENDER)
    send([pa], node.port, "AINODE", SENDER)
    story = node.wait_until_answered(str(pa.StudyInstanceUID))
    assert story["result"]["status"] == "analysed"
    # now the PACS holds our results too; a new image opens the study again
    later = lateral("extra")
    send([later], department.dicom_port, PACS_AE, SENDER)
    send([later], node.port, "AINODE", SENDER)
    story = node.wait_until(str(pa.StudyInstanceUID), lambda s: any(line["event"] == "run.unneeded" for line in s["story"]))
    assert story["state"] == "routed"
    assert len(story["instances"]) == 2
    assert [line["event"] for line in story["story"]].count("archive.agreed") == 2
    assert not any(line["event"] in ("archive.fetching", "study.incomplete") for line in story["story"])


def _quirky(archive: QuirkyArchive, study: Dataset, *more: str) -> dict[str, Any]:
    uid = str(study.SOPInstanceUID)
    archive.study_uid, archive.series = str(study.StudyInstanceUID), {str(study.SeriesInstanceUID): ("DX", [uid, *more])}
    return {
        "kind": "dimse",
        "ae_title": "ARCHIVE",
        "host": LOOPBACK,
        "port": archive.port,
        "retrieve": "c_get",
        "timeout_seconds": 1,
        "compare_seconds": 0.2,
    }


@pytest.mark.parametrize("policy", ["analyse", "alert", "hold"])
def test_what_cannot_be_fetched_is_analysed_or_held_and_always_told(
    policy: str, department: Department, make_node: NodeMaker
) -> None:
    """An image that the archive lists and does not give: each rule decides, nothing is discarded, every result says it."""
    pa = chest(policy)
    uid = str(pa.StudyInstanceUID)
    with quirky_archive() as archive:
        node = make_node(department.settings(_quirky(archive, pa, "1.2.3.4.5"), incomplete=policy))
        send([pa], node.port, "AINODE", SENDER)
        if policy == "hold":
            story = node.wait_until(uid, lambda s: s["state"] == "held")
            assert story["hold_reason"] == "incomplete_study"
            assert story["deliveries"] == []
            _release(node, uid)
        story = node.wait_until_answered(uid)
    assert story["result"]["status"] == "analysed"
    assert "incomplete_study" in story["result"]["flags"]
    assert story["result"]["zone"] != "not_suspected"
    assert ("study.alert" if policy == "alert" else "study.incomplete") in [line["event"] for line in story["story"]]
    texts = [str(d.to_json()) for d in department.pacs.fetch(uid) if d.Modality == "SR"]
    assert texts
    assert all("1 object that the archive lists had not arrived" in text for text in texts)
    if policy == "alert":
        assert '"event": "study.alert"' in node.log()
        assert 'dicom_node_incomplete_studies{policy="alert"} 1.0' in node.get("/metrics")[1]


def test_an_arrival_ends_a_hold(department: Department, make_node: NodeMaker) -> None:
    """What was missing comes after all: the study is no longer held and is answered whole."""
    pa, other = chest("arrival"), chest("arrival", instance="2")
    uid = str(pa.StudyInstanceUID)
    with quirky_archive() as archive:
        node = make_node(department.settings(_quirky(archive, pa, str(other.SOPInstanceUID)), incomplete="hold"))
        send([pa], node.port, "AINODE", SENDER)
        node.wait_until(uid, lambda s: s["state"] == "held")
        send([other], node.port, "AINODE", SENDER)
        story = node.wait_until_answered(uid)
    assert story["result"]["status"] == "analysed"
    assert "incomplete_study" not in story["result"]["flags"]


@pytest.mark.parametrize("quirk", ["slow", "refuses", "endless", "elsewhere", "aborts"])
def test_an_archive_that_does_not_answer_delays_nobody(quirk: str, department: Department, make_node: NodeMaker) -> None:
    """Ten studies beside a broken archive: all are answered by their quiet time alone, and the story says so."""
    studies = [chest(f"{quirk}{n}") for n in range(10)]
    with quirky_archive(quirk) as archive:
        settings = department.settings(_quirky(archive, studies[0]), incomplete="hold", release="silent")
        node = make_node(settings)
        started = time.monotonic()
        for study in studies:
            send([study], node.port, "AINODE", SENDER)
        stories = [
            node.wait_until(str(s.StudyInstanceUID), lambda s: s["result"].get("status") == "analysed", seconds=90) for s in studies
        ]
        assert time.monotonic() - started < 60
    said = [line["text"] for story in stories for line in story["story"] if line["event"] == "archive.silent"]
    assert len(said) == (1 if quirk == "elsewhere" else 10) or quirk == "elsewhere"
    assert len(archive.queries) < 10


def test_wrong_counts_hold_nothing_back(department: Department, make_node: NodeMaker) -> None:
    """An archive that counts 99 and lists one is believed in its list."""
    pa = chest("lies")
    with quirky_archive("lies", lie=99) as archive:
        node = make_node(department.settings(_quirky(archive, pa), incomplete="hold"))
        send([pa], node.port, "AINODE", SENDER)
        story = node.wait_until_answered(str(pa.StudyInstanceUID))
    assert story["result"]["status"] == "analysed"


def _release(node: RunningNode, uid: str) -> None:
    from dicom_node.studies.release import release_study

    with node.database.begin() as connection:
        release_study(connection, uid, time.time())
