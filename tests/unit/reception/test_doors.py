"""Other ways in: streamed files, other services on the same port, TLS, headers longer than what stays in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicom_node.core.digest import digest_of
from dicom_node.core.errors import StudyError
from dicom_node.network.association import open_association
from dicom_node.network.tls import ClientTls
from dicom_node.reception.intake import Command, Intake
from dicom_node.reception.part_file import HEAD_BYTES
from dicom_node.reception.service import Service
from dicom_node.reception.settings import ReceptionTls
from dicom_node.reception.status import ObjectRefused
from dicom_node.store import tables
from dicom_node.studies.settings import StudiesSettings
from dicom_node.studies.step import record_arrival
from tests.factories.certificates import certificates
from tests.factories.received_objects import CR, dataset_bytes, encoded, radiograph
from tests.unit.reception.conftest import Node, running
from tests.unit.reception.raw_peer import COMMAND, DATA, EXPLICIT, LAST, RawPeer, pdu, pdv, store, store_command
from tests.unit.reception.test_conformance import CONTEXTS, until


def command_of(ds: Dataset) -> Command:
    return Command(CR, str(ds.SOPInstanceUID), CR, EXPLICIT, "ARCHIVE", "AINODE")


@pytest.fixture
def intake(tmp_path: Path) -> Any:
    with running(tmp_path) as node:
        yield node, Intake(node.home, node.database, partial(record_arrival, settings=StudiesSettings()))


def test_a_streamed_object_is_the_same_as_one_in_memory(intake: tuple[Node, Intake]) -> None:
    node, taking = intake
    ds = radiograph(Rows=1024, Columns=1024, PixelData=bytes(range(256)) * 8192)
    data = encoded(ds)
    part = taking.begin(command_of(ds))
    for at in range(0, len(data), 100_000):
        part.write([data[at : at + 50_000], memoryview(data)[at + 50_000 : at + 100_000]])
    assert taking.take_file(command_of(ds), part) is True
    assert taking.receive(command_of(ds), data) is False  # the same bytes: here already
    (row,) = node.instances()
    assert row.digest == digest_of(data)
    assert dataset_bytes(node.path(row)) == data
    assert node.files() == [node.path(row)]
    assert row.size == node.path(row).stat().st_size


@pytest.mark.parametrize("length", [0, 10, 300])
def test_a_streamed_object_that_cannot_be_taken_leaves_nothing(intake: tuple[Node, Intake], length: int) -> None:
    node, taking = intake
    part = taking.begin(command_of(radiograph()))
    part.write([encoded(radiograph())[:length]])
    with pytest.raises((ObjectRefused, StudyError)):
        taking.take_file(command_of(radiograph()), part)
    assert node.files() == []
    part.discard()  # twice is no harm


def test_a_command_with_a_path_for_a_uid_opens_no_file(intake: tuple[Node, Intake]) -> None:
    node, taking = intake
    with pytest.raises(ObjectRefused):
        taking.begin(Command(CR, "1.2/../../x", CR, EXPLICIT, "A", "B"))
    assert node.files() == []


@pytest.mark.parametrize("pixels", [True, False])
def test_a_header_longer_than_what_stays_in_memory_is_read_from_the_file(node: Node, pixels: bool) -> None:
    """A document, or an enhanced image with much said about each frame."""
    item = Dataset()
    item.TextValue = "x" * 60_000
    ds = radiograph(ContentSequence=[item] * (2 * HEAD_BYTES // 60_000))
    if not pixels:
        del ds.PixelData
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(store(ds))
        assert peer.status() == 0
    (row,) = node.instances()
    assert row.facts.get("has_pixel_data", False) is pixels
    assert row.facts["patient_id"] == "PID-1"


def test_a_header_that_is_cut_off_far_behind_is_refused(node: Node) -> None:
    item = Dataset()
    item.TextValue = "x" * 60_000
    ds = radiograph(ContentSequence=[item] * (2 * HEAD_BYTES // 60_000), PixelData=None)
    with RawPeer(node.port, CONTEXTS) as peer:
        whole = encoded(ds)
        part = whole[: len(whole) - 30_001]
        peer.send(pdu(DATA, pdv(1, COMMAND | LAST, store_command(ds))) + pdu(DATA, pdv(1, LAST, part)))
        assert peer.status() == 0xC000
    assert node.files() == []


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_another_service_is_answered_on_the_same_port_between_objects(tmp_path: Path, path: str) -> None:
    asked: list[Any] = []

    def on_action(event: Any) -> tuple[int, None]:
        asked.append((str(event.action_information.TransactionUID), event.assoc.requestor.ae_title.strip()))
        return 0x0000, None

    service = Service((str(StorageCommitmentPushModel),), [(evt.EVT_N_ACTION, on_action)])
    question = Dataset()
    question.TransactionUID = "1.2.3"
    commitment = str(StorageCommitmentPushModel)
    with (
        running(tmp_path, path=path, services=(service,)) as node,
        open_association(
            host="127.0.0.1",
            port=node.port,
            called_ae="AINODE",
            calling_ae="PACS",
            contexts=[(CR, [EXPLICIT]), (commitment, ["1.2.840.10008.1.2"])],
            roles=[(commitment, True, True)],
            timeout_seconds=10,
        ) as opened,
    ):
        ds = radiograph()
        assert opened.send_c_store(ds).Status == 0
        status, _ = opened.send_n_action(question, 1, commitment, "1.2.840.10008.1.20.1.1")
        assert status.Status == 0
        assert opened.send_c_store(radiograph("b")).Status == 0
        assert len(node.instances()) == 2
        (context,) = [one for one in opened.accepted_contexts if one.abstract_syntax == commitment]
        assert (context.as_scu, context.as_scp) == (True, True)
    assert asked == [("1.2.3", "PACS")]


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_objects_come_in_over_tls_on_both_paths(tmp_path: Path, path: str) -> None:
    pki = certificates(tmp_path / "certs")
    tls = ReceptionTls(port=0, certificate=pki.pem("node"), private_key=pki.key("node"), client_ca=pki.pem("ca"))
    client = ClientTls(ca=pki.pem("ca"), certificate=pki.pem("peer"), private_key=pki.key("peer"))
    large = radiograph(Rows=1500, Columns=1500, PixelData=bytes(range(250)) * 18000)
    with running(tmp_path, path=path, tls=tls) as node:
        assert node.receiver.tls_port is not None
        with open_association(
            host="127.0.0.1",
            port=node.receiver.tls_port,
            called_ae="AINODE",
            calling_ae="PACS",
            contexts=[(CR, [EXPLICIT])],
            timeout_seconds=10,
            tls=client,
        ) as opened:
            for ds in (radiograph("a"), large, radiograph("b")):
                assert opened.send_c_store(ds).Status == 0
        assert len(node.instances()) == 3
        stored = {row.sop_instance_uid: row for row in node.instances()}
        assert dataset_bytes(node.path(stored[large.SOPInstanceUID])) == encoded(large)
        until(lambda: [row.tls[:4] for row in node.rows(tables.association)] == ["TLSv"])
        (row,) = node.rows(tables.association)
        assert "CN=peer" in row.tls
