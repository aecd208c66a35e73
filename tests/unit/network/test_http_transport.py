"""HTTP and MLLP servers that stall: whatever they do instead of answering, this node comes back in time and tries again later."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpcore
import pytest

from dicom_node.archive import dicomweb
from dicom_node.archive.client import ask_count, fetch
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.errors import PeerError
from dicom_node.delivery.destinations import dicomweb_stow, fhir_rest, hl7_mllp
from dicom_node.network import http_transport, https
from dicom_node.network.https import http_client
from dicom_node.network.https_settings import HttpAccess, OAuth2Settings
from dicom_node.network.tls_settings import HttpsTls
from tests.factories.certificates import Certificates
from tests.factories.deliverables import artifact
from tests.factories.token_server import token_server

SECONDS = 0.3
#: A server stalls for so long at most; the node must be back in half of it, on a busy machine too.
LIFE_SECONDS = 20.0
BOUND = LIFE_SECONDS / 2

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
#: What comes at once, and what comes then, one piece every 50 ms.
STALLS: dict[str, tuple[bytes, Iterator[bytes] | None]] = {
    "silence": (b"", None),
    "half of the head": (HEAD[:20], None),
    "head byte by byte": (HEAD[:-4] + b"\r\nX: ", itertools.repeat(b"a")),
    "half of the body": (HEAD + b"[{}", None),
    "body byte by byte": (HEAD + b"[", itertools.repeat(b" ")),
    "message byte by byte": (b"\x0bMSH|", itertools.repeat(b"a")),
}


@contextlib.contextmanager
def stalling_server(stall: str) -> Iterator[int]:
    """Answer every connection as ``STALLS`` says; ``nothing read``, ``little read``: what is sent is not taken."""
    stopped = threading.Event()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)

    def serve(connection: socket.socket) -> None:
        until = time.monotonic() + LIFE_SECONDS
        with connection, contextlib.suppress(OSError):
            connection.settimeout(LIFE_SECONDS)
            if stall not in ("nothing read", "little read"):
                connection.recv(1 << 20)
                at_once, then = STALLS[stall]
                connection.sendall(at_once)
            while time.monotonic() < until and not stopped.wait(0.05):
                if stall == "little read":
                    connection.recv(4096)
                elif stall != "nothing read" and then is not None:
                    connection.sendall(next(then))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stopped.set()
        listener.close()


def archive(port: int) -> ArchiveSettings:
    url = f"http://127.0.0.1:{port}/dicom-web"
    return ArchiveSettings(kind="dicomweb", base_url=url, timeout_seconds=SECONDS, fetch_timeout_seconds=SECONDS)


def find(port: int) -> Any:
    return ask_count(archive(port), "1.2.3")


def retrieve(port: int) -> Any:
    return fetch(archive(port), "1.2.3", {"1.2.3.4": ()}, storage={}, take=lambda *_: 0)


def stow(port: int) -> Any:
    url = f"http://127.0.0.1:{port}/dicom-web"
    return dicomweb_stow.send(artifact(), dicomweb_stow.Settings(kind="dicomweb_stow", base_url=url, timeout_seconds=SECONDS))


def report(port: int) -> Any:
    url = f"http://127.0.0.1:{port}/r4"
    settings = fhir_rest.Settings(kind="fhir_rest", base_url=url, timeout_seconds=SECONDS)
    return fhir_rest.send(artifact("diagnostic_report"), settings)


def tell(port: int) -> Any:
    return hl7_mllp.send(artifact("oru_message"), mllp(port))


def mllp(port: int) -> hl7_mllp.Settings:
    return hl7_mllp.Settings(kind="hl7_mllp", host="127.0.0.1", port=port, timeout_seconds=SECONDS)


def seconds_until_error(ask: Callable[[int], Any], stall: str) -> float:
    """Ask; it must fail, in a way that is tried again. Return how long that took."""
    with stalling_server(stall) as port:
        began = time.monotonic()
        with pytest.raises(PeerError) as caught:
            ask(port)
        assert caught.value.temporary, caught.value
        return time.monotonic() - began


@pytest.mark.parametrize(
    ("ask", "stall"),
    [
        *((find, stall) for stall in STALLS if stall != "message byte by byte"),
        *((ask, "body byte by byte") for ask in (stow, report)),
        *((tell, stall) for stall in ("silence", "message byte by byte")),
    ],
)
def test_a_server_that_stalls_is_left_in_time(ask: Callable[[int], Any], stall: str) -> None:
    assert seconds_until_error(ask, stall) < BOUND


def test_objects_without_end_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """WADO-RS has long to send, and not for ever."""
    monkeypatch.setattr(dicomweb, "MOST_SECONDS", 0.6)
    head = HEAD.replace(b"application/json", b"multipart/related; boundary=x")
    monkeypatch.setitem(STALLS, "objects", (head + b"--x\r\nContent-Type: application/dicom\r\n\r\n", itertools.repeat(b"a")))
    assert seconds_until_error(retrieve, "objects") < BOUND


def test_a_token_that_comes_byte_by_byte_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All attempts at once wait for one token."""
    monkeypatch.setattr(https, "_tokens", https._Tokens())
    secret = tmp_path / "secret"
    secret.write_text("s")

    def ask(port: int) -> Any:
        oauth2 = OAuth2Settings(token_url=f"http://127.0.0.1:{port}/token", client_id="node", client_secret_file=secret)
        with http_client(HttpAccess(oauth2=oauth2), f"http://127.0.0.1:{port}", {}, SECONDS) as client:
            client.get("/r4/metadata")

    assert seconds_until_error(ask, "body byte by byte") < BOUND


@pytest.mark.parametrize("stall", ["nothing read", "little read"])
def test_a_server_that_does_not_read_what_is_sent_is_left(stall: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "MOST_SENDING_SECONDS", 1.0)
    with stalling_server(stall) as port, http_client(HttpAccess(), f"http://127.0.0.1:{port}", {}, SECONDS) as client:
        began = time.monotonic()
        with pytest.raises(https.httpx.TimeoutException):
            client.post("/studies", content=bytes(20_000_000))
        assert time.monotonic() - began < BOUND


def test_encrypted_connections_are_watched_too(pki: Certificates) -> None:
    """The stream that TLS makes of a connection is bounded as that was."""
    with token_server(pki.listener(wants_certificate=False)) as server:
        access = HttpAccess(tls=HttpsTls(ca=pki.pem("ca")))
        with http_client(access, server.url, {}, 10, answer_seconds=1e-9) as client, pytest.raises(https.httpx.ReadTimeout):
            client.get("/r4/metadata")
        with http_client(access, server.url, {}, 10) as client:
            assert [client.get("/r4/metadata").status_code for _ in range(2)] == [401, 401]


class _Connection(httpcore.NetworkStream):
    """Moves at once, and remembers how long it might have taken."""

    def __init__(self) -> None:
        self.allowed: list[float | None] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.allowed.append(timeout)
        return b"a"

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.allowed.append(timeout)


def test_each_request_and_each_answer_on_a_connection_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(http_transport.time, "monotonic", lambda: now[0])
    below = _Connection()
    stream = http_transport._Stream(below, 30.0)
    for _ in range(2):
        stream.write(b"q", 20.0)
        stream.read(10, 20.0)
        now[0] += 25.0
        stream.read(10, 20.0)
        now[0] += 5.0
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(10, 20.0)
    assert below.allowed == [20.0, 20.0, 5.0] * 2
    stream.write(b"q", None)
    now[0] += http_transport.MOST_SENDING_SECONDS
    with pytest.raises(httpcore.WriteTimeout):
        stream.write(b"q", 20.0)
