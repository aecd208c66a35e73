"""Storage commitment with a real Orthanc, both ways, and with the whole node."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_node import node as processes
from dicom_node.config.model import NodeSettings
from dicom_node.core.delivery import DeliveryState, Proof
from dicom_node.core.identifiers import study_key
from dicom_node.delivery import commitment_scp, proving, step
from dicom_node.demo.peers import LOOPBACK, OrthancPacs, free_ports, send
from dicom_node.home import Home
from dicom_node.reception import scp
from dicom_node.results.repository import record_artifacts, write_artifacts
from dicom_node.stages.arrivals import recorder
from dicom_node.stages.commitment import judge, modalities, services
from dicom_node.store import tables
from dicom_node.store.story import read_story
from dicom_node.studies.retention import run_retention
from dicom_node.studies.settings import RetentionSettings
from tests.factories.deliverables import artifact, dicom_bytes, record_run, request
from tests.integration.running_node import SENDER, RunningNode, configuration

SR_UID, SC_UID = "1.2.826.0.1.1", "1.2.826.0.1.2"
STORESCU = "/usr/bin/storescu"  # DCMTK's
PHILIPS = get_testdata_file("RG1_UNCR.dcm", download=False)


class Reception:
    """A node's port with its rows, without workers: the test does by hand what the timers do."""

    def __init__(self, home: Path, values: dict[str, Any], http_port: int) -> None:
        self.home = Home(home)
        self.settings = NodeSettings.model_validate(values)
        self.database = processes.prepare(self.home, self.settings)
        self.http = httpx.Client(base_url=f"http://{LOOPBACK}:{http_port}", timeout=30)
        self.queue: list[tuple[str, int]] = []
        self.receiver = scp.start(
            self.settings.reception,
            home=self.home.path,
            database=self.database,
            record=recorder(self.settings, self.home),
            services=services(self.home, self.settings, self.database),
        )

    def close(self) -> None:
        self.receiver.stop(1)
        self.http.close()
        self.database.dispose()

    # --- as sender of results

    def submit(self, connection: sa.Connection, delivery_id: str, attempt: int, *rest: Any) -> None:
        self.queue.append((delivery_id, attempt))

    def plan(self) -> None:
        items = [
            artifact(),
            dataclasses.replace(
                artifact("secondary_capture"), identifier=SC_UID, data=dicom_bytes("1.2.840.10008.5.1.4.1.1.7", SC_UID)
            ),
        ]
        write_artifacts(self.home.results, items)
        with self.database.begin() as connection:
            record_run(connection, request())
            record_artifacts(connection, items)
            step.plan_deliveries(connection, request(), "external", items, self.settings.destinations, self.submit)

    def deliver(self) -> None:
        while self.queue:
            delivery_id, attempt = self.queue.pop(0)
            destinations = self.settings.destinations
            receipt = step.attempt_delivery(self.database, delivery_id, attempt, destinations, self.home.results)
            step.settle_delivery(self.database, delivery_id, attempt, receipt, destinations, self.submit)

    def prove(self) -> int:
        take = commitment_scp.report_taker(self.database, self.settings.destinations, self.submit)
        pacs: Any = self.settings.destinations["pacs"]
        return proving.prove_destination(self.database, "pacs", pacs, has_instances=None, take_report=take, submit=self.submit)

    def states(self) -> dict[str, tuple[str, str]]:
        with self.database.begin() as connection:
            return {row.identifier: (row.state, row.proof) for row in step.list_deliveries(connection)}

    def wait_for_states(self, ready: Callable[[dict[str, tuple[str, str]]], bool]) -> dict[str, tuple[str, str]]:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if ready(self.states()):
                return self.states()
            time.sleep(0.05)
        raise AssertionError(self.states())

    def delete_in_orthanc(self, uid: str) -> None:
        (found,) = (item for item in self.http.post("/tools/lookup", content=uid).json() if item["Type"] == "Instance")
        assert self.http.delete(f"/instances/{found['ID']}").status_code == 200


@pytest.fixture
def reception(tmp_path: Path) -> Iterator[Reception]:
    """A node's port, and the Orthanc that lists it as modality ``node``."""
    dicom_port, http_port, pacs_port = free_ports(3)
    values = configuration(pacs_port=pacs_port)
    values["reception"]["port"] = dicom_port
    values["reception"]["peers"][1] |= {"commitment": "new_association", "commitment_port": pacs_port}
    values["destinations"]["pacs"] |= {"proof": "commitment", "proof_after_seconds": 0, "commitment_wait_seconds": 0}
    pacs = OrthancPacs(tmp_path, pacs_port, http_port, "AINODE", dicom_port)
    made = Reception(tmp_path / "home", values, http_port)
    yield made
    made.close()
    pacs.stop()


COMMITTED = (DeliveryState.DONE, Proof.COMMITMENT)


def test_orthanc_commits_on_an_association_of_its_own(reception: Reception) -> None:
    """Sent is not delivered; Orthanc's report to our port makes it so."""
    reception.plan()
    reception.deliver()
    assert set(reception.states().values()) == {(DeliveryState.SENT, Proof.NONE)}
    assert reception.prove() == 2
    assert reception.wait_for_states(lambda states: set(states.values()) == {COMMITTED})


