"""HL7 over MLLP on loopback."""

from __future__ import annotations

import importlib.util
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import Hl7Nack, PeerError, PeerTimeout, TlsFailure
from dicom_node.delivery.destinations import hl7_mllp
from dicom_node.network.tls_settings import ClientTls
from tests.factories.certificates import certificates
from tests.factories.deliverables import artifact


def _load(name: str) -> ModuleType:
    path = Path(__file__).parents[3] / "deploy" / "dev" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


mllp_peer = _load("mllp_peer")


@contextmanager
def peer(code: str) -> Iterator[Any]:
    with mllp_peer.MllpPeer(0, code) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def settings(port: int) -> hl7_mllp.Settings:
    return hl7_mllp.Settings(kind="hl7_mllp", host="127.0.0.1", port=port, timeout_seconds=0.5)


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_an_accepted_message_is_delivered(code: str) -> None:
    """AA and CA under our control id are success, and the peer got the message to the byte."""
    with peer(code) as ris:
        assert hl7_mllp.send(artifact("oru_message"), settings(ris.server_address[1])).outcome is Outcome.DELIVERED
    assert ris.messages == [artifact("oru_message").data]


@pytest.mark.parametrize(("code", "temporary"), [("AE", True), ("CE", True), ("AR", False), ("CR", False)])
def test_errors_are_tried_again_and_rejections_parked(code: str, temporary: bool) -> None:
    """AE and CE are temporary, AR and CR permanent."""
    with peer(code) as ris, pytest.raises(Hl7Nack) as caught:
        hl7_mllp.send(artifact("oru_message"), settings(ris.server_address[1]))
    assert (caught.value.code, caught.value.temporary) == (code, temporary)


@pytest.mark.parametrize(("code", "error"), [("none", PeerTimeout), ("wrong", PeerError)])
def test_no_answer_or_one_for_another_message_is_tried_again(code: str, error: type[PeerError]) -> None:
    """Without our own control id nothing is taken for delivered; the same message is sent again."""
    with peer(code) as ris, pytest.raises(error) as caught:
        hl7_mllp.send(artifact("oru_message"), settings(ris.server_address[1]))
    assert caught.value.temporary


@pytest.mark.parametrize(
    "answer", [b"", b"\x0bMSH|^~\\&|\x1c\r", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x0bMSH|^~\\&\rMSA|ZZ|AIMESSAGE1\r\x1c\r"]
)
def test_garbage_is_tried_again(answer: bytes) -> None:
    """A peer that closes, speaks another language, or invents a code is a temporary matter."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(PeerError) as caught:
            hl7_mllp.send(artifact("oru_message"), settings(listener.getsockname()[1]))
        thread.join()
    assert caught.value.temporary


def test_an_acknowledgement_is_read_whatever_its_delimiters_and_line_ends() -> None:
    """Field separators of the peer and stray line feeds do not matter; the rest of the acknowledgement is not read."""
    assert hl7_mllp.acknowledgement(b"MSH#^~\\&#RIS\r\nMSA#AA#X1#Doe^Jane\r\n") == ("AA", "X1")
    assert hl7_mllp.acknowledgement(b"MSA|AE|X2") == ("AE", "X2")
    assert hl7_mllp.acknowledgement(b"") == ("", "")


def test_check_says_whether_the_receiver_can_be_reached() -> None:
    """A connection is opened and no message sent."""
    with peer("AA") as ris:
        port = ris.server_address[1]
        assert hl7_mllp.check(settings(port), ()) == []
    assert ris.messages == []
    assert hl7_mllp.check(settings(port), ()) != []


# ---------------------------------------------------------------- TLS


@contextmanager
def tls_peer(context: ssl.SSLContext) -> Iterator[Any]:
    """A RIS that wants TLS; its handshakes happen in the connections' threads."""
    with mllp_peer.MllpPeer(0, "AA") as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def tls_settings(port: int, tls: ClientTls) -> hl7_mllp.Settings:
    return hl7_mllp.Settings(kind="hl7_mllp", host="127.0.0.1", port=port, timeout_seconds=5, tls=tls)


def test_a_message_goes_by_mutual_tls(tmp_path: Path) -> None:
    """Both sides show a certificate; the name is asked for where it is set."""
    pki = certificates(tmp_path)
    with tls_peer(pki.listener()) as ris:
        place = tls_settings(ris.server_address[1], pki.client_tls(server_name="localhost"))
        assert hl7_mllp.send(artifact("oru_message"), place).outcome is Outcome.DELIVERED
        assert hl7_mllp.check(place, ()) == []
    assert ris.messages == [artifact("oru_message").data]


@pytest.mark.parametrize(
    ("own", "theirs", "name", "code"),
    [
        ("node", "stranger", None, "unknown_ca"),
        ("node", "expired", None, "expired"),
        ("node", "peer", "ris.hospital.example", "wrong_name"),
        ("stranger", "peer", None, "refused_by_peer"),
        (None, "peer", None, "refused_by_peer"),
    ],
)
def test_no_message_goes_when_one_side_does_not_believe_the_other(
    tmp_path: Path, own: str | None, theirs: str, name: str | None, code: str
) -> None:
    """It is tried again later, and the sentence says whose certificate it is."""
    pki = certificates(tmp_path)
    with tls_peer(pki.listener(theirs)) as ris, pytest.raises(TlsFailure) as caught:
        hl7_mllp.send(artifact("oru_message"), tls_settings(ris.server_address[1], pki.client_tls(own, server_name=name)))
    assert caught.value.code in (code, "closed" if code == "refused_by_peer" else code)
    assert caught.value.temporary
    assert ris.messages == []


def test_a_receiver_without_tls_is_told_as_such(tmp_path: Path) -> None:
    """No message leaves in plain text because of it."""
    pki = certificates(tmp_path)
    with peer("AA") as ris:
        place = tls_settings(ris.server_address[1], pki.client_tls()).model_copy(update={"timeout_seconds": 1.0})
        with pytest.raises(TlsFailure):
            hl7_mllp.send(artifact("oru_message"), place)
        assert len(hl7_mllp.check(place, ())) == 1
    assert not any(artifact("oru_message").data in message for message in ris.messages)


@pytest.mark.parametrize(
    ("error", "said"),
    [(ConnectionRefusedError(), "nothing listens on that port"), (socket.gaierror(), "no such name"), (OSError(), "OSError")],
)
def test_check_says_in_words_why_nobody_is_there(error: OSError, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the name of an exception, where there is a better word."""

    def refuse(*_: object, **__: object) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_connection", refuse)
    (problem,) = hl7_mllp.check(hl7_mllp.Settings(kind="hl7_mllp", host="ris", port=2575), ())
    assert said in problem
