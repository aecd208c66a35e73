"""A peer made of raw PDUs that stalls where it is told to: silent, in the middle of a PDU, byte by byte, or without end.

It goes on stalling for ``LIFE_SECONDS`` at most: a node that waits without end then fails its test, and does not hold the suite.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from dicom_node.reception.wire import parse_command
from tests.unit.reception.raw_peer import ABORT, COMMAND, DATA, LAST, RELEASE_RP, RELEASE_RQ, element, pdu, pdv

LIFE_SECONDS = 20.0
REQUEST, ACCEPT = 1, 2
#: What a peer can do instead of sending the PDU that is awaited.
STALLS = ("silence", "half", "drip", "endless pdu", "flood", "aborts")


@dataclass
class StallingPeer:
    """``point`` is ``request``, ``answer`` or ``release``: before which PDU it stalls; empty: it behaves.

    ``stall``: ``silence``: nothing comes; ``half``: half of the PDU; ``drip``: a long PDU, one byte at a time; ``endless pdu``: one
    that claims 4 GB, as fast as it goes; ``flood``: fragments of a message that does not end; ``aborts``: nothing but A-ABORT;
    ``pending``: pending responses; ``objects``: C-STORE requests; ``nothing read``, ``little read``: what is sent is not taken;
    ``slow``: it is, but takes its time. ``status`` is answered where it does answer.
    """

    point: str = ""
    stall: str = ""
    status: int = 0x0000
    seconds: float = 0.3  # the timeout that the node has for it
    object_sent: bytes = b""  # a whole C-STORE-RQ, for ``objects``
    port: int = 0
    kept: list[tuple[str, bytes]] = field(default_factory=list)  # SOP Instance UID and data set of whole requests
    associations: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def serve(self, connection: socket.socket) -> None:
        """Play one association."""
        self.associations += 1
        until = time.monotonic() + LIFE_SECONDS
        with connection, contextlib.suppress(OSError, EOFError):
            connection.settimeout(LIFE_SECONDS)
            kind, body = self._read(connection)
            assert kind == REQUEST, kind
            self._send(connection, "request", _acceptance(body), until)
            if self.stall in ("nothing read", "little read"):
                while self._goes_on(until):
                    self.stopped.wait(0.03)
                    if self.stall == "little read":
                        connection.recv(4096)
                return
            command: dict[int, bytes] = {}
            data = bytearray()
            while True:
                kind, body = self._read(connection)
                if kind == RELEASE_RQ:
                    self._send(connection, "release", pdu(RELEASE_RP, bytes(4)), until)
                    return
                if kind == ABORT:
                    return
                (length,) = struct.unpack_from(">I", body)
                assert length + 4 == len(body), "pynetdicom sends one fragment a PDU"
                context_id, control = body[4], body[5]
                if control & COMMAND:
                    command, data = parse_command(body[6:]), bytearray()
                else:
                    data += body[6:]
                is_whole = control & LAST and (not control & COMMAND or command[0x0800] == b"\x01\x01")
                if is_whole and 0x0110 in command:  # a request; objects of ours are answered too
                    self.kept.append((command.get(0x1000, b"").decode().rstrip("\0"), bytes(data)))
                    answer = pdv(context_id, COMMAND | LAST, _answer(command, self.status))
                    self._send(connection, "answer", pdu(DATA, answer), until)

    def _send(self, connection: socket.socket, point: str, right: bytes, until: float) -> None:
        """Send what is awaited, or stall instead."""
        if point != self.point:
            connection.sendall(right)
            return
        if self.stall == "half":
            connection.sendall(right[: len(right) // 2])
        if self.stall == "pending":  # the status is the last of the command's values
            right = right.replace(element(0x0900, struct.pack("<H", self.status)), element(0x0900, b"\x00\xff"))
        head = right[:2]
        pieces = {
            "drip": itertools.chain([head + struct.pack(">I", 60_000)], itertools.repeat(b"\0")),
            "endless pdu": itertools.chain([head + b"\xff\xff\xff\xff"], itertools.repeat(bytes(65536))),
            "flood": itertools.repeat(pdu(DATA, pdv(1, COMMAND, bytes(1000)))),
            "aborts": itertools.repeat(pdu(ABORT, bytes(4))),
            "pending": itertools.repeat(right),
            "objects": itertools.repeat(self.object_sent),
        }.get(self.stall, iter(()))
        for piece in pieces:
            connection.sendall(piece)
            if not self._goes_on(until):
                return
            if len(piece) < 60_000:
                self.stopped.wait(0.01)
        while self._goes_on(until):
            self.stopped.wait(0.05)

    def _goes_on(self, until: float) -> bool:
        return not self.stopped.is_set() and time.monotonic() < until

    def _read(self, connection: socket.socket) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(connection, 6))
        if self.stall == "slow" and kind == DATA:
            self.stopped.wait(0.04)
        return kind, self._exactly(connection, length)

    @staticmethod
    def _exactly(connection: socket.socket, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            piece = connection.recv(count - len(taken))
            if not piece:
                raise EOFError
            taken += piece
        return taken


def _acceptance(request: bytes) -> bytes:
    """Return the A-ASSOCIATE-AC that takes every context with its first transfer syntax, and every role (PS3.8, 9.3.3)."""
    results, user = b"", _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3.4") + _item(0x55, b"STALLING")
    for kind, value in _items(request[68:]):
        if kind == 0x20:
            syntax = next(value for kind, value in _items(value[4:]) if kind == 0x40)
            results += _item(0x21, value[:1] + bytes(3) + _item(0x40, syntax))
        elif kind == 0x50:
            user += b"".join(_item(kind, value) for kind, value in _items(value) if kind == 0x54)
    return pdu(ACCEPT, request[:68] + _item(0x10, b"1.2.840.10008.3.1.1.1") + results + _item(0x50, user))


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from(">BxH", data)
        yield kind, data[4 : 4 + length]
        data = data[4 + length :]


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _answer(command: dict[int, bytes], status: int) -> bytes:
    """Return the response to a request, without a data set."""
    (kind,) = struct.unpack("<H", command[0x0100])
    body = element(0x0002, command.get(0x0002) or command.get(0x0003, b""))
    body += element(0x0100, struct.pack("<H", kind | 0x8000)) + element(0x0120, command[0x0110])
    body += element(0x0800, b"\x01\x01") + element(0x0900, struct.pack("<H", status))
    if 0x1000 in command:
        body += element(0x1000, command[0x1000])
    return element(0, struct.pack("<I", len(body))) + body


@contextlib.contextmanager
def stalling_peer(point: str = "", stall: str = "", **changes: object) -> Iterator[StallingPeer]:
    """Run one on loopback."""
    peer = StallingPeer(point, stall, **changes)  # type: ignore[arg-type]
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # what is not read soon stands at the sender
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    peer.port = listener.getsockname()[1]

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=peer.serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield peer
    finally:
        peer.stopped.set()
        listener.close()


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Yield a port on which packets are lost: nobody accepts, and the queue of those who wait is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
