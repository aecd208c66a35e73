"""The MLLP port: frames in, acknowledgements out; what a bad peer does costs it its connection and nobody else's."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hl7.client import MLLPClient

from dicom_node.demo.peers import free_ports
from dicom_node.network.small_ca import SmallCa
from dicom_node.network.tls import ClientTls, ServerTls, client_context
from dicom_node.orders import step
from dicom_node.orders.listener import Listener
from dicom_node.orders.settings import ListenerSettings
from dicom_node.orders.step import patient_now
from dicom_node.store import tables
from tests.factories.hl7_messages import adt, answer
from tests.unit.orders.conftest import Desk

START, END = b"\x0b", b"\x1c\r"
Open = Callable[..., Listener]


@pytest.fixture
def listen(desk: Desk) -> Iterator[Open]:
    """Return a maker of listeners on free ports; all are stopped at the end."""
    opened: list[Listener] = []

    def start(take: Callable[[bytes], bytes | None] | None = None, **values: Any) -> Listener:
        settings = ListenerSettings.model_validate({"host": "127.0.0.1", "port": 0, "peers": ["127.0.0.1"], **values})
        opened.append(Listener(settings, take or partial(step.take, desk.inbox)).start())
        return opened[-1]

    yield start
    for listener in opened:
        listener.stop()


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=5)


def read(connection: socket.socket) -> bytes:
    """Return one framed answer, or what came before the connection was closed."""
    held = b""
    with contextlib.suppress(ConnectionResetError):
        while not held.endswith(END):
            piece = connection.recv(65536)
            if not piece:
                break
            held += piece
    return held


def said(block: bytes) -> tuple[str, str, str]:
    assert block.startswith(START), block
    assert block.endswith(END), block
    return answer(block[1:-2])


def ask(listener: Listener, data: bytes) -> tuple[str, str, str]:
    """Send one message over a connection of its own."""
    with connect(listener) as connection:
        connection.sendall(START + data + END)
        return said(read(connection))


def test_a_library_as_the_sender(desk: Desk, listen: Open) -> None:
    """hl7's own client: many messages over one connection."""
    with MLLPClient("127.0.0.1", listen().port) as client:
        for number in range(20):
            assert b"MSA|AA|" in client.send_message(adt("A08", f"P{number}", birth="19700203"))
    assert desk.ask(patient_now, "P19") is not None


def test_a_connection_for_each_message_and_messages_in_pieces(listen: Open) -> None:
    """Fifty short connections, and one that sends byte by byte, two messages at once, and a line feed after each frame."""
    listener = listen()
    for number in range(50):
        assert ask(listener, adt("A08", f"P{number}"))[0] == "AA"
    first, second = adt("A08", "P1"), adt("A08", "P2")
    with connect(listener) as connection:
        for byte in START + first + END:
            connection.sendall(bytes([byte]))
        assert said(read(connection))[0] == "AA"
        connection.sendall(b"\r\n" + START + second + END + b"\n")
        assert said(read(connection))[1] == second.split(b"|")[9].decode()


def test_answers_keep_the_order_of_their_messages(listen: Open) -> None:
    """A sender that does not wait gets one answer for each message, in order."""
    messages = [adt("A08", f"P{number}") for number in range(30)]
    with connect(listen()) as connection:
        connection.sendall(b"".join(START + one + END for one in messages))
        held = b""
        while held.count(END) < 30:
            held += connection.recv(65536)
    ids = [answer(block[1:])[1] for block in held.split(END)[:-1]]
    assert ids == [one.split(b"|")[9].decode() for one in messages]


def test_half_a_frame_and_then_a_whole_one(desk: Desk, listen: Open) -> None:
    """What a sender gave up in the middle is dropped; what it sends again whole is taken."""
    whole = adt("A08", "P1", birth="19700203")
    with connect(listen()) as connection:
        connection.sendall(START + whole[:40] + START + whole + END)
        assert said(read(connection))[0] == "AA"
    with connect(listen()) as connection:
        connection.sendall(START + whole[:40])
    assert len(desk.rows(tables.message)) == 1


