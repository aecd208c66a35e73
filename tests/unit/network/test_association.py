"""Associations that this node opens, with TLS: who is believed, and what is said when no encryption comes about."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from dicom_node.core.errors import AssociationRejected, PeerTimeout, PeerUnreachable, TlsFailure
from dicom_node.network.association import open_association
from dicom_node.network.certificates import shown_names
from dicom_node.network.tls_settings import ClientTls
from tests.factories.certificates import Certificates


@contextlib.contextmanager
def pacs(context: ssl.SSLContext | None, seen: list[Any] | None = None) -> Iterator[int]:
    """Run a PACS of pynetdicom and yield its port; ``seen`` gets the names of each caller's certificate."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    entity.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    entity.require_called_aet = True

    def note(event: Any) -> None:
        if seen is not None:
            seen.append(shown_names(event.assoc.dul.socket.socket))

    address = ("127.0.0.1", 0)
    server = entity.start_server(address, block=False, ssl_context=context, evt_handlers=[(evt.EVT_REQUESTED, note)])
    server.handle_error = lambda *_: None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


def echo(port: int, tls: ClientTls | None, *, called: str = "PACS", seconds: float = 5) -> int:
    contexts = [(str(Verification), [ExplicitVRLittleEndian])]
    place = {"host": "127.0.0.1", "port": port, "called_ae": called, "calling_ae": "AINODE"}
    with open_association(**place, contexts=contexts, timeout_seconds=seconds, tls=tls) as association:
        return int(association.send_c_echo().Status)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_sides_prove_who_they_are(pki: Certificates, version: ssl.TLSVersion) -> None:
    """The PACS sees this node's certificate, and its own is verified."""
    seen: list[Any] = []
    context = pki.listener()
    context.minimum_version = context.maximum_version = version
    with pacs(context, seen) as port:
        assert echo(port, pki.client_tls()) == 0x0000
    assert seen == [frozenset({"node", "localhost", "127.0.0.1"})]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_name_that_is_asked_for_is_found(pki: Certificates, name: str) -> None:
    """DNS names and addresses both."""
    with pacs(pki.listener()) as port:
        assert echo(port, pki.client_tls(server_name=name)) == 0x0000


@pytest.mark.parametrize(
    ("shown", "changes", "code"),
    [
        ("stranger", {}, "unknown_ca"),
        ("expired", {}, "expired"),
        ("peer", {"server_name": "pacs.hospital.example"}, "wrong_name"),
        ("peer", {"server_name": "192.0.2.7"}, "wrong_name"),
    ],
)
def test_a_pacs_that_is_not_believed_gets_nothing(pki: Certificates, shown: str, changes: dict[str, str], code: str) -> None:
    """Another authority, an expired certificate, another name: no association, and a sentence that says which."""
    seen: list[Any] = []
    with pacs(pki.listener(shown), seen) as port, pytest.raises(TlsFailure) as caught:
        echo(port, pki.client_tls(**changes))
    assert caught.value.code == code
    assert caught.value.temporary
    assert seen == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("own", [None, "stranger", "expired"])
def test_a_pacs_that_does_not_accept_our_certificate(pki: Certificates, own: str | None, version: ssl.TLSVersion) -> None:
    """In TLS 1.3 the refusal comes after the handshake; both are told as what they are, and soon."""
    context = pki.listener()
    context.minimum_version = context.maximum_version = version
    with pacs(context) as port, pytest.raises(TlsFailure) as caught:
        echo(port, pki.client_tls(own))
    assert caught.value.code in ("refused_by_peer", "closed")
    assert "certificate" in str(caught.value)


def test_a_pacs_without_tls_is_told_as_such(pki: Certificates) -> None:
    """Somebody typed the plain port."""
    with pacs(None) as port, pytest.raises(TlsFailure) as caught:
        echo(port, pki.client_tls())
    assert caught.value.code in ("plaintext", "closed")


