"""A C-STORE sender that costs next to nothing, so that the receiver is what is measured; synchronous, like any SCU.

Also what a bare copy over TCP needs: the same bytes, a length in front, one byte back when they are on the disk.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.core.identifiers import derived_uid
from tests.factories.received_objects import encoded, radiograph

EXPLICIT = "1.2.840.10008.1.2.1"
CT, DX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1"
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"


@dataclass(frozen=True)
class Sendable:
    """An object as it goes over the wire."""

    sop_class_uid: str
    sop_instance_uid: str
    data: bytes


def ct_series(count: int, seed: int = 1) -> list[Sendable]:
    """Return a series of 512 x 512 slices, half a megabyte each."""
    return [_made(CT, f"ct{seed}", number, 512, 512, seed) for number in range(count)]


def radiographs(count: int, seed: int = 2, rows: int = 3000, columns: int = 2500, studies: bool = False) -> list[Sendable]:
    """Return DX images, 15 MB each unless said otherwise; with ``studies`` each is a study of its own."""
    return [_made(DX, f"dx{seed}.{number if studies else 0}", number, rows, columns, seed) for number in range(count)]


def _made(sop_class: str, study: str, number: int, rows: int, columns: int, seed: int) -> Sendable:
    pixels = np.random.default_rng((seed, number)).integers(0, 4096, rows * columns, dtype="<u2")
    uid = derived_uid("bench", study, str(number))
    ds = radiograph(
        SOPClassUID=sop_class,
        SOPInstanceUID=uid,
        StudyInstanceUID=derived_uid("bench", study),
        SeriesInstanceUID=derived_uid("bench", study, "series"),
        Modality="CT" if sop_class == CT else "DX",
        Rows=rows,
        Columns=columns,
        InstanceNumber=str(number + 1),
        Manufacturer="Bench",
        ImageType=["ORIGINAL", "PRIMARY"],
        PixelSpacing=[0.7, 0.7],
        PixelData=pixels.tobytes(),
    )
    return Sendable(sop_class, uid, encoded(ds))


class Sender:
    """One association."""

    def __init__(self, port: int, called: str, calling: str, sop_class_uid: str) -> None:
        """Connect, propose one context, and be accepted; raises ``ConnectionError`` otherwise."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_request(called, calling, sop_class_uid))
        kind, body = self._pdu()
        if kind != 2:
            raise ConnectionError(f"the association was not accepted: PDU {kind}, {body.hex()}")
        at = body.find(b"\x51\x00\x00\x04")
        peer = int.from_bytes(body[at + 4 : at + 8], "big") if at >= 0 else 0
        self._fragment = min(peer or 131072, 131072) - 6

    def store(self, one: Sendable) -> int:
        """Send one object and return the status."""
        pieces: list[bytes | memoryview] = [_pdv(1, 3, _command(one))]
        data = memoryview(one.data)
        for position in range(0, len(data), self._fragment):
            piece = data[position : position + self._fragment]
            last = position + self._fragment >= len(data)
            pieces += [struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, 1, 2 if last else 0), piece]
        for first in range(0, len(pieces), 512):
            group = pieces[first : first + 512]
            sent, wanted = self._socket.sendmsg(group), sum(map(len, group))
            if sent < wanted:
                self._socket.sendall(b"".join(group)[sent:])
        kind, body = self._pdu()
        if kind != 4:
            raise ConnectionError(f"no answer to an object: PDU {kind}")
        at = body.find(b"\0\0\x00\x09\x02\0\0\0")
        return int.from_bytes(body[at + 8 : at + 10], "little")

    def release(self) -> None:
        """Release and close."""
        self._socket.sendall(struct.pack(">BxI", 5, 4) + bytes(4))
        self._pdu()
        self._socket.close()

    def _pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", _exactly(self._socket, 6))
        return kind, _exactly(self._socket, length)


def send_all(port: int, called: str, calling: str, objects: Sequence[Sendable]) -> float:
    """Send objects over one association and return the seconds from its request to its release."""
    started = time.perf_counter()
    sender = Sender(port, called, calling, objects[0].sop_class_uid)
    for one in objects:
        status = sender.store(one)
        if status != 0:
            raise ConnectionError(f"an object was answered with 0x{status:04X}")
    sender.release()
    return time.perf_counter() - started


def copy_all(port: int, objects: Sequence[Sendable]) -> float:
    """Copy the same bytes over bare TCP; return the seconds."""
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for one in objects:
            connection.sendall(struct.pack(">Q", len(one.data)))
            connection.sendall(one.data)
            _exactly(connection, 1)
    return time.perf_counter() - started


def _exactly(connection: socket.socket, count: int) -> bytes:
    taken = bytearray()
    while len(taken) < count:
        more = connection.recv(count - len(taken))
        if not more:
            raise ConnectionError("the receiver closed the connection")
        taken += more
    return bytes(taken)


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _request(called: str, calling: str, sop_class_uid: str) -> bytes:
    context = bytes((1, 0, 0, 0)) + _item(0x30, sop_class_uid.encode()) + _item(0x40, EXPLICIT.encode())
    user = _item(0x51, struct.pack(">I", 131072)) + _item(0x52, b"1.2.826.0.1.3680043.8.498.1")
    body = struct.pack(">HH", 1, 0) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    body += _item(0x10, _APPLICATION_CONTEXT) + _item(0x20, context) + _item(0x50, user)
    return struct.pack(">BxI", 1, len(body)) + body


def _pdv(context_id: int, control: int, body: bytes) -> bytes:
    return struct.pack(">BxIIBB", 4, len(body) + 6, len(body) + 2, context_id, control) + body


def _command(one: Sendable) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    body = element(0x0002, one.sop_class_uid.encode()) + element(0x0100, b"\x01\0") + element(0x0110, b"\x01\0")
    body += element(0x0700, b"\0\0") + element(0x0800, b"\0\0") + element(0x1000, one.sop_instance_uid.encode())
    return element(0, struct.pack("<I", len(body))) + body
