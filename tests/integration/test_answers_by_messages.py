"""HL7 and FHIR answers at the doors of a running node, and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from hl7.client import MLLPClient

from dicom_node.core.fhir_names import CODE_SYSTEMS
from dicom_node.demo.peers import free_ports, listens, send, wait_for
from dicom_node.feedback import chain
from dicom_node.orders.step import Inbox, take
from dicom_node.stages.answers.fhir_hooks import hook_takes
from dicom_node.stages.answers.messages import hl7_desk
from dicom_node.stages.merges import patient_merged
from dicom_node.store import tables
from tests.factories.hl7_messages import answer
from tests.integration.in_process import InProcessNode
from tests.integration.running_node import SENDER, RunningNode, configuration
from tests.integration.test_fhir_peer import peer  # noqa: F401  (a fixture)
from tests.integration.test_safety import chest

RAO = {"reference": "Practitioner/17", "display": "Dr. Rao"}
READERS = [{"name": "Rao^Asha^^Dr.", "role": "radiologist", "hl7_ids": ["D1"], "fhir_references": ["Practitioner/17"]}]


def signed(message: str, status: str, observer: str, control: str) -> bytes:
    """Return our message as the RIS signs it."""
    segments = []
    for segment in message.rstrip("\r").split("\r"):
        fields = segment.split("|")
        if fields[0] == "MSH":
            fields[2:4], fields[9] = ["RIS", "HOSP"], control
        elif fields[0] == "OBX":
            fields += [""] * (17 - len(fields))
            fields[11], fields[16] = status, observer
        segments.append("|".join(fields))
    return "".join(f"{one}\r" for one in segments).encode()


def log_of(database: sa.Engine) -> list[tuple[str, str, str]]:
    with database.connect() as connection:
        return [(row.channel, row.verdict, row.strength) for row in connection.execute(sa.select(tables.verdict))]


def test_the_doors_of_a_running_node(
    peer: Path,  # noqa: F811
    tmp_path: Path,
    make_node: Callable[[dict[str, Any]], RunningNode],
) -> None:
    """Signed by HL7 at the port, rejected by a Task at the hook, corrected at the FHIR server that is asked: three rows."""
    server = subprocess.Popen(["node", "server.mjs", "0"], cwd=peer, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert server.stdout is not None
    try:
        base = f"http://127.0.0.1:{json.loads(server.stdout.readline())['listening']}"
        (tmp_path / "token").write_text("a-token")
        (tmp_path / "hook").write_text("hook-token\n")
        (port,) = free_ports(1)
        settings = configuration(pacs_port=1, destinations=["fhir", "folder"])
        token = str(tmp_path / "token")
        settings["destinations"] = {
            "fhir": {"kind": "fhir_rest", "base_url": base, "token_file": token, "allow_unvalidated": True},
            "folder": {"kind": "folder", "path": str(tmp_path), "outputs": ["oru_message"], "allow_unvalidated": True},
        }
        settings["readers"] = READERS
        settings["feedback"] = {"fhir": {"hook_token_file": str(tmp_path / "hook"), "poll": ["fhir"], "poll_seconds": 1}}
        settings["orders"] = {"listener": {"host": "127.0.0.1", "port": port, "peers": ["127.0.0.1"]}}
        node = make_node(settings)
        wait_for("the HL7 port", lambda: listens(port))
        dataset = chest(AccessionNumber="ZZACC", PatientID="ZZPID")
        send([dataset], node.port, node.ae_title, SENDER)
        node.wait_until_answered(str(dataset.StudyInstanceUID))
        (message,) = [path.read_bytes().decode() for path in tmp_path.rglob("oru_message.hl7") if "home0" not in str(path)]
        with MLLPClient("127.0.0.1", port) as client:
            assert b"MSA|AA|" in client.send_message(signed(message, "F", "D1^ZZRao", "R1"))
        assert log_of(node.database) == [("hl7", "accepted", "strong")]

        (report,) = [one["resource"] for one in httpx.get(f"{base}/DiagnosticReport", trust_env=False).json()["entry"]]
        code = {"coding": [{"system": CODE_SYSTEMS["99PACSAI"], "code": "REJECT"}]}
        task: dict[str, Any] = {"resourceType": "Task", "id": "t1", "status": "completed", "intent": "order", "owner": RAO}
        task |= {
            "focus": {"identifier": report["identifier"][0]},
            "output": [{"type": {"text": "a"}, "valueCodeableConcept": code}],
        }
        hook = f"http://127.0.0.1:{node.settings.web.port}/fhir-hook/Task/t1"
        wait_for("the pages", lambda: listens(node.settings.web.port))
        headers = {"Authorization": "Bearer hook-token"}
        assert httpx.put(hook, json=task, headers=headers, trust_env=False).json() == {"taken": 1}
        assert httpx.put(hook, json=task, trust_env=False).status_code == 401
        assert log_of(node.database)[1:] == [("fhir", "rejected", "strong")]

        below = [{"coding": [{"system": CODE_SYSTEMS["99PACSAI"], "code": "NEG"}]}]
        (report,) = [one["resource"] for one in httpx.get(f"{base}/DiagnosticReport", trust_env=False).json()["entry"]]
        changed = {**report, "status": "amended", "resultsInterpreter": [RAO], "conclusionCode": below}
        httpx.put(f"{base}/DiagnosticReport/{report['id']}", json=changed, trust_env=False).raise_for_status()
        wait_for("the server to be asked", lambda: len(log_of(node.database)) == 3, 30)
        assert log_of(node.database)[2:] == [("fhir", "amended", "strong")]
        assert "ZZ" not in node.log()
        (still,) = [one["resource"] for one in httpx.get(f"{base}/DiagnosticReport", trust_env=False).json()["entry"]]
        assert (still["status"], still["conclusionCode"]) == ("amended", below)
    finally:
        server.terminate()
        server.wait(10)


def test_on_postgresql(postgresql: str, tmp_path: Path) -> None:
    """The same rows, the same idempotence, a chain that verifies."""
    outputs = {"outputs": ["oru_message", "diagnostic_report"]}
    node = InProcessNode(tmp_path, destination=outputs, database_url=postgresql, readers=READERS)
    node.answer(chest(AccessionNumber="ACC-1", PatientID="P-1"))
    rooms = node.rooms
    (message,) = node.sent_text(".hl7")
    inbox = Inbox(rooms.database, rooms.settings.orders, dt.UTC, "AINODE", patient_merged, hl7_desk(rooms.home, rooms.settings))
    for control in ("R1", "R1", "R2"):
        assert answer(take(inbox, signed(message, "F", "D1^Rao", control)))[0] == "AA"
    assert answer(take(inbox, signed(message, "W", "D1^Rao", "R3")))[0] == "AA"
    take_resources = hook_takes(rooms.home, rooms.settings, rooms.database)
    bundle = json.loads(node.sent_text(".json")[0])
    resources = [entry["resource"] for entry in bundle["entry"]]
    (report,) = [one for one in resources if one["resourceType"] == "DiagnosticReport"]
    final = {**report, "id": "1", "meta": {"versionId": "2"}, "status": "final", "resultsInterpreter": [RAO]}
    odd = {**final, "id": "2", "meta": "odd"}
    for _ in range(2):
        assert sorted(take_resources([final, odd])) == ["read", "unclear"]
    expected = [("hl7", "accepted", "strong"), ("hl7", "withdrawn", "strong"), ("fhir", "accepted", "strong")]
    assert log_of(rooms.database) == expected
    with rooms.database.connect() as connection:
        assert chain.verify(connection).problems == ()
    rooms.database.dispose()
