"""What a peer sends over one connection: well-formed at first, then damaged in PDUs, PDVs, negotiation and command sets."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.fuzz.corpus import EXPLICIT, IMPLICIT, Specimen, instance_uid, undamaged
from tests.fuzz.data_sets import damaged

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
APPLICATION = b"1.2.840.10008.3.1.1.1"
CALLING, CALLED = "FUZZ", "AINODE"
_COMMAND, _LAST = 1, 2

#: One connection: pieces, each sent by itself.
Stream = list[bytes]
#: In a stream: wait a moment for an answer, as a polite peer does.
WAIT = b""


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Return one PDU (PS3.8, 9.3.1)."""
    return struct.pack(">BxI", kind, (len(body) if length is None else length) & 0xFFFFFFFF) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Return one item or sub-item of an A-ASSOCIATE (PS3.8, 9.3.2)."""
    return struct.pack(">BxH", kind, (len(body) if length is None else length) & 0xFFFF) + body


def context(number: int, abstract: str, *syntaxes: str) -> bytes:
    """Return a proposed presentation context."""
    inner = item(0x30, abstract.encode()) + b"".join(item(0x40, s.encode()) for s in syntaxes)
    return item(0x20, bytes((number & 0xFF, 0, 0, 0)) + inner)


def user_information(max_length: int = 16384, extra: bytes = b"") -> bytes:
    """Return the user information item."""
    inner = item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3.4.5") + extra + item(0x55, b"FUZZ")
    return item(0x50, inner)


def associate(contexts: bytes, users: bytes, calling: str = CALLING, called: str = CALLED, version: int = 1) -> bytes:
    """Return an A-ASSOCIATE-RQ."""
    head = struct.pack(">Hxx16s16s32x", version, called.encode().ljust(16), calling.encode().ljust(16))
    return pdu(ASSOCIATE_RQ, head + item(0x10, APPLICATION) + contexts + users)


def element(number: int, value: bytes) -> bytes:
    """Return one element of a command set."""
    return struct.pack("<HHI", 0, number, len(value)) + value


def store_command(sop_class: str, instance: str, message: int = 1, /, **changes: bytes | None) -> bytes:
    """Return the command set of a C-STORE-RQ; ``changes`` replace values by name, ``None`` leaves them out."""

    def text(value: str) -> bytes:
        data = value.encode()
        return data + b"\0" * (len(data) % 2)

    values: dict[str, tuple[int, bytes | None]] = {
        "sop_class": (0x0002, text(sop_class)),
        "field": (0x0100, b"\x01\0"),
        "message": (0x0110, struct.pack("<H", message)),
        "priority": (0x0700, b"\0\0"),
        "data_set": (0x0800, b"\x01\0"),
        "instance": (0x1000, text(instance)),
    }
    for name, value in changes.items():
        values[name] = (values[name][0], value)
    body = b"".join(element(number, value) for number, value in values.values() if value is not None)
    return element(0, struct.pack("<I", len(body))) + body


def pdv(context_id: int, control: int, data: bytes, length: int | None = None) -> bytes:
    """Return one PDV item."""
    return struct.pack(">IBB", (len(data) + 2 if length is None else length) & 0xFFFFFFFF, context_id, control & 0xFF) + data


def fragments(data: bytes, size: int) -> list[bytes]:
    """Cut into pieces, at least one."""
    return [data[i : i + size] for i in range(0, len(data), size)] or [b""]


def stored(specimen: Specimen, instance: str, size: int = 8192, context_id: int = 1, /, **changes: bytes | None) -> Stream:
    """Return the P-DATA of one C-STORE-RQ."""
    pieces = [pdu(P_DATA, pdv(context_id, _COMMAND | _LAST, store_command(specimen.sop_class_uid, instance, **changes)))]
    parts = fragments(specimen.data, size)
    pieces += [pdu(P_DATA, pdv(context_id, _LAST * (n == len(parts) - 1), part)) for n, part in enumerate(parts)]
    return [WAIT, *pieces, WAIT]


def opening(*chosen: Specimen) -> bytes:
    """Return a request for the contexts that these objects need, ids 1, 3, 5, …"""
    asked = [context(2 * n + 1, s.sop_class_uid, s.transfer_syntax_uid) for n, s in enumerate(chosen)]
    return associate(b"".join(asked), user_information())


RELEASE, ABORTED = pdu(RELEASE_RQ, bytes(4)), pdu(ABORT, bytes(4))

# ---------------------------------------------------------------- kinds of cases


def damaged_objects(chance: random.Random, number: int) -> Stream:
    """A flawless association with three damaged objects."""
    objects = [damaged(chance, number * 4 + n) for n in range(3)]
    pieces = [opening(*objects)]
    for n, specimen in enumerate(objects):
        uid = instance_uid(number * 4 + n)
        pieces += stored(specimen, uid, chance.choice((6, 100, 8192, 65536)) if len(specimen.data) < 20_000 else 65536, 2 * n + 1)
    return [*pieces, RELEASE]


def lying_pdus(chance: random.Random, number: int) -> Stream:
    """Types and lengths of PDUs and PDVs that are not so."""
    specimen = undamaged(number * 4)
    pieces = [opening(specimen), *stored(specimen, instance_uid(number * 4), chance.choice((200, 8192))), RELEASE]
    place = chance.choice([n for n, piece in enumerate(pieces) if piece])
    piece = bytearray(pieces[place])
    what = chance.randrange(5)
    if what == 0:
        piece[0] = chance.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 0x16, 0x47, 0x80, 0xFF))
    elif what == 1:
        piece[2:6] = struct.pack(">I", chance.choice((0, 1, 3, 5, len(piece), len(piece) - 7, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20, 65)))
    elif what == 2 and len(piece) > 12:
        piece[6:10] = struct.pack(">I", chance.choice((0, 1, 2, len(piece), 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE)))
    elif what == 3 and len(piece) > 12:
        piece[10 + chance.randrange(2)] = chance.choice((0, 1, 2, 3, 4, 7, 99, 127, 128, 255))
    else:
        for _ in range(chance.choice((1, 3, 20))):
            piece[chance.randrange(min(len(piece), 200))] ^= 1 << chance.randrange(8)
    pieces[place] = bytes(piece)
    return pieces


def odd_negotiation(chance: random.Random, number: int) -> Stream:
    """A-ASSOCIATE-RQs of every kind, and an object after those that are accepted."""
    specimen = undamaged(number * 4)
    good = context(1, specimen.sop_class_uid, EXPLICIT, IMPLICIT)
    uids = ("", "1.2.840.10008.1.1", "../../x", "1" * 300, "\0\0", "1.2.840.10008.1.2.1.99", "1.2.3.é")
    contexts, users, pieces = good, user_information(), []
    what = chance.randrange(10)
    if what == 0:  # a flood of contexts, with ids that repeat and are even
        made = [context(chance.randrange(256), chance.choice((*uids, specimen.sop_class_uid)), *uids[:4]) for _ in range(200)]
        contexts = b"".join(made) + good
    elif what == 1:
        contexts = context(1, specimen.sop_class_uid, *(f"1.2.{n}" for n in range(1500)), EXPLICIT)
    elif what == 2:
        contexts = context(1, chance.choice(uids), chance.choice(uids))
    elif what == 3:
        contexts = context(1, specimen.sop_class_uid)
    elif what == 4:
        kind = chance.choice((0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x99))
        told = chance.choice((None, 0, 1, 0xFFFF))
        extra = item(kind, chance.randbytes(chance.choice((0, 1, 4, 40, 2000))), told)
        users = user_information(chance.choice((0, 1, 6, 7, 128, 0xFFFFFFFF)), extra * chance.choice((1, 1, 50)))
    elif what == 5:
        users = b"" if chance.random() < 0.5 else user_information() * 3
    elif what == 6:
        body = bytearray(associate(good, users))
        for _ in range(chance.choice((1, 2, 10))):
            body[chance.randrange(6, len(body))] = chance.randrange(256)
        pieces = [bytes(body)]
    elif what == 7:
        titles = ("", " ", "A" * 16, "FUZZ\\X", "FÜZZ", "\n", "FUZZ\0\0")
        pieces = [
            associate(
                good, users, chance.choice((CALLING, *titles)), chance.choice((CALLED, *titles)), chance.choice((0, 1, 2, 0xFFFF))
            )
        ]
    elif what == 8:
        whole = associate(good, users)
        pieces = [whole[: chance.randrange(len(whole))]]
    else:
        pieces = [associate(good, users), associate(good, users)]
    return [*(pieces or [associate(contexts, users)]), *stored(specimen, instance_uid(number * 4)), RELEASE]


def lying_commands(chance: random.Random, number: int) -> Stream:
    """Command sets that say something else than what follows, or nothing sensible at all."""
    specimen = undamaged(number * 4)
    uid = instance_uid(number * 4)
    fields = (
        0x0001,
        0x8001,
        0x0010,
        0x0020,
        0x0021,
        0x0030,
        0x8030,
        0x0100,
        0x0110,
        0x0120,
        0x0130,
        0x0140,
        0x0150,
        0x0FFF,
        0x7777,
    )
    names = ("sop_class", "field", "message", "priority", "data_set", "instance")
    values = (None, b"", b"\0", b"\x01\x01", b"../../../tmp/x\0\0", b"1." * 4000, chance.randbytes(6), b"1.2.3\0\0", b"\xff" * 64)
    pieces = stored(specimen, uid, **{chance.choice(names): chance.choice(values)})
    what = chance.randrange(6)
    if what == 0:
        pieces = stored(specimen, uid, field=struct.pack("<H", chance.choice(fields)))
    elif what == 1:
        command = bytearray(store_command(specimen.sop_class_uid, uid))
        for _ in range(chance.choice((1, 2, 8))):
            command[chance.randrange(len(command))] = chance.randrange(256)
        pieces[1] = pdu(P_DATA, pdv(1, _COMMAND | _LAST, bytes(command)))
    elif what == 2:  # fragments of one byte, or a command that never ends
        command = store_command(specimen.sop_class_uid, uid)
        if chance.random() < 0.5:
            pieces[1] = b"".join(pdu(P_DATA, pdv(1, _COMMAND, command * 20)) for _ in range(60))
        else:
            parts = fragments(command, 1)
            pieces[1] = b"".join(pdu(P_DATA, pdv(1, _COMMAND | _LAST * (n == len(parts) - 1), p)) for n, p in enumerate(parts))
    elif what == 3:  # the data set of one object between the fragments of another
        pieces = [*pieces[:3], *stored(undamaged(number * 4 + 1), instance_uid(number * 4 + 1)), *pieces[3:]]
    elif what == 4:  # data without a command, twice the end, a command in a context that was not accepted
        pieces = [*pieces[2:], *pieces, pieces[-2], pdu(P_DATA, pdv(chance.choice((3, 0, 255)), 3, store_command("1.2", uid)))]
    return [opening(specimen), *pieces, RELEASE]


def out_of_turn(chance: random.Random, number: int) -> Stream:
    """Good PDUs in any order, repeated, left out, cut anywhere."""
    first, second = undamaged(number * 4), undamaged(number * 4 + 1)
    pieces = [opening(first), *stored(first, instance_uid(number * 4), 300), *stored(second, instance_uid(number * 4 + 1)), RELEASE]
    pieces += [pdu(RELEASE_RP, bytes(4)), ABORTED, pdu(ASSOCIATE_AC, bytes(80)), pdu(ASSOCIATE_RJ, bytes(4))]
    what = chance.randrange(4)
    if what == 0:
        chance.shuffle(pieces)
    elif what == 1:
        pieces = [pieces[0], *chance.choices(pieces, k=8)]
    elif what == 2:
        whole = b"".join(pieces)
        return [whole[: chance.randrange(len(whole))]]
    else:
        whole = b"".join(pieces[:-4])
        size = chance.choice((7, 100, 1500))
        return fragments(whole, size)[: 2000 // size + 40]
    return pieces


def noise(chance: random.Random, number: int) -> Stream:
    """Another protocol on our port, or nothing but bytes."""
    hello = (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\x0bMSH|^~\\&|\r\x1c\r",
    )
    return [chance.choice((*hello, b"", b"\0" * 10_000, b"\xff" * 70_000, chance.randbytes(chance.randrange(1, 5000))))]


KINDS: dict[str, Callable[[random.Random, int], Stream]] = {
    kind.__name__: kind for kind in (damaged_objects, lying_pdus, odd_negotiation, lying_commands, out_of_turn, noise)
}
_WEIGHTS = (5, 5, 3, 4, 2, 1)


def case(seed: str, number: int) -> tuple[str, Stream]:
    """Return kind and stream of one case."""
    chance = random.Random(f"streams:{seed}:{number}")
    kind = chance.choices(list(KINDS), _WEIGHTS)[0]
    return kind, KINDS[kind](chance, number)


def acknowledged(answer: bytes) -> list[str]:
    """Return the SOP Instance UIDs that the node answered with success, from the bytes that it sent."""
    found, position = [], 0
    while position + 6 <= len(answer):
        kind, length = struct.unpack_from(">BxI", answer, position)
        body = answer[position + 6 : position + 6 + length]
        position += 6 + length
        if kind != P_DATA or len(body) < 6 or not body[5] & _COMMAND:
            continue
        values, place = {}, 6
        while place + 8 <= len(body):
            _, number, size = struct.unpack_from("<HHI", body, place)
            values[number] = body[place + 8 : place + 8 + size]
            place += 8 + size
        if values.get(0x0100) == b"\x01\x80" and values.get(0x0900) == b"\0\0":
            found.append(values.get(0x1000, b"").rstrip(b"\0 ").decode("latin-1"))
    return found
