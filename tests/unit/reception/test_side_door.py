"""AE titles of another room on reception's ports: who is let in, where objects go, and what is told of the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from pynetdicom.sop_class import Verification

from dicom_node.core.errors import PeerError
from dicom_node.core.identifiers import study_key
from dicom_node.core.study import Instance
from dicom_node.network.association import open_association
from dicom_node.network.tls import ClientTls
from dicom_node.reception.settings import PeerSettings, ReceptionTls
from dicom_node.reception.side_door import Ending, SideDoor
from dicom_node.reception.status import NOTHING_TO_ANSWER, ObjectRefused
from dicom_node.store import tables
from dicom_node.studies.files import clean_store
from tests.factories.certificates import certificates
from tests.factories.dicom_sender import association, send
from tests.factories.received_objects import CR, radiograph
from tests.unit.reception.conftest import Node, running
from tests.unit.reception.raw_peer import RawPeer, store
from tests.unit.reception.test_conformance import CONTEXTS, until

EXPLICIT = "1.2.840.10008.1.2.1"


@dataclass
class Room:
    """Keeps a row of what comes, and remembers what it was told."""

    callers: tuple[PeerSettings, ...] = (
        PeerSettings(ae_title="WS", host="localhost"),
        PeerSettings(ae_title="FAR", host="192.0.2.1"),
    )
    ends: list[Ending] = field(default_factory=list)

    @property
    def door(self) -> SideDoor:
        return SideDoor(("YES", "NO"), self.callers, "answers", self.admit, self.record, lambda _, ending: self.ends.append(ending))

    def admit(self, instance: Instance) -> None:
        if instance.facts.patient_id == "FOREIGN":
            raise ObjectRefused(NOTHING_TO_ANSWER, "not here")

    def record(self, connection: sa.Connection, item: Instance, *, size: int, received_utc: float, association: str) -> bool:
        assert size > 0
        c = tables.answer_object.c
        if connection.execute(sa.select(c.object_id).where(c.digest == item.digest)).first():
            return False
        connection.execute(
            sa.insert(tables.answer_object).values(
                door="answer_ae",
                association=association,
                calling_ae=item.calling_ae,
                called_ae=item.called_ae,
                study_key=study_key(item.study_instance_uid),
                sop_instance_uid=item.sop_instance_uid,
                sop_class_uid=item.sop_class_uid,
                digest=item.digest,
                storage_key=item.path,
                received_utc=received_utc,
                state="waiting",
            )
        )
        return True


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture(params=["fast", "plain"])
def door(tmp_path: Path, request: pytest.FixtureRequest, room: Room) -> Iterator[Node]:
    with running(tmp_path, path=request.param, side_doors=(room.door,)) as made:
        yield made


def test_objects_of_a_side_door_are_no_images(door: Node, room: Room) -> None:
    """Not on disk among them, no row, no study; durable all the same, and each with its association."""
    for _ in range(2):
        assert [answer.Status for answer in send(door.port, radiograph("a"), radiograph("b"), calling="WS", called="YES")] == [0, 0]
    assert send(door.port, radiograph("c"), calling="WS", called="NO")[0].Status == 0
    assert send(door.port, radiograph("d"))[0].Status == 0  # reception's own title, as ever
    rows = door.rows(tables.answer_object)
    assert [(row.calling_ae, row.called_ae) for row in rows] == [("WS", "YES"), ("WS", "YES"), ("WS", "NO")]
    assert rows[0].association == rows[1].association != rows[2].association
    kept = sorted(door.path(row) for row in (*rows, *door.instances()))
    assert door.files() == kept, "of the same bytes one file"
    assert [row.storage_key.startswith("answers/") for row in rows] == [True] * 3
    assert [row.called_ae for row in door.instances()] == ["AINODE"]
    until(lambda: len(room.ends) == 3)
    assert [(end.released, end.refused) for end in room.ends] == [(True, 0)] * 3
    assert {end.association for end in room.ends} >= {row.association for row in rows}


def test_files_of_answers_have_a_row_that_claims_them(door: Node) -> None:
    send(door.port, radiograph(), calling="WS", called="YES")
    assert clean_store(door.database, door.home, older_than_utc=2e10).orphans == 0
    with door.database.begin() as connection:
        connection.execute(sa.delete(tables.answer_object))
    assert clean_store(door.database, door.home, older_than_utc=2e10).orphans == 1


def test_a_refused_object_leaves_nothing_and_is_told_at_the_end(door: Node, room: Room) -> None:
    answers = send(door.port, radiograph("a"), radiograph("b", PatientID="FOREIGN"), calling="WS", called="YES")
    assert [answer.Status for answer in answers] == [0, 0xC002]
    assert answers[1].ErrorComment == "not here"
    assert len(door.files()) == len(door.rows(tables.answer_object)) == 1
    assert [(row.called_ae, row.status, row.text) for row in door.refused()] == [("YES", 0xC002, "not here")]
    until(lambda: len(room.ends) == 1)
    assert room.ends[0].refused == 1


def test_an_association_that_is_cut_off_was_not_released(door: Node, room: Room) -> None:
    with RawPeer(door.port, CONTEXTS, calling="WS", called="YES") as peer:
        peer.send(store(radiograph()))
        assert peer.status() == 0
    until(lambda: len(room.ends) == 1)
    assert room.ends[0].released is False
    assert len(door.rows(tables.answer_object)) == 1


@pytest.mark.parametrize(
    ("calling", "called", "answer"),
    [
        ("WS", "YES", None),
        ("PACS", "YES", (1, 1, 3)),  # may send images, not answers
        ("WS", "AINODE", (1, 1, 3)),  # and the other way round
        ("FAR", "YES", (1, 1, 3)),
        ("STRANGER", "YES", (1, 1, 3)),
        ("PACS", "MAYBE", (1, 1, 7)),
    ],
)
def test_only_who_is_named_may_come_in(door: Node, calling: str, called: str, answer: tuple[int, int, int] | None) -> None:
    with association(door.port, [(Verification, EXPLICIT)], calling, called) as opened:
        assert opened.is_established is (answer is None)
        if answer is None:
            assert opened.send_c_echo().Status == 0
        else:
            told = opened.acceptor.primitive
            assert (told.result, told.result_source, told.diagnostic) == answer


def test_without_a_side_door_its_titles_are_unknown(node: Node) -> None:
    with association(node.port, [(Verification, EXPLICIT)], "PACS", "YES") as opened:
        told = opened.acceptor.primitive
        assert (told.result, told.result_source, told.diagnostic) == (1, 1, 7)


def test_a_full_disk_refuses_answers_too(tmp_path: Path, room: Room) -> None:
    def full() -> object:
        return NOTHING_TO_ANSWER._replace(code=0xA700, meaning="full")

    with running(tmp_path, side_doors=(room.door,), admit_storage=full) as node:
        assert send(node.port, radiograph(), calling="WS", called="YES")[0].Status == 0xA700
        assert node.files() == []


@pytest.mark.parametrize(
    ("path", "certificate_name", "admitted"), [("fast", "peer", 1), ("plain", "peer", 1), ("fast", "other", 0)]
)
def test_over_tls_a_certificate_binds_an_ae_title_here_too(
    tmp_path: Path, path: str, certificate_name: str, admitted: bool
) -> None:
    """Who has another certificate may not answer in this one's name."""
    pki = certificates(tmp_path / "certs")
    tls = ReceptionTls(port=0, certificate=pki.pem("node"), private_key=pki.key("node"), client_ca=pki.pem("ca"))
    client = ClientTls(ca=pki.pem("ca"), certificate=pki.pem("peer"), private_key=pki.key("peer"))
    room = Room((PeerSettings(ae_title="WS", certificate_name=certificate_name),))
    with running(tmp_path, tls=tls, path=path, side_doors=(room.door,)) as node:
        to = {"host": "127.0.0.1", "called_ae": "YES", "calling_ae": "WS", "contexts": [(CR, [EXPLICIT])], "timeout_seconds": 10}
        try:
            with open_association(port=node.receiver.tls_port, tls=client, **to) as opened:
                assert opened.send_c_store(radiograph()).Status == 0
        except PeerError:
            assert not admitted
        assert node.instances() == []
        assert len(node.rows(tables.answer_object)) == admitted
