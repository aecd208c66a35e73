"""Damages data sets: bits, lengths, Value Representations, sequences, character sets, UIDs. Same source, same damage."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from tests.fuzz.corpus import BIG, DEFLATED, IMPLICIT, Specimen, specimens

Damage = Callable[[random.Random, bytearray, str], None]

_VRS = [
    b"AE",
    b"AS",
    b"AT",
    b"CS",
    b"DA",
    b"DS",
    b"DT",
    b"FD",
    b"FL",
    b"IS",
    b"LO",
    b"LT",
    b"OB",
    b"OD",
    b"OF",
    b"OL",
    b"OV",
    b"OW",
]
_VRS += [
    b"PN",
    b"SH",
    b"SL",
    b"SQ",
    b"SS",
    b"ST",
    b"SV",
    b"TM",
    b"UC",
    b"UI",
    b"UL",
    b"UN",
    b"UR",
    b"US",
    b"UT",
    b"UV",
    b"ZZ",
    b"\0\0",
]
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_LENGTHS = (0, 1, 2, 3, 7, 0xFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
_UIDS = (
    *(
        "../../../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "1.2.3/../../../tmp/x",
        "~root/x",
        "file:///tmp/x",
        "1.2.3\n4",
        "1.2.3\0/x",
    ),
    *(
        "",
        " ",
        ".",
        "..",
        "1..2",
        "1.2.",
        "-1.2",
        "1.2." + "3" * 5000,
        "1.2.%s%n",
        "$(touch x)",
        "1.2.\u00fc",
        "１.２.３",
        "NaN",
        "1.2e3",
    ),
)
_CHARACTER_SETS = (
    *(
        b"ISO_IR 192",
        b"ISO 2022 IR 87",
        b"\\ISO 2022 IR 149",
        b"GB18030",
        b"ISO_IR 999",
        b"\xff\xfe",
        b"utf-16",
        b"rot13",
        b"idna",
        b"\\" * 40,
    ),
    *(
        b"ISO 2022 IR 6\\ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159",
        b"punycode",
        b"unicode_escape",
        b"base64",
        b"\0" * 16,
        b"a" * 300,
    ),
)
_TAGS = (0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x00081140, 0x00082112, 0x00100010, 0x00100020, 0x0020000D)
_TAGS += (0x0020000E, 0x00280010, 0x00281050, 0x00400275, 0x0040A375, 0x0040A730, 0x00020010, 0x00000000, 0x7FE00010, 0xFFFEE000)
_TAGS += (0xFFFEE00D, 0xFFFEE0DD, 0xFFFFFFFF, 0xFFFCFFFC, 0x00091010, 0x60003000, 0x50000010)


def _offsets(data: bytearray, syntax: str) -> list[int]:
    """Return where elements of the top level begin, as far as they can be walked."""
    found, position, order = [], 0, ">" if syntax == BIG else "<"
    while position + 8 <= len(data) and len(found) < 400:
        found.append(position)
        if syntax == IMPLICIT:
            (length,) = struct.unpack_from("<I", data, position + 4)
            head = 8
        elif bytes(data[position + 4 : position + 6]) in _LONG:
            if position + 12 > len(data):
                break
            (length,) = struct.unpack_from(f"{order}I", data, position + 8)
            head = 12
        else:
            (length,) = struct.unpack_from(f"{order}H", data, position + 6)
            head = 8
        if length == 0xFFFFFFFF:
            break
        position += head + length
    return found or [0]


def _element(tag: int, vr: bytes, value: bytes, syntax: str, length: int | None = None) -> bytes:
    order = ">" if syntax == BIG else "<"
    told = len(value) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<I", told & 0xFFFFFFFF) + value
    if vr in _LONG:
        return head + vr + b"\0\0" + struct.pack(f"{order}I", told & 0xFFFFFFFF) + value
    return head + vr + struct.pack(f"{order}H", told & 0xFFFF) + value


def _near_start(chance: random.Random, data: bytearray) -> int:
    return chance.randrange(min(len(data), 2048) if chance.random() < 0.8 else len(data)) if data else 0


def bits(chance: random.Random, data: bytearray, _syntax: str) -> None:
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if data:
            data[_near_start(chance, data)] ^= 1 << chance.randrange(8)


def cut(chance: random.Random, data: bytearray, _syntax: str) -> None:
    del data[_near_start(chance, data) :]


def lie_about_length(chance: random.Random, data: bytearray, syntax: str) -> None:
    position = chance.choice(_offsets(data, syntax))
    long = bytes(data[position + 4 : position + 6]) in _LONG
    order = ">" if syntax == BIG else "<"
    where, kind = (position + 4, "I") if syntax == IMPLICIT else (position + 8, "I") if long else (position + 6, "H")
    if where + struct.calcsize(kind) > len(data):
        return
    (told,) = struct.unpack_from(order + kind, data, where)
    length = chance.choice((*_LENGTHS, told + 1, told - 1, told + 2, told * 2, len(data)))
    struct.pack_into(order + kind, data, where, length & (0xFFFFFFFF if kind == "I" else 0xFFFF))


def swap_vr(chance: random.Random, data: bytearray, syntax: str) -> None:
    position = chance.choice(_offsets(data, syntax))
    data[position + 4 : position + 6] = chance.choice(_VRS)


def insert(chance: random.Random, data: bytearray, syntax: str) -> None:
    value = chance.choice(
        (b"", b"\0", b"x" * chance.randrange(64), chance.randbytes(chance.randrange(200)), b"\\" * 5000, b"1e999\\-0")
    )
    length = chance.choice((None, None, *_LENGTHS))
    made = _element(chance.choice((*_TAGS, chance.randrange(1 << 32))), chance.choice(_VRS), value, syntax, length)
    position = chance.choice(_offsets(data, syntax))
    data[position:position] = made


def nest(chance: random.Random, data: bytearray, syntax: str) -> None:
    """Sequences in sequences, of undefined or of lying length, closed or not."""
    depth = chance.choice((1, 2, 5, 50, 200, 1000, 5000))
    order = ">" if syntax == BIG else "<"
    length = chance.choice((0xFFFFFFFF, 0xFFFFFFFF, 8, 100, 0x7FFFFFFE))
    item = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, chance.choice((0xFFFFFFFF, 0xFFFFFFFF, 16)))
    opening = _element(chance.choice((0x00081140, 0x00400275, 0x0040A730, 0x00091012)), b"SQ", b"", syntax, length) + item
    closing = struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0) + struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)
    inner = _element(0x00080050, b"SH", b"deep", syntax)
    made = opening * depth + inner + closing * chance.choice((depth, depth, 0, depth // 2))
    position = chance.choice(_offsets(data, syntax))
    data[position:position] = made


def character_set(chance: random.Random, data: bytearray, syntax: str) -> None:
    name = chance.choice(
        (b"\x1b$B;3ED\x1b(B^\x1b$B", b"\xff\xfe\xfd^\x80", b"=^=^=" * 20, b"\x1b" * 30, chance.randbytes(40), b"\xed\xa0\x80^x")
    )
    position = chance.choice(_offsets(data, syntax)[:4])
    data[position:position] = _element(0x00080005, b"CS", chance.choice(_CHARACTER_SETS), syntax)
    position = _offsets(data, syntax)[-1]
    data[position:position] = _element(0x00100010, b"PN", name, syntax)


def bad_uid(chance: random.Random, data: bytearray, syntax: str) -> None:
    """A UID element that is a path, a command, or endless; instead of the right one, or beside it."""
    tag = chance.choice((0x00080016, 0x00080018, 0x0020000D, 0x0020000E))
    value = chance.choice(_UIDS).encode("utf-8")
    order = ">" if syntax == BIG else "<"
    wanted = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    made = _element(tag, b"UI", value + b"\0" * (len(value) % 2), syntax)
    offsets = _offsets(data, syntax)
    for place, position in enumerate(offsets[:-1]):
        if bytes(data[position : position + 4]) == wanted:
            data[position : offsets[place + 1] if chance.random() < 0.8 else position] = made
            return


def move(chance: random.Random, data: bytearray, syntax: str) -> None:
    """Repeat, remove or reorder whole elements."""
    offsets = _offsets(data, syntax)
    first, second = sorted(chance.choices(offsets, k=2))
    piece = bytes(data[first:second])
    what = chance.randrange(3)
    if what == 0:
        data[first:first] = piece
    elif what == 1:
        del data[first:second]
    else:
        del data[first:second]
        data[:0] = piece


def fill(chance: random.Random, data: bytearray, _syntax: str) -> None:
    position = _near_start(chance, data)
    length = chance.choice((1, 4, 16, 300))
    data[position : position + length] = chance.choice((b"\0", b"\xff", b" ", b"\\")) * length


def huge(chance: random.Random, data: bytearray, syntax: str) -> None:
    """A text of a megabyte, or many small elements."""
    position = chance.choice(_offsets(data, syntax))
    if chance.random() < 0.5:
        data[position:position] = _element(chance.choice(_TAGS), b"UT", b"9\\" * 250_000, syntax)
    else:
        data[position:position] = b"".join(_element(0x00090000 + n, b"LO", b"x", syntax) for n in range(2000))


DAMAGES: tuple[Damage, ...] = (
    *(bits, bits, bits, cut, lie_about_length, lie_about_length, swap_vr, swap_vr, insert, insert),
    *(nest, character_set, bad_uid, move, fill),
)


def damaged(chance: random.Random, number: int) -> Specimen:
    """Return one damaged object with UIDs of its own, and one in twenty undamaged."""
    specimen = chance.choice(specimens()).numbered(number)
    data, syntax = bytearray(specimen.data), specimen.transfer_syntax_uid
    rare = [huge] if chance.random() < 0.01 else []
    times = 0 if chance.random() < 0.05 else chance.choice((1, 1, 2, 3))
    for damage in (*chance.choices(DAMAGES, k=times), *rare):
        damage(chance, data, syntax)
    made = bytes(data)
    if syntax == DEFLATED:
        made = _packed(chance, made, bool(times))
    if chance.random() < 0.03:
        syntax = chance.choice(specimens()).transfer_syntax_uid  # what the context says is not what came
    return Specimen(specimen.sop_class_uid, syntax, made)


def _packed(chance: random.Random, data: bytes, harm: bool) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    if harm and chance.random() < 0.02:  # a few kilobytes that unpack to far more
        data += _element(0x00091010, b"OB", b"", DEFLATED, 64 << 20) + bytes(64 << 20)
    packed = bytearray(packer.compress(data) + packer.flush())
    if harm and chance.random() < 0.5:
        chance.choice((bits, cut, fill))(chance, packed, DEFLATED)
    return bytes(packed)
