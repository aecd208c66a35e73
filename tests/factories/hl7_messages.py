"""HL7 v2 messages as hospitals send them, one line a segment, and what answers them."""

from __future__ import annotations

from itertools import count

_NUMBERS = count(1)


def message(
    kind: str, *segments: str, control_id: str = "", sender: str = "RIS|HOSP", charset: str = "", processing: str = "P"
) -> bytes:
    """Return one message, UTF-8 (or what ``charset`` names is told), segments ended by carriage returns."""
    number = control_id or f"M{next(_NUMBERS):06d}"
    header = f"MSH|^~\\&|{sender}|AINODE|RAD|20260102030405||{kind}|{number}|{processing}|2.5.1||||||{charset}"
    return "".join(f"{line}\r" for line in (header.rstrip("|"), *segments)).encode()


def pid(number: str, *, birth: str = "", sex: str = "", authority: str = "", kind: str = "MR", name: str = "DOE^JANE") -> str:
    """Return a PID segment."""
    return f"PID|1||{number}^^^{authority}^{kind}||{name}||{birth}|{sex}"


def adt(event: str, number: str, **values: str) -> bytes:
    """Return an ADT message about one patient."""
    return message(f"ADT^{event}", f"EVN|{event}|20260102030405", pid(number, **values))


def merge(prior: str, survivor: str, *, event: str = "A40", authority: str = "") -> bytes:
    """Return a merge: what was ``prior`` is ``survivor`` now."""
    return message(
        f"ADT^{event}^ADT_A39", f"EVN|{event}|20260102030405", pid(survivor, authority=authority), f"MRG|{prior}^^^{authority}^MR"
    )


def imaging_order(
    accession: str, *, patient: str = "P1", tq1: str = "", obr27: str = "", control: str = "NW", reason: str = ""
) -> bytes:
    """Return an ORM^O01 with its accession number in OBR-18."""
    obr = ["OBR", "1", "PL1", "FI1", "XCH^Chest radiograph^L"] + [""] * 40
    obr[18], obr[27], obr[31] = accession, obr27, reason
    timing = [f"TQ1|1||||||||{tq1}"] if tq1 else []
    return message("ORM^O01", pid(patient), f"ORC|{control}|PL1|FI1", *timing, "|".join(obr).rstrip("|"))


def report(
    accession: str,
    status: str,
    *,
    at: str = "20260102030405",
    section: str = "RAD",
    code: str = "XCH^Chest^L",
    patient: str = "P1",
) -> bytes:
    """Return an ORU^R01 with the RIS' report on an accession number."""
    obr = ["OBR", "1", "PL1", "FI1", code] + [""] * 21
    obr[18], obr[22], obr[24], obr[25] = accession, at, section, status
    return message("ORU^R01", pid(patient), "|".join(obr), f"OBX|1|TX|REPORT^Report^L||No pneumothorax.||||||{status}")


def lab(
    code: str, value: str, status: str, *, patient: str = "P1", at: str = "20260101080000", kind: str = "CWE", section: str = "MB"
) -> bytes:
    """Return an ORU^R01 with one laboratory value."""
    obr = ["OBR", "1", "PL1", "FI1", "TBC^Culture^L", "", "", at] + [""] * 18
    obr[24], obr[25] = section, status
    return message("ORU^R01", pid(patient), "|".join(obr), f"OBX|1|{kind}|{code}||{value}||||||{status}|||{at}")


def answer(acknowledgement: bytes | None) -> tuple[str, str, str]:
    """Return MSA-1, MSA-2 and MSA-3."""
    assert acknowledgement is not None, "no acknowledgement"
    segments = acknowledgement.decode("utf-8").rstrip("\r").split("\r")
    assert segments[0].startswith("MSH|^~\\&|"), segments
    fields = [*segments[1].split("|"), "", "", ""]
    assert fields[0] == "MSA"
    return fields[1], fields[2], fields[3]
