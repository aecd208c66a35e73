"""What the hospital's messages change on a study's way: merges before, between and after; age; priority; the port."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hl7.client import MLLPClient

from dicom_node.core.identifiers import study_key
from dicom_node.demo.peers import OrthancPacs, free_ports, listens, send, wait_for
from dicom_node.orders import step as orders
from dicom_node.stages.merges import patient_merged
from dicom_node.store import tables
from tests.factories.hl7_messages import adt, answer, imaging_order, lab, merge
from tests.integration.in_process import InProcessNode
from tests.integration.running_node import SENDER, RunningNode, configuration
from tests.integration.test_safety import TWO, chest, events, route


def hear(node: InProcessNode, *messages: bytes) -> None:
    """Let the node take messages as its port does."""
    inbox = orders.Inbox(node.rooms.database, node.rooms.settings.orders, dt.UTC, "AINODE", patient_merged)
    for one in messages:
        assert answer(orders.take(inbox, one))[0] == "AA"


def state(node: InProcessNode, dataset: Any) -> tuple[str, str]:
    """Return state and reason of a study."""
    story = node.story(str(dataset.StudyInstanceUID))
    return story["state"], story["hold_reason"]


def test_a_merge_before_analysis_holds_and_the_corrected_header_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is analysed under the number that is gone; the same image with the new number is, by itself."""
    node = InProcessNode(tmp_path, destination=TWO)
    old = chest(PatientID="OLD")
    node.receive(old)
    route(node, monkeypatch)
    hear(node, merge("OLD", "NEW"))
    node.work()
    assert state(node, old) == ("held", "patient_merged")
    assert node.sent() == []
    assert node.story(str(old.StudyInstanceUID))["runs"][0]["state"] == "cancelled"
    story = node.answer(chest(PatientID="NEW"))
    assert story["state"] == "routed"
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"NEW"}
    assert len(node.sent_dicom()) == 2


def test_a_study_that_comes_under_a_number_that_is_gone_is_held(tmp_path: Path) -> None:
    """The modality had the old number in its worklist: the same guard, whenever the merge was."""
    node = InProcessNode(tmp_path, destination=TWO)
    hear(node, merge("OLD", "NEW"))
    old, other = chest("old", PatientID="OLD"), chest("new", PatientID="NEW")
    node.answer(old, other)
    assert state(node, old) == ("held", "patient_merged")
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"NEW"}


def test_the_corrected_header_may_come_before_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive was faster than the RIS: what waits to be compared is still looked at, and ends the hold by itself."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.receive(chest(PatientID="OLD"))
    route(node, monkeypatch)
    node.receive(chest(PatientID="NEW"))
    hear(node, merge("OLD", "NEW"))
    assert state(node, chest()) == ("held", "patient_merged")
    node.work()
    assert state(node, chest()) == ("routed", "")
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"NEW"}


def test_a_merge_between_analysis_and_delivery_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built but not sent stays here; the story says why, without a number; a person's release sends it."""
    node = InProcessNode(tmp_path, destination=TWO)
    old = chest(PatientID="OLD7")
    node.receive(old)
    with monkeypatch.context() as patch:
        kept: list[Any] = []
        patch.setattr(node._queue, "submit_delivery", lambda *a: kept.append((a[1], a[2])))
        node.work()
    assert len(kept) == 2
    hear(node, merge("OLD7", "NEW7"))
    assert state(node, old) == ("held", "patient_merged")
    node._queue.deliveries = kept
    node.work()
    assert node.sent() == []
    told = node.story(str(old.StudyInstanceUID))
    assert {d["state"] for d in told["deliveries"]} == {"cancelled"}
    assert "OLD7" not in str(told["story"])
    assert "merged" in str(told["story"])
    node.release(study_key(str(old.StudyInstanceUID)))
    assert len(node.sent_dicom()) == 2
    assert events(node, old).count("study.held") == 1


def test_a_merge_after_delivery_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """The archive moves our objects with the study; the story says that it happened."""
    node = InProcessNode(tmp_path, destination=TWO)
    old = chest(PatientID="OLD")
    node.answer(old)
    hear(node, merge("OLD", "NEW"))
    node.work()
    assert state(node, old) == ("routed", "")
    assert events(node, old)[-1] == "patient.merged"
    assert len(node.sent_dicom()) == 2


