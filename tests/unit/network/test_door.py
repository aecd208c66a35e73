"""Who comes through a TLS door, who does not, and what the log says about it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from dicom_node.core.errors import TlsFailure
from dicom_node.network.certificates import shown_names
from dicom_node.network.door import TlsDoor, speaks_tls
from dicom_node.network.tls_settings import ServerTls
from tests.factories.certificates import Certificates


class Listening:
    """A door behind a port, each caller in a thread of its own."""

    def __init__(self, settings: ServerTls, seconds: float) -> None:
        self._door = TlsDoor(settings, "test", handshake_seconds=seconds)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.names: list[frozenset[str]] = []
        self.refused: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection, address[0]), daemon=True).start()

    def _one(self, connection: socket.socket, address: str) -> None:
        try:
            encrypted = self._door.wrap(connection, address, self.port)
        except TlsFailure as failure:
            self.refused.append(failure.code)
            return
        with encrypted:
            self.names.append(shown_names(encrypted))
            encrypted.sendall(encrypted.recv(4))

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def listening(settings: ServerTls, seconds: float = 5) -> Iterator[Listening]:
    server = Listening(settings, seconds)
    try:
        yield server
    finally:
        server.close()


def call(port: int, context: ssl.SSLContext) -> str:
    """Say hello and return the echo with the version; raises what the caller's side sees."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain) as encrypted:
        encrypted.sendall(b"ping")
        if encrypted.recv(4) != b"ping":
            raise ConnectionResetError
        return str(encrypted.version())


def wait_for_refusal(server: Listening) -> None:
    end = time.monotonic() + 10
    while not server.refused:
        assert time.monotonic() < end
        time.sleep(0.01)


def refusal(server: Listening, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Wait for the one refusal; return its code and the sentence in the log."""
    wait_for_refusal(server)
    assert server.names == []
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["event"], line["room"], line["address"], line["port"]) == ("tls.refused", "test", "127.0.0.1", server.port)
    assert line["code"] == server.refused[0]
    return line["code"], line["reason"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_caller_with_the_right_certificate_comes_in_and_is_known_by_name(pki: Certificates, version: ssl.TLSVersion) -> None:
    """Both versions of the profile; the names of the certificate are there to be compared with the AE title's."""
    context = pki.caller()
    context.minimum_version = context.maximum_version = version
    with listening(pki.server_tls()) as server:
        assert call(server.port, context) == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        assert server.names == [frozenset({"peer", "localhost", "127.0.0.1"})]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("shown", "code", "said"),
    [
        (None, "no_certificate", "showed no certificate"),
        ("stranger", "unknown_ca", "authority that is not trusted here"),
        ("expired", "expired", "has expired"),
    ],
)
def test_other_callers_are_refused_and_the_log_says_why(
    pki: Certificates, capsys: pytest.CaptureFixture[str], shown: str | None, code: str, said: str, version: ssl.TLSVersion
) -> None:
    """No certificate, one of another authority, an expired one."""
    context = pki.caller(shown)
    context.minimum_version = context.maximum_version = version
    with listening(pki.server_tls()) as server:
        with pytest.raises(OSError):  # noqa: PT011  # which error depends on how far the caller had come
            call(server.port, context)
        told, reason = refusal(server, capsys)
    assert told == code
    assert said in reason


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_older_versions_are_refused(pki: Certificates, capsys: pytest.CaptureFixture[str], version: ssl.TLSVersion) -> None:
    """TLS 1.0 and 1.1 (RFC 8996)."""
    context = pki.caller()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with listening(pki.server_tls()) as server:
        with pytest.raises(OSError):  # noqa: PT011
            call(server.port, context)
        assert refusal(server, capsys)[0] == "protocol_version"


def test_a_cipher_outside_the_profile_is_refused(pki: Certificates, capsys: pytest.CaptureFixture[str]) -> None:
    """CBC suites are no longer sound."""
    context = pki.caller()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES256-SHA384")
    with listening(pki.server_tls()) as server:
        with pytest.raises(OSError):  # noqa: PT011
            call(server.port, context)
        assert refusal(server, capsys)[0] == "no_shared_cipher"


@pytest.mark.parametrize("said", [b"\x01\x00\x00\x00\x00\x08", b"GET / HTTP/1.0\r\n\r\n", b"\x0bMSH|"])
def test_a_caller_without_tls_is_told_as_such(pki: Certificates, capsys: pytest.CaptureFixture[str], said: bytes) -> None:
    """DICOM, HTTP or HL7 in plain text on the TLS port."""
    with listening(pki.server_tls()) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
            plain.sendall(said)
            with contextlib.suppress(ConnectionResetError):
                assert plain.recv(1) == b""
        assert refusal(server, capsys) == (
            "plaintext",
            "The caller cannot be connected by TLS: it does not speak TLS on this port.",
        )


def test_a_caller_that_does_not_trust_this_node_is_told_as_such(pki: Certificates, capsys: pytest.CaptureFixture[str]) -> None:
    """The mistake is then at the other side, and IT knows where to look."""
    with listening(pki.server_tls()) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            call(server.port, pki.caller(trusts="other_ca"))
        code, reason = refusal(server, capsys)
    assert code == "refused_by_peer"
    assert "does not trust the authority of this node's certificate" in reason


def test_a_caller_that_never_finishes_keeps_nobody_waiting(pki: Certificates, capsys: pytest.CaptureFixture[str]) -> None:
    """While one caller dawdles, the next is served; then the dawdler's time is up."""
    with (
        listening(pki.server_tls(), seconds=2.0) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as dawdler,
    ):
        dawdler.sendall(b"\x16\x03\x01")
        call(server.port, pki.caller())
        assert server.refused == []
        server.names.clear()
        assert refusal(server, capsys)[0] == "timeout"


def test_files_that_cannot_be_used_close_the_door_until_they_can(pki: Certificates) -> None:
    """The port stays open, and the next caller after the repair comes in, without a restart."""
    good = pki.key("node").read_bytes()
    pki.key("node").write_text("")
    with listening(pki.server_tls()) as server:
        with pytest.raises(OSError):  # noqa: PT011
            call(server.port, pki.caller())
        wait_for_refusal(server)
        assert server.refused == ["own_files"]
        pki.key("node").write_bytes(good)
        assert call(server.port, pki.caller()) == "TLSv1.3"


def test_a_handshake_on_a_plain_port_is_recognised() -> None:
    """The first byte of a ClientHello, and that of an A-ASSOCIATE-RQ."""
    assert speaks_tls(b"\x16\x03\x01")
    assert not speaks_tls(b"\x01")
    assert not speaks_tls(b"")
