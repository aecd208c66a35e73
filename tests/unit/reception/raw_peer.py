"""A caller that sends exactly the bytes it is told to: PDUs cut, joined, damaged or left unfinished."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from pydicom.dataset import Dataset

from dicom_node.reception.wire import parse_command
from tests.factories.received_objects import encoded

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
REJECT, DATA, RELEASE_RQ, RELEASE_RP, ABORT = 3, 4, 5, 6, 7
COMMAND, LAST = 1, 2


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def pdv(context_id: int, control: int, body: bytes) -> bytes:
    return struct.pack(">IBB", len(body) + 2, context_id, control) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(field: int, message_id: int = 1, sop_class: str = "", sop_instance: str = "", *, data_set: bool = True) -> bytes:
    """Return a command set: 0x0001 C-STORE-RQ, 0x0030 C-ECHO-RQ, 0x0FFF C-CANCEL-RQ."""
    body = element(0x0002, sop_class.encode()) if sop_class else b""
    body += element(0x0100, struct.pack("<H", field))
    body += element(0x0120 if field == 0x0FFF else 0x0110, struct.pack("<H", message_id))
    if field == 0x0001:
        body += element(0x0700, b"\0\0")
    body += element(0x0800, struct.pack("<H", 0x0000 if data_set else 0x0101))
    if sop_instance:
        body += element(0x1000, sop_instance.encode())
    return element(0, struct.pack("<I", len(body))) + body


def store_command(ds: Dataset, message_id: int = 1) -> bytes:
    return command(0x0001, message_id, ds.SOPClassUID, ds.SOPInstanceUID)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def store(ds: Dataset, context_id: int = 1, message_id: int = 1, fragment: int = 16000) -> bytes:
    """Return a whole C-STORE-RQ, each fragment in a PDU of its own."""
    parts = pieces(encoded(ds), fragment)
    sent = pdu(DATA, pdv(context_id, COMMAND | LAST, store_command(ds, message_id)))
    for number, part in enumerate(parts):
        sent += pdu(DATA, pdv(context_id, LAST if number == len(parts) - 1 else 0, part))
    return sent


class RawPeer:
    """One connection; context ids are 1, 3, 5, ... in the order given."""

    def __init__(self, port: int, contexts: Iterable[tuple[str, str]] = (), calling: str = "PACS", called: str = "AINODE") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted: dict[int, int] = {}
        contexts = list(contexts)
        if contexts:
            self.send(self.request(contexts, calling, called))
            kind, body = self.read()
            assert kind == 2, f"PDU {kind}: {body.hex()}"
            self._read_contexts(body[68:])

    @staticmethod
    def request(contexts: list[tuple[str, str]], calling: str = "PACS", called: str = "AINODE") -> bytes:
        """Return an A-ASSOCIATE-RQ."""
        body = struct.pack(">HH", 1, 0) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
        body += _item(0x10, b"1.2.840.10008.3.1.1.1")
        for number, (abstract, transfer) in enumerate(contexts):
            syntaxes = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
            body += _item(0x20, bytes((2 * number + 1, 0, 0, 0)) + syntaxes)
        user = _item(0x51, struct.pack(">I", 65536)) + _item(0x52, b"1.2.3.4") + _item(0x55, b"RAW_PEER")
        return pdu(1, body + _item(0x50, user))

    def _read_contexts(self, items: bytes) -> None:
        while items:
            kind, length = struct.unpack_from(">BxH", items)
            if kind == 0x21:
                self.accepted[items[4]] = items[6]
            items = items[4 + length :]

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> tuple[int, bytes]:
        """Return the next PDU; (0, b"") when the connection is closed."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def answer(self) -> dict[int, bytes]:
        """Return the next command set."""
        kind, body = self.read()
        assert kind == DATA, f"PDU {kind}"
        return parse_command(body[6:])

    def status(self) -> int:
        return int.from_bytes(self.answer()[0x0900], "little")

    def echo(self, context_id: int, message_id: int = 9) -> int:
        self.send(pdu(DATA, pdv(context_id, COMMAND | LAST, command(0x0030, message_id, VERIFICATION, data_set=False))))
        return self.status()

    def release(self) -> int:
        """Ask for release; return the PDU that answers."""
        self.send(pdu(RELEASE_RQ, bytes(4)))
        return self.read()[0]

    def ended(self) -> int:
        """Read until the end; return the last PDU's type, 0 when there was none or the connection was reset."""
        last = 0
        try:
            while True:
                kind, _ = self.read()
                if not kind:
                    return last
                last = kind
        except ConnectionError:
            return last

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exactly(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            more = self.socket.recv(count - len(taken))
            if not more:
                break
            taken += more
        return taken