def test_a_merge_of_somebody_else_touches_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number of another authority, and a number that merely begins alike."""
    node = InProcessNode(tmp_path, destination=TWO)
    mine = chest(PatientID="OLD", IssuerOfPatientID="HERE")
    node.receive(mine)
    route(node, monkeypatch)
    hear(node, adt("A08", "X", authority="HERE"), merge("OLD", "NEW", authority="THERE"), merge("OLD1", "NEW"), merge("O", "NEW"))
    node.work()
    assert len(node.sent_dicom()) == 2


def test_the_age_comes_from_the_messages_where_the_header_has_none(tmp_path: Path) -> None:
    """1 January 1900 or nothing: the birth date that the RIS told is used, said so, and not written into the results."""
    node = InProcessNode(tmp_path, destination=TWO)
    hear(node, adt("A08", "ADULT", birth="19700203"), adt("A08", "CHILD", birth="20200203"), adt("A08", "OTHER", birth="20200203"))
    unknown = {"PatientBirthDate": "19000101", "PatientAge": "", "StudyDate": "20260101"}
    adult, child = chest("a", PatientID="ADULT", **unknown), chest("c", PatientID="CHILD", **unknown)
    nobody, header = chest("n", PatientID="NOBODY", **unknown), chest("h", PatientID="OTHER", PatientBirthDate="19700101")
    results = {name: node.answer(dataset)["runs"][-1]["summary"]["reason_key"] for name, dataset in
               {"adult": adult, "child": child, "nobody": nobody, "header": header}.items()}  # fmt: skip
    assert results == {"adult": "", "child": "too_young", "nobody": "age_unknown", "header": ""}
    lines = {name: str(node.story(str(d.StudyInstanceUID))["story"]) for name, d in (("adult", adult), ("header", header))}
    assert "age is taken from the hospital's messages" in lines["adult"]
    assert "different ages; the header counts" in lines["header"]
    assert "1970" not in str(lines)
    born = {str(d.PatientID): str(d.PatientBirthDate) for d in node.sent_dicom()}
    assert born["ADULT"] == "19000101"


def test_the_priority_comes_from_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A STAT order makes its run STAT, whatever the rule says; another patient's order with the same number does not."""
    node = InProcessNode(tmp_path, destination=TWO)
    hear(node, imaging_order("ACC1", patient="P1", tq1="S"))
    for seed, patient, accession in (("a", "P1", "ACC1"), ("b", "P2", "ACC1"), ("c", "P1", "ACC2")):
        node.receive(chest(seed, PatientID=patient, AccessionNumber=accession))
    route(node, monkeypatch)
    with node.rooms.database.connect() as connection:
        rows = {row.study_key: row.request["priority"] for row in connection.execute(sa.select(tables.run))}
    keys = [study_key(str(chest(seed).StudyInstanceUID)) for seed in "abc"]
    assert [rows[key] for key in keys] == [1, 10, 10]


def test_the_port_of_a_running_node(pacs: OrthancPacs, make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """A message over MLLP into the receiver's process holds a study that comes by C-STORE; log and pages name nobody."""
    (port,) = free_ports(1)
    settings = configuration(pacs_port=pacs.dicom_port)
    settings["orders"] = {"listener": {"host": "127.0.0.1", "port": port, "peers": ["127.0.0.1"]}}
    node = make_node(settings)
    wait_for("the HL7 port", lambda: listens(port))
    with MLLPClient("127.0.0.1", port) as client:
        assert b"MSA|AA|" in client.send_message(merge("ZZMARKER", "ZZSURVIVOR", authority="ZZAUTHORITY"))
        assert b"MSA|AR|" in client.send_message(b"MSH|ZZMARKER")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as junk:
        junk.sendall(b"ZZMARKER\x0b")
        assert b"MSA|AR|" in junk.recv(4096)
    dataset = chest(PatientID="ZZMARKER", PatientName="ZZMARKER")
    send([dataset], node.port, node.ae_title, SENDER)
    story = node.wait_until(str(dataset.StudyInstanceUID), lambda one: one["state"] == "held")
    assert story["hold_reason"] == "patient_merged"
    pages = "".join(node.get(path)[1] for path in ("/", "/metrics", f"/studies/{story['study_key']}"))
    assert "ZZ" not in node.log() + pages + str(story["story"])
    assert 'dicom_node_held_studies{reason="patient_merged"} 1.0' in pages
    assert 'dicom_node_messages{state="applied",type="ADT^A40"} 1.0' in pages


def test_on_postgresql(postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on PostgreSQL; and several receivers that take the same messages at once write each once."""
    node = InProcessNode(tmp_path, destination=TWO, database_url=postgresql)
    same = [adt("A08", f"P{n}", birth="19700203", authority="HOSP") for n in range(10)] + [
        lab("543-9^C^LN", "1^a^SCT", "F", patient="P1")
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: hear(node, *same), range(4)))
    with node.rooms.database.connect() as connection:
        rows = [len(list(connection.execute(sa.select(t)))) for t in (tables.message, tables.patient, tables.lab_result)]
        assert rows == [11, 11, 1]
        assert orders.patient_now(connection, "P3", "as the image says") is not None
        assert [value.code for value in orders.labs_of(connection, "P1")] == ["543-9^LN"]
    old = chest(PatientID="OLD", AccessionNumber="ACC1")
    hear(node, imaging_order("ACC1", patient="OLD", tq1="S"))
    node.receive(old)
    route(node, monkeypatch)
    hear(node, merge("OLD", "NEW"))
    node.work()
    assert state(node, old) == ("held", "patient_merged")
    node.answer(chest(PatientID="NEW", AccessionNumber="ACC1"))
    assert {str(d.PatientID) for d in node.sent_dicom()} == {"NEW"}
    node.rooms.database.dispose()
