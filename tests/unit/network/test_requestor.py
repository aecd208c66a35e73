"""Peers that stall: whatever they do instead of what is awaited, this node comes back in time and says so."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import acse, evt
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.sop_class import SecondaryCaptureImageStorage, Verification

from dicom_node.archive.client import ask_count, fetch
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import PeerError, PeerTimeout, PeerUnreachable, TlsFailure
from dicom_node.delivery import commitment, commitment_scu
from dicom_node.delivery.destinations import dicom_store
from dicom_node.network import requestor
from dicom_node.network.association import open_association
from tests.factories.certificates import Certificates
from tests.factories.deliverables import artifact
from tests.factories.received_objects import CR, radiograph
from tests.unit.network import stalling_peer as stalling
from tests.unit.network.stalling_peer import LIFE_SECONDS, STALLS, StallingPeer, black_hole, stalling_peer
from tests.unit.reception.raw_peer import store

#: Many times every bound below, for a busy machine, and half of what the peer would hold us.
BOUND = LIFE_SECONDS / 2
STUDY, SERIES = "1.2.3.4", "1.2.3.4.1"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requestor, "_ABORT_SECONDS", 0.2)


@pytest.fixture(autouse=True)
def _nobody_is_left_behind() -> Iterator[None]:
    """No thread of the library outlives its association, nor the one that releases it."""
    others = set(threading.enumerate())  # of tests before this one
    yield
    until = time.monotonic() + 2
    library = (Association, DULServiceProvider)
    while left := [o for o in set(threading.enumerate()) - others if isinstance(o, library) or o.name == "release"]:
        assert time.monotonic() < until, left
        time.sleep(0.01)


def opened(port: int, abstract_syntax: str = str(Verification), seconds: float = 0.3, **more: Any) -> Any:
    place = {"host": "127.0.0.1", "port": port, "called_ae": "PACS", "calling_ae": "AINODE", "timeout_seconds": seconds}
    return open_association(**place, contexts=[(abstract_syntax, [ExplicitVRLittleEndian])], **more)


def echo(peer: StallingPeer) -> Any:
    with opened(peer.port, seconds=peer.seconds) as association:
        answer = association.send_c_echo()
    if "Status" not in answer:
        raise PeerTimeout("no answer")
    return answer.Status


def deliver(peer: StallingPeer) -> Any:
    values = {"kind": "dicom_store", "ae_title": "PACS", "host": "127.0.0.1", "port": peer.port}
    return dicom_store.send(artifact(), dicom_store.Settings(**values, timeout_seconds=peer.seconds))


def archive(peer: StallingPeer, retrieve: str = "c_move") -> ArchiveSettings:
    values = {"kind": "dimse", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": peer.port, "retrieve": retrieve}
    return ArchiveSettings(**values, timeout_seconds=peer.seconds, fetch_timeout_seconds=peer.seconds)


def find(peer: StallingPeer) -> Any:
    return ask_count(archive(peer), STUDY)


def move(peer: StallingPeer) -> Any:
    return fetch(archive(peer), STUDY, {SERIES: ()}, storage={}, take=lambda *_: 0)


def get(peer: StallingPeer) -> Any:
    storage = {CR: (str(ExplicitVRLittleEndian),)}
    return fetch(archive(peer, "c_get"), STUDY, {SERIES: ()}, storage=storage, take=lambda *_: 0)


def commit(peer: StallingPeer) -> Any:
    asked = commitment_scu.CommitmentPeer("127.0.0.1", peer.port, "PACS", "AINODE", peer.seconds, 0)
    request = commitment.Request(commitment.new_transaction_uid(), ((CR, "1.2.3"),))
    return commitment_scu.ask(asked, request, lambda _event: Dataset())


def seconds_until_error(ask: Callable[[StallingPeer], Any], peer: StallingPeer) -> float:
    """Ask; it must fail, in a way that is tried again. Return how long that took."""
    began = time.monotonic()
    with pytest.raises(PeerError) as caught:
        ask(peer)
    assert caught.value.temporary, caught.value
    return time.monotonic() - began


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("point", ["request", "answer"])
def test_a_delivery_to_a_peer_that_stalls_fails_in_time(point: str, stall: str) -> None:
    with stalling_peer(point, stall) as peer:
        assert seconds_until_error(deliver, peer) < BOUND
        assert len(peer.kept) <= (point == "answer")


@pytest.mark.parametrize("stall", ["silence", "drip", "flood"])
def test_a_peer_that_stalls_at_release_has_the_object_all_the_same(stall: str) -> None:
    with stalling_peer("release", stall, seconds=1.0) as peer:
        began = time.monotonic()
        assert deliver(peer).outcome is Outcome.DELIVERED
        assert time.monotonic() - began < BOUND
        assert len(peer.kept) == 1


@pytest.mark.parametrize("ask", [echo, find, move, get, commit])
def test_every_question_ends_when_the_answer_comes_byte_by_byte(ask: Callable[[StallingPeer], Any]) -> None:
    with stalling_peer("answer", "drip") as peer:
        assert seconds_until_error(ask, peer) < BOUND


@pytest.mark.parametrize(
    ("ask", "stall"), [(find, "pending"), (move, "pending"), (get, "pending"), (get, "objects"), (move, "objects")]
)
def test_an_archive_that_never_comes_to_an_end_is_left(
    ask: Callable[[StallingPeer], Any], stall: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pending for ever, or objects for ever with no pending answer in between."""
    monkeypatch.setattr(requestor, "MOST_SECONDS", 1.0)
    with stalling_peer("answer", stall, object_sent=store(radiograph(), context_id=3)) as peer:
        assert seconds_until_error(ask, peer) < BOUND


