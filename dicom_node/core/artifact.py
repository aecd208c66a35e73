"""What we send: bytes with their kind and identity, the same for every sending."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

DICOM = "application/dicom"
FHIR = "application/fhir+json"
HL7 = "x-application/hl7-v2+er7"


def plain_role(role: str) -> str:
    """Return the role as the configuration names it: without the ordinal that tells the second, third, … object of it."""
    return role.partition("#")[0]


def kind_of(role: str) -> str:
    """Return the output's kind: ``secondary_capture`` of ``secondary_capture#2``, ``structured_report`` of a flavour of it."""
    return plain_role(role).partition(":")[0]


def file_stem(role: str) -> str:
    """Return the role as a part of a file's name."""
    return role.replace(":", "-").replace("#", "-")


@dataclass(frozen=True)
class Artifact:
    """One object that leaves the node.

    ``role`` is the output's kind, with ``:variant`` where a destination asked for a flavour, and ``#2``, ``#3`` where a run gives
    several objects of it. ``identifier`` is what the receiver knows it by: SOP Instance UID, FHIR identifier, MSH-10.
    """

    run_key: str
    role: str
    media_type: str
    identifier: str
    data: bytes
    sop_class_uid: str = ""
    refusal: bool = False  # a coded "not analysed"

    @property
    def kind(self) -> str:
        """The output's kind: ``secondary_capture``, ``text_report``, …"""
        return kind_of(self.role)

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def suffix(self) -> str:
        """File name suffix by media type."""
        return {DICOM: ".dcm", FHIR: ".json", HL7: ".hl7"}[self.media_type]
