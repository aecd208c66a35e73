"""Documents that DCMTK stores into a real Orthanc and a running node, or into Orthanc alone: each answer is recorded once.

One Orthanc and one node serve the whole module. Each archive is another way to ask the same Orthanc, for the studies of one sender.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.core.identifiers import study_key
from dicom_node.demo.peers import LOOPBACK, PACS_AE, OrthancPacs, free_ports, send
from dicom_node.store.tables import answer_object, archive_answer, verdict
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories import answer_documents as made
from tests.factories.received_objects import part10
from tests.integration.running_node import RunningNode, configuration

IMAGE, _, _ = chest_phantom(seed=3, size=512)
#: Sender -> how the archive is asked about its studies.
WAYS = {"CGET": {"retrieve": "c_get"}, "CMOVE": {"retrieve": "c_move"}, "WADO": {"kind": "dicomweb"}}
SQUARE = [(10.0, 20.0), (50.0, 20.0), (50.0, 60.0), (10.0, 20.0)]


class Hospital:
    """Orthanc as the PACS, which forwards nothing by itself, and a node beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        dicom_port, http_port, node_port = free_ports(3)
        self.pacs = OrthancPacs(folder, dicom_port, http_port, "AINODE", node_port)
        settings = configuration(pacs_port=dicom_port, outputs=("secondary_capture", "structured_report"))
        settings["reception"]["port"] = node_port
        settings["reception"]["peers"] += [{"ae_title": way, "host": LOOPBACK} for way in WAYS]
        dimse = {"kind": "dimse", "ae_title": PACS_AE, "host": LOOPBACK, "port": dicom_port}
        web = {"kind": "dicomweb", "base_url": f"http://{LOOPBACK}:{http_port}/dicom-web"}
        settings["archives"] = {
            way.lower(): {**(web if "kind" in how else dimse), **how, "calling_ae": [way], "compare_seconds": 0.2}
            for way, how in WAYS.items()
        }
        settings["feedback"] = {"poll_archives": [way.lower() for way in WAYS], "poll_seconds": 1}
        settings["readers"] = [{"name": made.RADIOLOGIST, "role": "radiologist"}]
        self.node = RunningNode(folder / "home", settings)
        self.node.start()

    def close(self) -> None:
        self.node.close()
        self.pacs.stop()

    def result(self, seed: str, sender: str = "SENDER") -> Result:
        """Let a radiograph of this sender be stored and answered."""
        source = as_radiograph(IMAGE, seed=seed, instance="1", modality="CR")
        send([source], self.pacs.dicom_port, PACS_AE, sender)
        send([source], self.node.port, "AINODE", sender)
        self.node.wait_until_answered(str(source.StudyInstanceUID))
        return Result(self, source)

    def rows(self, table: sa.Table, source: Dataset) -> Sequence[Any]:
        """Return the rows of a table about a study."""
        query = sa.select(table).where(table.c.study_key == study_key(str(source.StudyInstanceUID)))
        with self.node.database.connect() as connection:
            return connection.execute(query).all()

    def store(self, documents: Sequence[Dataset], *, to_node: bool) -> None:
        """Store by DCMTK: into Orthanc, and into the node as an auto-forward would."""
        folder = self.folder / f"documents-{time.time_ns()}"
        folder.mkdir()
        files = [folder / f"{number}.dcm" for number in range(len(documents))]
        for file, document in zip(files, documents, strict=True):
            file.write_bytes(part10(document))
        peers = [(PACS_AE, self.pacs.dicom_port), *([("AINODE", self.node.port)] if to_node else [])]
        for title, port in peers:
            # -R: propose only what is sent; storescu's own list has more classes than fit into one association
            command = ["/usr/bin/storescu", "-R", "-aet", PACS_AE, "-aec", title, LOOPBACK, str(port), *map(str, files)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)

    def wait_read(self, source: Dataset, count: int, seconds: float = 60) -> dict[str, str]:
        """Wait until so many documents of a study were read; return their states."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rows = self.rows(answer_object, source)
            if len(rows) >= count and all(row.state != "waiting" for row in rows):
                return {row.sop_instance_uid: row.state for row in rows}
            time.sleep(0.1)
        raise AssertionError(f"{[(row.state, row.text) for row in rows]}\n{self.node.log()[-2000:]}")


class Result:
    """One answered study, with our objects as Orthanc gives them."""

    def __init__(self, hospital: Hospital, source: Dataset) -> None:
        self.source = source
        stored = hospital.pacs.fetch(str(source.StudyInstanceUID))
        self.sr = next(one for one in stored if one.Modality == "SR")
        self.sc = next(one for one in stored if one.Modality == "OT")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """One for the module."""
    made_here = Hospital(tmp_path_factory.mktemp("hospital"))
    yield made_here
    made_here.close()


def test_documents_that_reach_the_node_are_recorded_once_each(hospital: Hospital) -> None:
    """Every kind, stored by DCMTK into Orthanc and the node, twice; beside them what must give no verdict."""
    result = hospital.result("sent")
    answers = [
        made.key_objects([result.sc], "113001"),
        made.edited(result.sr),
        made.with_decision(made.edited(result.sr), "abnormal", "NEG"),
        made.assessment([result.sr], [("REJECT", "99PACSAI", "")]),
    ]
    others = [
        made.presentation_state(result.source, [("POLYLINE", SQUARE)]),
        made.presentation_state(result.source),
        made.key_objects([result.source, result.sc, result.sr], "113000"),
        made.edited(result.sr, verified=False),
    ]
    for _ in range(2):
        hospital.store([*answers, *others, result.sr, result.sc], to_node=True)
        states = hospital.wait_read(result.source, len(answers) + len(others))
    said = {(row.channel, row.verdict, row.strength, row.finding) for row in hospital.rows(verdict, result.source)}
    assert said == {
        ("key_objects", "rejected", "weak", ""),
        ("edited_report", "accepted", "strong", ""),
        ("edited_report", "amended", "strong", "abnormal"),
        ("assessment", "rejected", "weak", ""),
    }
    assert len(hospital.rows(verdict, result.source)) == len(answers)
    assert [states[str(one.SOPInstanceUID)] for one in others] == ["read", "nothing", "nothing", "nothing"]
    assert len(states) == len(answers) + len(others), "our own objects are no documents of others"
    story = hospital.node.story(str(result.source.StudyInstanceUID))
    assert [run["state"] for run in story["runs"]] == ["analysed"]


@pytest.mark.parametrize("way", WAYS)
def test_a_document_that_the_archive_does_not_forward_is_found(hospital: Hospital, way: str) -> None:
    """C-FIND with C-GET or C-MOVE, QIDO-RS with WADO-RS: found, fetched, recorded once; our own objects stay where they are."""
    result = hospital.result(way, way)
    hospital.store([made.key_objects([result.sc], "113001")], to_node=False)
    hospital.wait_read(result.source, 1)
    (row,) = hospital.rows(verdict, result.source)
    assert (row.channel, row.verdict) == ("key_objects", "rejected")
    asked = {one.archive for one in hospital.rows(archive_answer, result.source) if one.question == "documents"}
    assert way.lower() in asked
    instances = hospital.node.story(str(result.source.StudyInstanceUID))["instances"]
    assert "ours" not in {i["state"] for i in instances}
