"""A result in an HL7 message, taken apart but not judged: what ``orders`` reads and ``feedback`` understands."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.core.phi import Phi

#: What a receiver knows of our text, our decision and our reason by (OBX-4); every other sub-id is a finding's key, upper case.
RESULT, REASON, TEXT = "RESULT", "REASON", "TEXT"
SUB_ID_LENGTH = 20


@dataclass(frozen=True)
class Person:
    """Who is named: XCN-1 or CNN-1, and the name as it is written. Both may be empty."""

    identity: str = ""
    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.identity or self.name)


@dataclass(frozen=True)
class ResultLine:
    """One OBX. ``values``: repetitions of OBX-5, each its components; escapes are resolved."""

    set_id: str
    sub_id: str  # OBX-4, upper case
    code: str  # OBX-3.1
    scheme: str  # OBX-3.3
    kind: str  # OBX-2
    values: tuple[tuple[str, ...], ...]
    status: str  # OBX-11, upper case
    observers: tuple[Person, ...] = ()  # OBX-16


@dataclass(frozen=True)
class ResultMessage:
    """One OBR group that tells of a result of this node, sent by somebody else."""

    sender: str  # MSH-3|MSH-4
    control_id: str  # MSH-10
    group: int  # number of the OBR group in the message, from 1
    numbers: tuple[str, ...]  # what may be our own filler number (OBR-3, OBR-2, OBR-18), most telling first
    accession_number: Phi
    said_utc: float
    interpreters: tuple[Person, ...] = ()  # OBR-32
    lines: tuple[ResultLine, ...] = ()
    patients: tuple[Phi, ...] = ()  # PID-3.1


@dataclass(frozen=True)
class ReportText:
    """The radiologist's own final report on an accession number: evidence, never an answer."""

    sender: str
    control_id: str
    group: int
    accession_number: Phi
    status: str  # F | C
    said_utc: float
    text: Phi
    patients: tuple[Phi, ...] = ()  # PID-3.1