def test_a_polite_peer_is_asked_everything() -> None:
    """The peer of these tests is no other when it does not stall."""
    with stalling_peer(seconds=10.0) as peer:
        assert echo(peer) == 0x0000
        assert deliver(peer).outcome is Outcome.DELIVERED
        assert find(peer).series == {}
        assert move(peer).failed == get(peer).failed == 0
        assert not commit(peer)
        assert peer.associations == 6


def test_an_association_that_is_over_between_two_messages_is_a_peer_that_ended_it() -> None:
    """The library raises an error of programming then."""

    def echo_after_the_end(peer: StallingPeer) -> None:
        with opened(peer.port, seconds=5.0) as association:
            assert association.send_c_echo().Status == 0x0000
            association.abort()
            association.send_c_echo()

    with stalling_peer() as peer:
        assert seconds_until_error(echo_after_the_end, peer) < BOUND


def test_an_error_of_ours_stays_what_it_is() -> None:
    with stalling_peer(seconds=5.0) as peer, pytest.raises(RuntimeError, match="ours"), opened(peer.port, seconds=5.0):
        raise RuntimeError("ours")


def test_an_acceptance_without_a_maximum_length_is_an_answer_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would stumble over it when something is sent."""
    made = stalling._item
    monkeypatch.setattr(stalling, "_item", lambda kind, body: b"" if kind == 0x51 else made(kind, body))
    with stalling_peer(seconds=5.0) as peer, pytest.raises(PeerError, match="no maximum length") as caught:
        echo(peer)
    assert caught.value.temporary


def test_whatever_the_library_stumbles_over_in_an_acceptance_the_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads end too, which the fixture above sees."""

    def stumble(*_: Any) -> None:
        raise TypeError("an answer of a stranger: Doe^Jane")

    monkeypatch.setattr(acse, "negotiate_as_requestor", stumble)
    with stalling_peer(seconds=5.0) as peer, pytest.raises(PeerError, match=r"cannot be read \(TypeError\)") as caught:
        echo(peer)
    assert caught.value.temporary
    assert "Doe" not in str(caught.value)


def picture(kilobytes: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4.5"
    ds.PixelData = bytes(1024 * kilobytes)
    ds["PixelData"].VR = "OW"
    return ds


def _little_buffer(event: Any) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)


def send_picture(peer: StallingPeer, kilobytes: int) -> Any:
    handlers = [(evt.EVT_CONN_OPEN, _little_buffer)]
    with opened(peer.port, str(SecondaryCaptureImageStorage), peer.seconds, evt_handlers=handlers) as association:
        return association.send_c_store(picture(kilobytes))


@pytest.mark.parametrize("stall", ["nothing read", "little read"])
def test_a_peer_that_does_not_read_what_is_sent_is_left(stall: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The abort stands behind the whole picture."""
    monkeypatch.setattr(requestor, "MOST_SENDING_SECONDS", 0.6)
    with stalling_peer("answer", stall) as peer:
        began = time.monotonic()
        assert "Status" not in send_picture(peer, 2000)
        assert time.monotonic() - began < BOUND


def test_a_slow_line_is_not_silence() -> None:
    """The answer's time begins when the picture has left: sending it takes longer than the timeout, and it arrives."""
    with stalling_peer(stall="slow", seconds=0.7) as peer:
        began = time.monotonic()
        assert send_picture(peer, 640).Status == 0x0000
        assert time.monotonic() - began > 2 * peer.seconds
        assert [uid for uid, _ in peer.kept] == ["1.2.3.4.5"]


def test_a_peer_that_packets_do_not_reach_is_unreachable_in_time() -> None:
    began = time.monotonic()
    with black_hole() as port, pytest.raises(PeerUnreachable), opened(port):
        pass
    assert time.monotonic() - began < BOUND


def test_a_handshake_that_comes_byte_by_byte_ends(pki: Certificates) -> None:
    """A TLS record that claims 16 kB, one byte at a time."""
    stopped = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")
            for _ in range(200):
                if stopped.wait(0.05):
                    return
                connection.sendall(b"\0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        began = time.monotonic()
        with pytest.raises((TlsFailure, PeerTimeout)), opened(listener.getsockname()[1], tls=pki.client_tls()):
            pass
        assert time.monotonic() - began < BOUND
        stopped.set()
