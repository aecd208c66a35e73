"""The wire, byte by byte, on both paths: what is whole is stored, whatever its pieces; what is not leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.store import tables
from tests.factories.received_objects import CR, CT, dataset_bytes, encoded, radiograph
from tests.unit.reception.conftest import Node, running
from tests.unit.reception.raw_peer import (
    ABORT,
    COMMAND,
    DATA,
    EXPLICIT,
    LAST,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    command,
    pdu,
    pdv,
    pieces,
    store,
    store_command,
)

CONTEXTS = [(CR, EXPLICIT), (VERIFICATION, EXPLICIT)]
IMAGE = 1
ECHO = 3


@pytest.fixture(params=["fast", "plain"])
def impatient(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    """A receiver that waits no longer than a second for the rest of a message."""
    with running(tmp_path, path=request.param, dimse_timeout_seconds=1, network_timeout_seconds=1) as made:
        yield made


def until(what: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def nothing_is_left(node: Node) -> None:
    """No file, no row, no place taken; and the next sender is welcome."""
    until(lambda: node.receiver.open_associations == 0)
    until(lambda: node.files() == [])
    assert node.instances() == []
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(store(radiograph("next")))
        assert peer.status() == 0x0000
        assert peer.release() == RELEASE_RP
    until(lambda: node.receiver.open_associations == 0)


def one_pdu(ds: Dataset) -> bytes:
    """Command and data set in one PDU."""
    return pdu(DATA, pdv(IMAGE, COMMAND | LAST, store_command(ds)) + pdv(IMAGE, LAST, encoded(ds)))


def one_byte_fragments(ds: Dataset) -> bytes:
    parts = pieces(encoded(ds), 1)
    data = b"".join(pdv(IMAGE, LAST if n == len(parts) - 1 else 0, part) for n, part in enumerate(parts))
    return pdu(DATA, pdv(IMAGE, COMMAND | LAST, store_command(ds))) + pdu(DATA, data)


def one_byte_pdus(ds: Dataset) -> bytes:
    return store(ds, fragment=1)


def command_in_pieces(ds: Dataset) -> bytes:
    parts = pieces(store_command(ds), 7)
    first = b"".join(pdu(DATA, pdv(IMAGE, COMMAND | (LAST if n == len(parts) - 1 else 0), p)) for n, p in enumerate(parts))
    return first + pdu(DATA, pdv(IMAGE, LAST, encoded(ds)))


def empty_last_fragment(ds: Dataset) -> bytes:
    data = pdv(IMAGE, 0, encoded(ds)) + pdv(IMAGE, LAST, b"")
    return pdu(DATA, pdv(IMAGE, COMMAND | LAST, store_command(ds))) + pdu(DATA, data)


def empty_pdu_between(ds: Dataset) -> bytes:
    return pdu(DATA, pdv(IMAGE, COMMAND | LAST, store_command(ds))) + pdu(DATA, b"") + pdu(DATA, pdv(IMAGE, LAST, encoded(ds)))


def reserved_control_bits(ds: Dataset) -> bytes:
    """Only the two lowest bits of the message control header mean something (PS3.8, E.2)."""
    return pdu(DATA, pdv(IMAGE, 0xF0 | COMMAND | LAST, store_command(ds)) + pdv(IMAGE, 0xF0 | LAST, encoded(ds)))


@pytest.mark.parametrize(
    "shape",
    [one_pdu, one_byte_fragments, one_byte_pdus, command_in_pieces, empty_last_fragment, empty_pdu_between, reserved_control_bits],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("cut", [1 << 20, 1001, 5], ids=["in one go", "in odd pieces", "five bytes at a time"])
def test_an_object_is_the_same_however_it_is_cut(node: Node, shape: Callable[[Dataset], bytes], cut: int) -> None:
    ds = radiograph()
    with RawPeer(node.port, CONTEXTS) as peer:
        for piece in pieces(shape(ds), cut):
            peer.send(piece)
        answer = peer.answer()
        assert answer[0x0900] == b"\0\0"
        assert answer[0x0100] == b"\x01\x80"
        assert answer[0x0120] == b"\x01\0"
        assert answer[0x1000].rstrip(b"\0").decode() == ds.SOPInstanceUID
        assert peer.release() == RELEASE_RP
    (row,) = node.instances()
    assert dataset_bytes(node.path(row)) == encoded(ds)


def test_objects_sent_without_waiting_are_answered_in_order(node: Node) -> None:
    objects = [radiograph(str(number)) for number in range(20)]
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(b"".join(store(ds, message_id=number) for number, ds in enumerate(objects)))
        answers = [peer.answer() for _ in objects]
        assert peer.release() == RELEASE_RP
    assert [int.from_bytes(answer[0x0120], "little") for answer in answers] == list(range(20))
    assert {answer[0x0900] for answer in answers} == {b"\0\0"}
    assert sorted(row.sop_instance_uid for row in node.instances()) == sorted(str(ds.SOPInstanceUID) for ds in objects)


def test_two_objects_in_one_pdu_are_two(tmp_path: Path) -> None:
    """Rare, and more than the library can do: on the plain path the second one gets no answer."""
    a, b = radiograph("a"), radiograph("b")
    both = b"".join(pdv(IMAGE, COMMAND | LAST, store_command(ds)) + pdv(IMAGE, LAST, encoded(ds)) for ds in (a, b))
    with running(tmp_path, path="fast") as node:
        with RawPeer(node.port, CONTEXTS) as peer:
            peer.send(pdu(DATA, both))
            assert [peer.status(), peer.status()] == [0, 0]
        assert len(node.instances()) == 2


def test_a_data_pdu_larger_than_we_asked_for_is_taken(node: Node) -> None:
    ds = radiograph(Rows=512, Columns=512, PixelData=bytes(512 * 512 * 2))
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(one_pdu(ds))
        assert peer.status() == 0
    (row,) = node.instances()
    assert dataset_bytes(node.path(row)) == encoded(ds)


def test_an_echo_between_objects_is_answered(node: Node) -> None:
    with RawPeer(node.port, CONTEXTS) as peer:
        for number in range(3):
            peer.send(store(radiograph(str(number))))
            assert peer.status() == 0
            assert peer.echo(ECHO) == 0
        assert peer.release() == RELEASE_RP
    assert len(node.instances()) == 3


def test_a_cancel_that_cancels_nothing_is_overheard(node: Node) -> None:
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(pdu(DATA, pdv(IMAGE, COMMAND | LAST, command(0x0FFF, 1, data_set=False))))
        peer.send(store(radiograph()))
        assert peer.status() == 0
        assert peer.echo(ECHO) == 0
        assert peer.release() == RELEASE_RP


def test_an_object_that_is_refused_does_not_disturb_the_next(node: Node) -> None:
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(store(radiograph("a", SOPClassUID=CT)))
        assert peer.status() == 0xA900
        peer.send(store(radiograph("b")))
        assert peer.status() == 0x0000
        assert peer.echo(ECHO) == 0
    assert len(node.instances()) == 1


def half(ds: Dataset) -> bytes:
    whole = store(ds, fragment=300)
    return whole[: len(whole) - 400]


def test_an_abort_at_the_end_of_a_pdu_leaves_nothing(node: Node) -> None:
    ds = radiograph()
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(pdu(DATA, pdv(IMAGE, COMMAND | LAST, store_command(ds))) + pdu(DATA, pdv(IMAGE, 0, encoded(ds)[:200])))
        peer.send(pdu(ABORT, bytes(4)))
        assert peer.ended() == 0
    nothing_is_left(node)


def test_a_release_in_the_middle_of_an_object_leaves_nothing(node: Node) -> None:
    ds = radiograph()
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(pdu(DATA, pdv(IMAGE, COMMAND | LAST, store_command(ds))) + pdu(DATA, pdv(IMAGE, 0, encoded(ds)[:200])))
        assert peer.release() in (RELEASE_RP, ABORT)
    nothing_is_left(node)


def test_a_connection_lost_in_the_middle_of_an_object_leaves_nothing(node: Node) -> None:
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(half(radiograph()))
    nothing_is_left(node)


def damaged(how: str) -> bytes:
    ds = radiograph()
    start = pdu(DATA, pdv(IMAGE, COMMAND | LAST, store_command(ds)))
    return {
        "a PDV longer than its PDU": start + pdu(DATA, b"\x00\x00\xff\xff" + bytes((IMAGE, LAST)) + encoded(ds)),
        "a PDV without room for its head": start + pdu(DATA, b"\x00\x00\x00\x01\x01"),
        "an unknown PDU": start + pdu(0x55, b"????"),
        "a context that was not accepted": pdu(DATA, pdv(99, COMMAND | LAST, store_command(ds)) + pdv(99, LAST, encoded(ds))),
        "an association in an association": RawPeer.request([(CR, EXPLICIT)]),
        "a command that cannot be read": pdu(DATA, pdv(IMAGE, COMMAND | LAST, b"\0\0\0\x01\xff\xff\xff\x7f" + bytes(30))),
        "a request without data set": pdu(
            DATA, pdv(IMAGE, COMMAND | LAST, command(0x0001, 1, CR, ds.SOPInstanceUID, data_set=False))
        ),
    }[how]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the library's own thread, on the plain path
@pytest.mark.parametrize(
    "how",
    [
        "a PDV longer than its PDU",
        "a PDV without room for its head",
        "an unknown PDU",
        "a context that was not accepted",
        "an association in an association",
        "a command that cannot be read",
        "a request without data set",
    ],
)
def test_what_cannot_be_read_ends_the_association_and_only_that(impatient: Node, how: str) -> None:
    with RawPeer(impatient.port, CONTEXTS) as peer:
        peer.send(damaged(how))
        peer.ended()  # aborted, or just closed: it does not hang
    nothing_is_left(impatient)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"\x04\0\0\0\0\x04\0\0\0\x02", b"\x01\0\xff\xff\xff\xff"])
def test_what_is_no_association_is_turned_away(impatient: Node, start: bytes) -> None:
    with RawPeer(impatient.port) as peer:
        peer.send(start)
        peer.ended()
    nothing_is_left(impatient)


def test_both_sides_release_at_once(node: Node) -> None:
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(store(radiograph()) + pdu(RELEASE_RQ, bytes(4)))
        assert peer.status() == 0
        assert peer.read()[0] == RELEASE_RP
        assert peer.read() == (0, b"")
    until(lambda: node.receiver.open_associations == 0)


def test_probes_of_the_port_take_no_place(node: Node) -> None:
    for _ in range(30):
        RawPeer(node.port).close()
    with RawPeer(node.port, CONTEXTS) as peer:
        assert peer.echo(ECHO) == 0
        assert peer.release() == RELEASE_RP


def test_places_are_free_again_however_associations_end(node: Node) -> None:
    ways: list[Callable[[RawPeer], Any]] = [
        lambda peer: peer.release(),
        lambda peer: peer.send(pdu(ABORT, bytes(4))),
        lambda peer: peer.close(),
        lambda peer: peer.send(half(radiograph())),
        lambda peer: peer.send(damaged("an unknown PDU")),
    ]
    for way in ways * 3:  # there are four places
        with RawPeer(node.port, CONTEXTS) as peer:
            way(peer)
        until(lambda: node.receiver.open_associations == 0)
    assert node.rows(tables.refused_object) == []
