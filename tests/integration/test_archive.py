"""Completeness that asks, against a real Orthanc and against an archive that is not polite."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicom_node.demo.peers import LOOPBACK, PACS_AE, OrthancPacs, free_ports, send
from dicom_node.stages.archive_desk import PAUSE_SECONDS
from dicom_node.studies.release import release_study
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
def test_a_withheld_image_is_fetched_and_the_study_analysed_whole(
    way: str, department: Department, make_node: NodeMaker, request: pytest.FixtureRequest
) -> None:
    """Orthanc has two images and forwards one, the lateral; the frontal one is fetched and read. Once on PostgreSQL."""
    settings = department.settings(department.dicomweb() if way == "wado_rs" else department.dimse(way))
    if way == "c_get":
        settings["database_url"] = request.getfixturevalue("postgresql")
    node = make_node(settings)
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


def _quirky(archive: QuirkyArchive, **changes: Any) -> dict[str, Any]:
    base = {"kind": "dimse", "ae_title": "ARCHIVE", "host": LOOPBACK, "port": archive.port, "retrieve": "c_get"}
    return {**base, "timeout_seconds": 10, "compare_seconds": 0.2, **changes}  # a busy machine is no silent archive


def _lists(archive: QuirkyArchive, image: Dataset, *more: str) -> None:
    """Let the archive list an image and more objects in the same series."""
    archive.studies[str(image.StudyInstanceUID)] = {str(image.SeriesInstanceUID): ("DX", [str(image.SOPInstanceUID), *more])}


def _admit(settings: dict[str, Any], *senders: str) -> None:
    settings["reception"]["peers"] += [{"ae_title": sender, "host": LOOPBACK} for sender in senders]


def test_what_cannot_be_fetched_is_analysed_or_held_and_always_told(department: Department, make_node: NodeMaker) -> None:
    """An image that the archive lists and does not give: each rule decides, nothing is discarded, every result says it."""
    policies = ("analyse", "alert", "hold")
    images = {policy: chest(policy) for policy in policies}
    uids = {policy: str(image.StudyInstanceUID) for policy, image in images.items()}
    second = chest("arrival", instance="2")
    with quirky_archive() as archive:
        for image in images.values():
            _lists(archive, image, "1.2.3.4.5")
        _lists(archive, chest("arrival"), str(second.SOPInstanceUID))
        settings = department.settings(_quirky(archive))
        rule = settings["routing"]["rules"][0]
        settings["routing"]["rules"] = [
            {**rule, "name": policy, "incomplete": policy, "destinations": ["pacs"], "when": {"calling_ae": policy.upper()}}
            for policy in policies
        ]
        _admit(settings, *(policy.upper() for policy in policies))
        node = make_node(settings)
        for policy, image in images.items():
            send([image], node.port, "AINODE", policy.upper())
        send([chest("arrival")], node.port, "AINODE", "HOLD")
        held = node.wait_until(uids["hold"], lambda s: s["state"] == "held")
        assert (held["hold_reason"], held["deliveries"]) == ("incomplete_study", [])
        node.wait_until(str(second.StudyInstanceUID), lambda s: s["state"] == "held")
        with node.database.begin() as connection:
            release_study(connection, uids["hold"], time.time())
        send([second], node.port, "AINODE", "HOLD")
        stories = {policy: node.wait_until_answered(uid) for policy, uid in uids.items()}
        whole = node.wait_until_answered(str(second.StudyInstanceUID))
    for policy, story in stories.items():
        assert story["result"]["status"] == "analysed"
        assert "incomplete_study" in story["result"]["flags"]
        assert story["result"]["zone"] != "not_suspected"
        told = "study.alert" if policy == "alert" else "study.incomplete"
        assert told in [line["event"] for line in story["story"]]
        reports = [d.to_json() for d in department.pacs.fetch(uids[policy]) if d.Modality == "SR"]
        assert reports
        assert all("1 object that the archive lists had not arrived" in report for report in reports)
    assert whole["result"]["status"] == "analysed"
    assert "incomplete_study" not in whole["result"]["flags"]
    assert '"event": "study.alert"' in node.log()
    metrics = node.get("/metrics")[1]
    assert 'dicom_node_incomplete_studies{policy="alert"} 1.0' in metrics
    assert 'dicom_node_incomplete_studies{policy="analyse"} 2.0' in metrics


def test_a_broken_archive_delays_nobody(department: Department, make_node: NodeMaker) -> None:
    """Archives that are silent, refuse, talk nonsense or count wrongly: studies are answered in time, and the story says why."""
    quirks = {"slow": 0, "refuses": 0, "elsewhere": 0, "lies": 99}
    studies = {quirk: [chest(f"{quirk}{n}") for n in range(4)] for quirk in quirks}
    with contextlib.ExitStack() as stack:
        archives = {quirk: stack.enter_context(quirky_archive(quirk, lie=lie)) for quirk, lie in quirks.items()}
        for image in studies["lies"]:
            _lists(archives["lies"], image)
        archives["elsewhere"].series = {"1.2": ("DX", ["1.2.3"])}
        settings = department.settings({"kind": "dicomweb", "base_url": "http://127.0.0.1:9"}, incomplete="hold", release="silent")
        settings["archives"] = {
            quirk: _quirky(one, calling_ae=quirk.upper(), ae_title=f"ARCHIVE{n}", timeout_seconds=1 if quirk == "slow" else 10)
            for n, (quirk, one) in enumerate(archives.items())
        }
        _admit(settings, *(quirk.upper() for quirk in quirks))
        node = make_node(settings)
        started = time.monotonic()
        for n in range(4):
            for quirk, images in studies.items():
                send([images[n]], node.port, "AINODE", quirk.upper())
        stories = {
            quirk: [
                node.wait_until(str(image.StudyInstanceUID), lambda s: s["result"].get("status") == "analysed", seconds=90)
                for image in images
            ]
            for quirk, images in studies.items()
        }
        spent = time.monotonic() - started
    for quirk, told in stories.items():
        expected = "archive.agreed" if quirk == "lies" else "archive.silent"
        assert all(expected in [line["event"] for line in story["story"]] for story in told), quirk
        counts = [query for query in archives[quirk].queries if query.QueryRetrieveLevel == "SERIES"]
        left_alone = 2 * (1 + int(spent // PAUSE_SECONDS))  # one question a thread, then a pause
        assert len(counts) >= 8 if quirk == "lies" else len(counts) <= left_alone, (quirk, len(counts), spent)