def test_what_orthanc_lost_before_it_committed_is_sent_again(reception: Reception) -> None:
    """An object deleted in Orthanc after C-STORE and before the commitment is reported, sent again, and then committed to."""
    reception.plan()
    reception.deliver()
    reception.delete_in_orthanc(SR_UID)
    reception.prove()
    states = reception.wait_for_states(lambda states: states[SC_UID] == COMMITTED and states[SR_UID][0] != DeliveryState.SENT)
    assert states[SR_UID] == (DeliveryState.QUEUED, Proof.NONE)
    with reception.database.begin() as connection:
        assert any("Sent again" in line.text for line in read_story(connection, request().study_key))
        assert step.resubmit_lost(connection, (), reception.submit) == 0, "the sweep gives a new row a moment"
        connection.execute(sa.update(tables.delivery).values(planned_utc=time.time() - 60))
        assert step.resubmit_lost(connection, (), reception.submit) == 1
    reception.deliver()
    reception.prove()
    assert reception.wait_for_states(lambda states: set(states.values()) == {COMMITTED})


def _asked_by_orthanc(reception: Reception, *objects: tuple[str, str]) -> dict[str, Any]:
    """Let Orthanc ask the node to commit; returns Orthanc's own account of the report."""
    body = {"DicomInstances": [list(pair) for pair in objects]}
    asked = reception.http.post("/modalities/node/storage-commitment", json=body)
    assert asked.status_code == 200, asked.text
    end = time.monotonic() + 20
    while time.monotonic() < end:
        commitment_scp.send_reports(reception.database, modalities(reception.settings), judge(reception.home.path))
        report: dict[str, Any] = reception.http.get(asked.json()["Path"]).json()
        if report["Status"] != "Pending":
            return report
        time.sleep(0.1)
    raise AssertionError("Orthanc got no report")


def test_orthanc_as_modality_gets_our_report(reception: Reception) -> None:
    """Success only for what lies on the disk, whole, under that UID and class; and such a study is not deleted any more."""
    assert PHILIPS is not None
    image = dcmread(PHILIPS)
    send([image], reception.receiver.port, "AINODE", SENDER)
    pair = (str(image.SOPClassUID), str(image.SOPInstanceUID))
    report = _asked_by_orthanc(reception, pair)
    assert (report["Status"], [one["SOPInstanceUID"] for one in report["Success"]]) == ("Success", [pair[1]])
    assert report["RemoteAET"] == "AINODE"

    report = _asked_by_orthanc(reception, pair, (pair[0], "1.2.3.4"))
    assert report["Status"] == "Failure"
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in report["Failures"]] == [("1.2.3.4", 0x0112)]
    report = _asked_by_orthanc(reception, ("1.2.840.10008.5.1.4.1.1.2", pair[1]))
    assert [one["FailureReason"] for one in report["Failures"]] == [0x0119]

    with reception.database.begin() as connection:
        key = study_key(image.StudyInstanceUID)
        connection.execute(sa.update(tables.study).values(state="routed", deadline_utc=None, last_received_utc=0.0))
        assert "promised" in " ".join(line.text for line in read_story(connection, key))
    settings = RetentionSettings(keep_days_after_delivery=1)
    assert run_retention(reception.database, reception.home.path, settings, {}).studies == 0

    (file,) = reception.home.store.rglob("*.dcm")
    file.write_bytes(file.read_bytes()[:-2])
    report = _asked_by_orthanc(reception, pair)
    assert [one["FailureReason"] for one in report["Failures"]] == [0x0112], "a file that is cut off is not kept"


def test_the_whole_node_delivers_with_commitment(tmp_path: Path, make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """A chest radiograph comes back into Orthanc, and both results are committed to by it: state, proof and page say so."""
    assert PHILIPS is not None
    http_port, pacs_port = free_ports(2)
    values = configuration(pacs_port=pacs_port)
    values["destinations"]["pacs"] |= {"proof": "commitment", "proof_after_seconds": 1}
    pacs = OrthancPacs(tmp_path, pacs_port, http_port, "AINODE", values["reception"]["port"])
    try:
        node = make_node(values)
        command = [STORESCU, "-aet", SENDER, "-aec", node.ae_title, LOOPBACK, str(node.port), PHILIPS]
        assert subprocess.run(command, capture_output=True, env={"TCP_NODELAY": "1"}, check=False).returncode == 0
        story = node.wait_until_answered(dcmread(PHILIPS, stop_before_pixels=True).StudyInstanceUID)
        assert {(d["state"], d["proof"]) for d in story["deliveries"]} == {("done", "commitment")}
        assert "committed by the archive" in node.get(f"/studies/{story['study_key']}")[1]
        assert 'dicom_node_deliveries_proven{destination="pacs",proof="commitment"} 2.0' in node.get("/metrics")[1]
    finally:
        pacs.stop()
