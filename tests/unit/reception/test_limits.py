"""What a sender may not do: stall, idle, send without end, take all places; and what the node cannot do: store on a full disk."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pynetdicom import evt

from dicom_node.reception import callers
from dicom_node.reception.service import Service
from dicom_node.reception.status import DimseStatus
from dicom_node.store import tables
from tests.factories.dicom_sender import association, send
from tests.factories.received_objects import CR, dataset_bytes, encoded, radiograph
from tests.unit.reception.conftest import Node, running
from tests.unit.reception.raw_peer import (
    ABORT,
    COMMAND,
    DATA,
    EXPLICIT,
    LAST,
    RELEASE_RP,
    RawPeer,
    command,
    pdu,
    pdv,
    store,
    store_command,
)
from tests.unit.reception.test_conformance import CONTEXTS, ECHO, IMAGE, nothing_is_left, until

COMMITMENT = "1.2.840.10008.1.20.1"
LARGE = {"Rows": 1024, "Columns": 1024, "PixelData": bytes(1024 * 1024 * 2)}


def diary(node: Node) -> list[Any]:
    """Return the diary once it is written."""
    with node.database.connect() as connection:
        return list(connection.execute(sa.select(tables.association).order_by(tables.association.c.association_id)))


@pytest.mark.parametrize("sent", [3, 300], ids=["in the head of a PDU", "in an object"])
def test_a_message_that_does_not_go_on_is_aborted(tmp_path: Path, sent: int) -> None:
    with running(tmp_path, dimse_timeout_seconds=0.5) as node:
        with RawPeer(node.port, CONTEXTS) as peer:
            peer.send(store(radiograph(), fragment=100)[:sent])
            started = time.monotonic()
            assert peer.ended() == ABORT
            assert time.monotonic() - started < 5
        nothing_is_left(node)
        until(lambda: any(row.ended_by == "node aborted: a message did not go on" for row in diary(node)))


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_a_message_that_trickles_is_aborted_although_it_never_stops(tmp_path: Path, path: str) -> None:
    with running(tmp_path, path=path, dimse_timeout_seconds=1) as node:
        with RawPeer(node.port, CONTEXTS) as peer:
            started = time.monotonic()
            with suppress(OSError):  # a reset or a broken pipe, once the node has had enough
                for byte in store(radiograph()):
                    peer.send(bytes((byte,)))
                    time.sleep(0.02)
            assert 1 < time.monotonic() - started < 10
        nothing_is_left(node)


def test_a_command_whose_data_set_never_comes_is_aborted(tmp_path: Path) -> None:
    service = Service((COMMITMENT,), [(evt.EVT_N_ACTION, lambda _event: (0x0000, None))])
    with running(tmp_path, dimse_timeout_seconds=0.5, services=(service,)) as node:
        with RawPeer(node.port, [(COMMITMENT, "1.2.840.10008.1.2")]) as peer:
            peer.send(pdu(DATA, pdv(1, COMMAND | LAST, command(0x0130, 1, COMMITMENT))))
            started = time.monotonic()
            assert peer.ended() == ABORT
            assert time.monotonic() - started < 5
        until(lambda: any(row.ended_by == "node aborted: a message did not go on" for row in diary(node)))


def test_an_object_that_takes_longer_than_the_idle_time_is_taken(tmp_path: Path) -> None:
    with running(tmp_path, idle_seconds=0.4) as node, RawPeer(node.port, CONTEXTS) as peer:
        sent = store(radiograph())
        for part in (sent[:400], sent[400:500], sent[500:600], sent[600:]):
            peer.send(part)
            time.sleep(0.3)
        assert peer.status() == 0
        assert len(node.files()) == 1


def test_a_sender_that_pauses_between_objects_is_not_stalled(tmp_path: Path) -> None:
    with running(tmp_path, dimse_timeout_seconds=0.4) as node, RawPeer(node.port, CONTEXTS) as peer:
        for name in ("a", "b"):
            peer.send(store(radiograph(name)))
            assert peer.status() == 0
            time.sleep(1.0)
        assert peer.release() == RELEASE_RP


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_an_idle_association_is_aborted_and_its_place_is_free(tmp_path: Path, path: str) -> None:
    with running(tmp_path, path=path, idle_seconds=0.6) as node:
        with RawPeer(node.port, CONTEXTS) as peer:
            assert peer.echo(ECHO) == 0
            assert peer.ended() == ABORT
        until(lambda: node.receiver.open_associations == 0)
        until(lambda: [row.ended_by for row in diary(node)] == ["node aborted: nothing came for 0.6 s"])


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_a_connection_that_never_asks_is_closed(tmp_path: Path, path: str) -> None:
    with running(tmp_path, path=path, network_timeout_seconds=0.5) as node, RawPeer(node.port) as peer:
        started = time.monotonic()
        peer.ended()
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_an_object_larger_than_the_limit_is_refused_in_words_and_the_next_is_welcome(tmp_path: Path, path: str) -> None:
    with running(tmp_path, path=path, max_object_bytes=1024**2) as node:
        large = radiograph("large", Rows=1024, Columns=600, PixelData=bytes(1024 * 1200))
        with association(node.port, [(CR, EXPLICIT)]):
            refused, taken = send(node.port, large, radiograph("small"))
        assert refused.Status == 0xC000
        assert refused.ErrorComment == "The object is larger than this node takes"
        assert taken.Status == 0x0000
        assert len(node.files()) == len(node.instances()) == 1


def test_an_object_without_end_ends_the_association(tmp_path: Path) -> None:
    with running(tmp_path, max_object_bytes=1024**2) as node:
        with RawPeer(node.port, CONTEXTS) as peer:
            peer.send(pdu(DATA, pdv(IMAGE, COMMAND | LAST, store_command(radiograph()))))
            sent = 0
            with suppress(OSError):  # a reset or a broken pipe, once the node has had enough
                while sent < 1000:
                    peer.send(pdu(DATA, pdv(IMAGE, 0, bytes(60_000))))
                    sent += 1
            assert sent < 1000
        nothing_is_left(node)


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_one_caller_cannot_take_all_places(tmp_path: Path, path: str) -> None:
    with running(tmp_path, path=path, max_associations=4, max_associations_per_peer=2) as node:
        held = [RawPeer(node.port, CONTEXTS) for _ in range(2)]
        with RawPeer(node.port) as third:
            third.send(RawPeer.request(CONTEXTS))
            assert third.read() == (3, bytes((0, 2, 3, 2)))
        with RawPeer(node.port, CONTEXTS, calling="ANYWHERE") as other:
            assert other.echo(ECHO) == 0
        for peer in held:
            peer.close()
        until(lambda: node.receiver.open_associations == 0)
        until(lambda: "this caller's limit of open associations exceeded" in [row.reason for row in diary(node)])


def test_two_callers_do_not_both_get_the_last_place(tmp_path: Path) -> None:
    with running(tmp_path, max_associations=3, max_associations_per_peer=3) as node:
        answers: list[int] = []
        peers = [RawPeer(node.port) for _ in range(12)]

        def ask(peer: RawPeer) -> None:
            peer.send(RawPeer.request(CONTEXTS))
            answers.append(peer.read()[0])

        threads = [threading.Thread(target=ask, args=(peer,)) for peer in peers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [2] * 3 + [3] * 9
        for peer in peers:
            peer.close()
        until(lambda: node.receiver.open_associations == 0)


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_storing_that_is_not_admitted_is_refused_in_words_and_later_admitted_again(tmp_path: Path, path: str) -> None:
    full = DimseStatus(0xA700, "The node's disk is nearly full", "PS3.4 B.2.3")
    now: list[DimseStatus | None] = [full]
    with running(tmp_path, path=path, admit_storage=lambda: now[0]) as node, RawPeer(node.port, CONTEXTS) as peer:
        peer.send(store(radiograph(**LARGE)))
        answer = peer.answer()
        assert answer[0x0900] == b"\x00\xa7"
        assert answer[0x0902].decode().strip() == "The node's disk is nearly full"
        assert node.files() == []
        now[0] = None
        peer.send(store(radiograph()))
        assert peer.status() == 0x0000
        assert len(node.files()) == 1


def test_a_disk_that_fills_up_in_the_middle_of_an_object_refuses_it_and_leaves_nothing(node: Node, monkeypatch: Any) -> None:
    writev, written = os.writev, 0

    def filling(descriptor: int, slices: Any) -> int:
        nonlocal written
        written += sum(map(len, slices))
        if written > 1024 * 1024:
            raise OSError(errno.ENOSPC, "No space left on device")
        return writev(descriptor, slices)

    with RawPeer(node.port, CONTEXTS) as peer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "writev", filling)
            peer.send(store(radiograph(**LARGE)))
            assert peer.status() == 0xA700
        assert node.files() == []
        peer.send(store(radiograph(**LARGE)))
        assert peer.status() == 0x0000
    (row,) = node.instances()
    assert dataset_bytes(node.path(row)) == encoded(radiograph(**LARGE))


def test_many_large_objects_leave_no_buffers_behind(tmp_path: Path) -> None:
    """Ten associations of 20 MB each at once: what stays is the spare buffers, not the objects."""
    import psutil

    large = radiograph(Rows=3200, Columns=3200, PixelData=bytes(3200 * 3200 * 2))
    one = store(large, fragment=60_000)
    with running(tmp_path, max_associations=16, max_associations_per_peer=16) as node:
        peers = [RawPeer(node.port, CONTEXTS) for _ in range(10)]
        before = psutil.Process().memory_info().rss
        highest = before
        for piece in range(0, len(one), 1 << 20):
            for peer in peers:
                peer.send(one[piece : piece + (1 << 20)])
            highest = max(highest, psutil.Process().memory_info().rss)
        assert [peer.status() for peer in peers] == [0] * 10
        for peer in peers:
            peer.close()
        until(lambda: node.receiver.open_associations == 0)
    assert (highest - before) / len(peers) < 4e6


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_a_caller_that_cannot_be_judged_is_turned_away(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library goes on after an error in a handler; the door must not stand open then."""

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise UnicodeError("a name that no resolver takes")

    with running(tmp_path, path=path) as node:
        with monkeypatch.context() as patch:
            patch.setattr(callers, "admit", broken)
            with RawPeer(node.port) as peer:
                peer.send(RawPeer.request(CONTEXTS))
                assert peer.read()[0] == 3
        nothing_is_left(node)