def test_a_pacs_that_wants_tls_is_not_talked_to_in_plain_text(pki: Certificates) -> None:
    """Without tls in the settings the peer closes; that is temporary, as any peer that does not answer."""
    with pacs(pki.listener()) as port, pytest.raises(PeerTimeout):
        echo(port, None, seconds=2)


def test_a_pacs_that_is_silent_in_the_handshake_costs_one_timeout(pki: Certificates) -> None:
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TlsFailure) as caught:
        echo(silent.getsockname()[1], pki.client_tls(), seconds=0.5)
    assert caught.value.code == "timeout"


def test_a_pacs_that_is_silent_after_the_handshake_does_not_hang(pki: Certificates) -> None:
    """Session tickets wake the reading thread although no answer came; it must come back all the same."""
    context = pki.listener()
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(1000)
            done.wait(20)

    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(PeerTimeout):
            echo(listener.getsockname()[1], pki.client_tls(), seconds=1)
        done.set()
        thread.join()
    assert threading.active_count() <= before + 1


def test_a_renewed_certificate_is_shown_at_the_next_association(pki: Certificates) -> None:
    """No restart: the files are looked at each time."""
    seen: list[Any] = []
    with pacs(pki.listener(), seen) as port:
        echo(port, pki.client_tls())
        pki.issue("renewed")
        pki.exchange("node", "renewed")
        echo(port, pki.client_tls())
    assert seen == [frozenset({"node", "localhost", "127.0.0.1"}), frozenset({"renewed"})]


def test_own_files_that_cannot_be_used_are_told_before_anything_is_sent(pki: Certificates) -> None:
    """The PACS is not bothered."""
    pki.key("node").write_text("")
    with pytest.raises(TlsFailure, match="PEM is needed") as caught:
        echo(1, pki.client_tls())
    assert caught.value.code == "own_files"


def test_a_rejection_over_tls_is_a_rejection(pki: Certificates) -> None:
    """TLS does not hide what DICOM says."""
    with pacs(pki.listener()) as port, pytest.raises(AssociationRejected, match='"WRONG"'):
        echo(port, pki.client_tls(), called="WRONG")


def test_a_name_that_leads_nowhere_is_temporary() -> None:
    """A name server that is down is no reason to lose a result."""
    place = {"host": "no-such-host.invalid", "port": 104, "called_ae": "PACS", "calling_ae": "AINODE"}
    contexts = [(str(Verification), [ExplicitVRLittleEndian])]
    with (
        pytest.raises(PeerUnreachable, match="cannot be resolved") as caught,
        open_association(**place, contexts=contexts, timeout_seconds=1),
    ):
        pass
    assert caught.value.temporary


def test_roles_are_negotiated() -> None:
    """A C-GET needs this node as SCP on its own association."""
    contexts = [(str(CTImageStorage), [ExplicitVRLittleEndian])]
    place = {"host": "127.0.0.1", "called_ae": "PACS", "calling_ae": "AINODE", "timeout_seconds": 5}
    with (
        pacs(None) as port,
        open_association(**place, port=port, contexts=contexts, roles=[(str(CTImageStorage), True, True)]) as association,
    ):
        (accepted,) = association.accepted_contexts
        assert (accepted.as_scu, accepted.as_scp) == (True, True)


def test_a_release_that_does_not_end_becomes_an_abort() -> None:
    """The library's reactor waits and does not say so: its release would wait for it for ever."""
    with pacs(None) as port:
        place = {"host": "127.0.0.1", "port": port, "called_ae": "PACS", "calling_ae": "AINODE"}
        contexts = [(str(Verification), [ExplicitVRLittleEndian])]
        started = time.monotonic()
        with open_association(**place, contexts=contexts, timeout_seconds=0.5) as association:
            association._reactor_checkpoint.clear()
            while not association._is_paused:
                time.sleep(0.001)
            time.sleep(0.05)  # it waits now
            association._is_paused = False
        assert time.monotonic() - started < 5
        assert association.is_aborted
        assert echo(port, None) == 0x0000, "the next association is as good as any"
