"""What comes to the other doors: HL7 messages over MLLP, and STOW-RS requests, damaged."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from tests.fuzz.corpus import Specimen, instance_uid, undamaged
from tests.fuzz.data_sets import bits, cut, damaged, fill
from tests.fuzz.streams import WAIT, Stream

START, END = b"\x0b", b"\x1c\r"
_MESSAGES = (
    "\r".join(
        (
            "MSH|^~\\&|RIS|HOSP|AI|HOSP|20261121101500||ADT^A08^ADT_A01|{n}|P|2.5.1|||AL|NE||UNICODE UTF-8",
            "EVN|A08|20261121",
            "PID|1||PID-{n}^^^HOSP^MR||Doe^Jane^Ä||19700101|F",
            "PV1|1|I",
        )
    ),
    "\r".join(
        (
            "MSH|^~\\&|RIS|HOSP|AI|HOSP|20261121101500||ADT^A40^ADT_A39|{n}|P|2.5.1",
            "EVN|A40|20261121",
            "PID|1||PID-{n}^^^HOSP^MR||Doe^Jane",
            "MRG|OLD-{n}^^^HOSP^MR",
        )
    ),
    "\r".join(
        (
            "MSH|^~\\&|RIS|HOSP|AI|HOSP|20261121101500||ORM^O01|{n}|P|2.3",
            "PID|1||PID-{n}||Doe^Jane||19700101|F",
            "ORC|NW|PL{n}||||||||||||",
            "OBR|1|PL{n}||XCHEST^Chest^L|||||||||Cough||||ACC{n}||||||||||^^^^^S",
        )
    ),
    "\r".join(
        (
            "MSH|^~\\&|LAB|HOSP|AI|HOSP|20261121101500||ORU^R01^ORU_R01|{n}|P|2.5.1",
            "PID|1||PID-{n}||Doe^Jane",
            "OBR|1||F{n}|LAB^Lab^L|||20261121",
            "OBX|1|NM|1988-5^CRP^LN||12.5|mg/L|0-5|H|||F|||20261121",
        )
    ),
    "\r".join(
        (
            "MSH|^~\\&|RIS|HOSP|AI|HOSP|20261121101500||ORU^R01|{n}|P|2.5.1",
            "PID|1||PID-{n}||Doe^Jane",
            "OBR|1||F{n}|XCHEST^Chest^L||||||||||||||ACC{n}|||||||F",
            "OBX|1|TX|REPORT||Clear.\\.br\\Nothing.||||||F",
        )
    ),
)


def _hl7(chance: random.Random, number: int) -> bytes:
    message = bytearray(chance.choice(_MESSAGES).format(n=number).encode())
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        what = chance.randrange(9)
        if what == 0:
            bits(chance, message, "")
        elif what == 1:
            cut(chance, message, "")
        elif what == 2:
            fill(chance, message, "")
        else:
            place = chance.randrange(len(message) + 1)
            made = (
                b"|" * 3000,
                b"^" * 3000,
                b"~" * 5000,
                b"&" * 500,
                b"\\X41\\\\Xzz\\\\E",
                b"\r" * 200,
                b"MSH|^~\\&|",
                b"\\" * 999,
            )
            more = (b"\x1b$B", b"\xff\xfe\x00", b"UNICODE UTF-16", b"\0" * 50, b"PID|" * 2000, b"99999999999999999999", b'|""|')
            message[place:place] = chance.choice(made + more + (chance.randbytes(30),))
    return bytes(message)


def hl7_stream(chance: random.Random, number: int) -> Stream:
    """Frames over MLLP: whole, nested, without a beginning or an end, too long, several at once."""
    one, two = _hl7(chance, number * 2), _hl7(chance, number * 2 + 1)
    return chance.choice(
        (
            [START + one + END, WAIT, START + two + END, WAIT],
            [START + one + END + START + two + END, WAIT, WAIT],
            [START + one, START + two + END, WAIT],
            [one + END, WAIT],
            [START + one],
            [START, *(bytes((byte,)) for byte in one[:60]), one[60:] + END, WAIT],
            [START + one * chance.choice((1, 3000)) + END, WAIT],
            [b"junk" + START + one + END, WAIT],
            [b"\x16\x03\x01" + chance.randbytes(100), WAIT],
        )
    )


def accepted(answer: bytes) -> int:
    """Return how many messages were acknowledged with AA."""
    return answer.count(b"MSA|AA|")


def _part10(specimen: Specimen, number: int) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(specimen.sop_class_uid), UID(instance_uid(number))
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(specimen.transfer_syntax_uid), UID("1.2.3")
    stream = io.BytesIO()
    stream.write(bytes(128) + b"DICM")
    write_file_meta_info(stream, meta, enforce_standard=True)
    return stream.getvalue() + specimen.data


def stow_stream(chance: random.Random, number: int) -> Stream:
    """A request with three parts: damaged objects, damaged multipart, damaged HTTP."""
    what = chance.randrange(5)
    objects = [damaged(chance, number * 4 + n) if what < 2 else undamaged(number * 4 + n) for n in range(3)]
    parts = [b"\r\n--BOUND\r\nContent-Type: application/dicom\r\n\r\n" + _part10(o, number * 4 + n) for n, o in enumerate(objects)]
    body = bytearray(b"".join(parts)[2:] + b"\r\n--BOUND--\r\n")
    if what == 2:
        for damage in chance.choices((bits, cut, fill), k=2):
            damage(chance, body, "")
    elif what == 3:
        old = chance.choice((b"--BOUND", b"Content-Type", b"\r\n\r\n", b"application/dicom", b"DICM"))
        new = chance.choice((b"", b"--", b"--BOUND" * 20, b"X: " + b"y" * 70_000, b"../../x", b"\0", b"\xff" * 40))
        body = bytearray(bytes(body).replace(old, new, chance.choice((1, -1))))
    length = len(body) if what != 4 else chance.choice((0, 1, len(body) - 5, len(body) + 5, 10**18, -1))
    target = chance.choice(
        ("/dicomweb/studies",) * 8 + ("/dicomweb/studies/1.2.3", "/dicomweb/studies/..%2f..%2fx", "/../../etc/passwd")
    )
    kind = 'multipart/related; type="application/dicom"; boundary=BOUND'
    headers = f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    data = bytearray(headers.encode() + body)
    if what == 4 and chance.random() < 0.3:
        for _ in range(4):
            data[chance.randrange(len(headers))] ^= 1 << chance.randrange(8)
    size = chance.choice((1000, 65536, len(data)))
    return [*(bytes(data[i : i + size]) for i in range(0, len(data), size)), WAIT]


def stored_by_http(answer: bytes) -> list[str]:
    """Return the SOP Instance UIDs that a STOW-RS response calls stored."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 2"):
        return []
    told = Dataset.from_json(json.loads(body))
    return [str(item.ReferencedSOPInstanceUID) for item in told.get("ReferencedSOPSequence", ())]


DOORS: dict[str, Callable[[random.Random, int], Stream]] = {"hl7": hl7_stream, "stow": stow_stream}


def case(seed: str, number: int) -> tuple[str, Stream]:
    """Return door and stream of one case."""
    chance = random.Random(f"doors:{seed}:{number}")
    door = chance.choice(list(DOORS))
    return door, DOORS[door](chance, number)