def test_what_is_no_frame_is_told_and_closed(listen: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """An HTTP request, and a message without its marks; the log says why, without a word of what came."""
    listener = listen(idle_seconds=0.5)
    with connect(listener) as connection:
        connection.sendall(b"GET /ZZMARKER HTTP/1.1\r\n\r\n" + START)
        assert said(read(connection))[0] == "AR"
        assert connection.recv(1) == b""
    with connect(listener) as connection:
        connection.sendall(adt("A08", "ZZMARKER"))
        assert connection.recv(1) == b""
    out = capsys.readouterr().out
    assert "before the start of the frame" in out
    assert "ZZMARKER" not in out


def test_a_message_that_is_too_long_is_told_and_closed(listen: Open) -> None:
    """Memory does not follow the length of a message, whether or not it ends."""
    listener = listen(max_message_bytes=10_000)
    assert ask(listener, adt("A08", "P1") + b"NTE|1||" + b"x" * 9000)[0] == "AA"
    for end in (END, b""):
        with connect(listener) as connection, contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall((START if _ == 0 else b"") + b"x" * 100_000)
            connection.sendall(end)
            block = read(connection)
            assert not block or said(block)[0] == "AR"
    assert ask(listener, adt("A08", "P1"))[0] == "AA"


def test_silence_is_ended(listen: Open) -> None:
    """Idle connections and frames that do not go on are closed, so that they hold no place."""
    listener = listen(idle_seconds=0.3, frame_seconds=0.3, max_connections=2)
    with connect(listener) as idle, connect(listener) as half:
        half.sendall(START + b"MSH|")
        assert [idle.recv(1), half.recv(1)] == [b"", b""]
    assert ask(listener, adt("A08", "P1"))[0] == "AA"


def test_many_connections(listen: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no place the one that was silent longest makes room; those with a message under way do not."""
    listener = listen(max_connections=2)
    with connect(listener) as one, connect(listener) as two, connect(listener) as three:
        for connection in (two, three):
            connection.sendall(START + adt("A08", "P1") + END)
            assert said(read(connection))[0] == "AA"
        assert one.recv(1) == b""
        two.sendall(START + b"MSH")
        three.sendall(START + b"MSH")
        time.sleep(0.2)
        with connect(listener) as four:
            assert four.recv(1) == b""
    out = capsys.readouterr().out
    assert "silent for long" in out
    assert "too many connections" in out


def test_nothing_is_left_open(listen: Open) -> None:
    """Hundreds of peers come, some send half a frame, and go."""
    before = len(os.listdir("/proc/self/fd"))
    listener = listen()
    for number in range(300):
        with connect(listener) as connection:
            if number % 2:
                connection.sendall(START + b"MSH|half")
    assert _until(lambda: ask(listener, adt("A08", "P1"))[0] == "AA")
    assert _until(lambda: len(os.listdir("/proc/self/fd")) <= before + 12)
    assert _until(lambda: not listener._callers)


def _until(ready: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(AssertionError, OSError):
            if ready():
                return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("peers", "taken"), [(["10.0.0.0/8"], False), (["10.0.0.0/8", "127.0.0.0/8"], True), (["::1"], False)])
def test_only_listed_peers_are_heard(listen: Open, capsys: pytest.CaptureFixture[str], peers: list[str], taken: bool) -> None:
    """An address that is not listed is closed before it says anything, and the log names it."""
    listener = listen(peers=peers)
    if taken:
        assert ask(listener, adt("A08", "P1"))[0] == "AA"
        return
    with connect(listener) as connection:
        assert connection.recv(1) == b""
    assert _until(lambda: '"address": "127.0.0.1"' in capsys.readouterr().out)


def test_a_slow_database_keeps_the_port_open_and_the_order(listen: Open) -> None:
    """While one message waits, others connect and wait too; stopping answers what is under way."""
    going, taken = threading.Event(), []

    def slow(data: bytes) -> bytes:
        going.wait(10)
        taken.append(data)
        return b"MSH|^~\\&|\rMSA|AA|1\r"

    listener = listen(slow)
    with connect(listener) as one, connect(listener) as two:
        one.sendall(START + b"1" + END)
        time.sleep(0.1)
        two.sendall(START + b"2" + END)
        time.sleep(0.1)
        going.set()
        assert said(read(two))[0] == "AA"
        assert said(read(one))[0] == "AA"
    assert taken == [b"1", b"2"]


def test_a_defect_leaves_the_message_with_its_sender(listen: Open) -> None:
    """No answer, the connection is closed, the next message is taken."""
    calls = []

    def broken(data: bytes) -> bytes:
        calls.append(data)
        if len(calls) == 1:
            raise ValueError("Doe^Jane")
        return b"MSH|^~\\&|\rMSA|AA|1\r"

    listener = listen(broken)
    with connect(listener) as connection:
        connection.sendall(START + b"1" + END)
        assert read(connection) == b""
    assert ask(listener, b"1")[0] == "AA"


def test_a_port_that_is_taken_is_told_and_tried_again(
    listen: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reception goes on without it; once the port is free it is opened."""
    monkeypatch.setattr("dicom_node.orders.listener._AGAIN_SECONDS", 0.1)
    first = listen()
    second = listen(port=first.port)
    assert '"orders.not_listening"' in capsys.readouterr().out
    first.stop()
    assert _until(lambda: ask(second, adt("A08", "P1"))[0] == "AA")


def test_stopping_answers_what_is_under_way(listen: Open) -> None:
    """The message that is being taken is answered; connections without one are closed."""
    began = threading.Event()

    def slow(data: bytes) -> bytes:
        began.set()
        time.sleep(0.3)
        return b"MSH|^~\\&|\rMSA|AA|1\r"

    listener = listen(slow)
    with connect(listener) as idle, connect(listener) as busy:
        busy.sendall(START + b"1" + END)
        began.wait(5)
        listener.stop()
        assert said(read(busy))[0] == "AA"
        assert idle.recv(1) == b""


class Certificates:
    """An authority, a node and a RIS that it vouches for, and a RIS of somebody else's authority. Names are paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.ours = SmallCa.make("Hospital")
        self.ours.save(self.ca, folder / "ca.key")
        self.issue("node")
        self.issue("ris")
        SmallCa.make("Somebody").issue(folder / "stranger.pem", folder / "stranger.key", name="stranger")

    def issue(self, name: str) -> None:
        self.ours.issue(self.folder / f"{name}.pem", self.folder / f"{name}.key", name=name, hosts=["127.0.0.1"])

    def own(self, name: str) -> dict[str, Path]:
        return {"certificate": self.folder / f"{name}.pem", "private_key": self.folder / f"{name}.key"}

    def open(self, listener: Listener, name: str = "") -> ssl.SSLSocket:
        context = client_context(ClientTls(ca=self.ca, **(self.own(name) if name else {})))
        return context.wrap_socket(connect(listener), server_hostname="127.0.0.1")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def _hears(certificates: Certificates, listener: Listener, name: str) -> bool:
    try:
        with certificates.open(listener, name) as connection:
            connection.sendall(START + adt("A08", "P1") + END)
            return connection.recv(1) == START
    except OSError:
        return False


def test_mutual_tls(listen: Open, certificates: Certificates, capsys: pytest.CaptureFixture[str]) -> None:
    """Whom the authority vouches for is heard; none, a stranger and plain text are not, and the log says which."""
    listener = listen(tls=ServerTls(client_ca=certificates.ca, **certificates.own("node")))
    with certificates.open(listener, "ris") as connection:
        connection.sendall(START + adt("A08", "P1") + END)
        assert said(connection.recv(65536))[0] == "AA"
        assert connection.version() == "TLSv1.3"
    for name, words in (("", "showed no certificate"), ("stranger", "not trusted")):
        assert not _hears(certificates, listener, name)
        assert _until(partial(lambda text: text in capsys.readouterr().out, words))
    with connect(listener) as plain, contextlib.suppress(ConnectionResetError):
        plain.sendall(START + adt("A08", "P1") + END)
        assert not plain.recv(65536).startswith(START)
    assert _until(lambda: "does not speak TLS" in capsys.readouterr().out)


def test_a_renewed_certificate_is_shown_without_a_restart(
    listen: Open, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open connections stay open, new ones see the new certificate, and no caller is turned away in between."""
    monkeypatch.setattr("dicom_node.orders.listener._RENEWAL_SECONDS", 0.1)
    listener = listen(tls=ServerTls(client_ca=certificates.ca, **certificates.own("node")))
    with certificates.open(listener, "ris") as old:
        before = old.getpeercert(binary_form=True)
        certificates.issue("node")

        def renewed() -> bool:
            with certificates.open(listener, "ris") as connection:
                return connection.getpeercert(binary_form=True) != before

        assert _until(renewed)
        old.sendall(START + adt("A08", "P1") + END)
        assert said(old.recv(65536))[0] == "AA"
        assert renewed()


def test_certificates_that_cannot_be_used_are_told(
    listen: Open, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, and the port opens once they can be used; never without encryption."""
    monkeypatch.setattr("dicom_node.orders.listener._AGAIN_SECONDS", 0.1)
    (port,) = free_ports(1)
    listener = listen(tls=ServerTls(client_ca=certificates.ca, **certificates.own("later")), port=port)
    out = capsys.readouterr().out
    assert '"orders.not_listening"' in out
    assert "later.pem" in out
    with pytest.raises(ConnectionRefusedError):
        connect(listener)
    certificates.issue("later")

    def heard() -> bool:
        return _hears(certificates, listener, "ris")

    assert _until(heard)
