"""What a document that may be an answer is read with: what the node knows of its own objects, and the three ways to say no.

The channels are functions of a data set and of ``Known``; they open no file and no database.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset

from dicom_node.core.feedback import ReaderClaim, Verdict
from dicom_node.imaging.element_values import decoded_person_name, first_text, sequence_items

_MOMENT = re.compile(r"^(\d{4})(\d{2})(\d{2})(\d{2})?(\d{2})?(\d{2})?(?:\.\d{1,6})?([+-]\d{4})?$")
_OFFSET = re.compile(r"^([+-])(\d{2})(\d{2})$")
#: Clocks of workstations may be so far ahead of ours; what was said later than this was not said yet.
_AHEAD = dt.timedelta(minutes=10)


@dataclass(frozen=True)
class Nothing:
    """The document says nothing about a result of ours."""

    reason: str  # one sentence without identifiers


@dataclass(frozen=True)
class Unclear:
    """It is about a result of ours, and what it says of it cannot be told: shown, never guessed."""

    reason: str
    run_key: str = ""


@dataclass(frozen=True)
class Unmatched:
    """It answers something that is no result of ours, or is none yet."""

    reason: str


@dataclass(frozen=True)
class OurObject:
    """A DICOM object that this node made."""

    run_key: str
    role: str  # kind[:variant]


class Known(Protocol):
    """What the node knows of its own results and of what it has received."""

    def ours(self, sop_instance_uids: Collection[str]) -> Mapping[str, OurObject]:
        """Return those of the objects that this node made."""

    def stored(self, sop_instance_uid: str) -> Dataset | None:
        """Return an object of ours as it was made, without its pixels; ``None`` when its bytes are gone."""

    def findings(self, run_key: str) -> Mapping[str, str]:
        """Return Tracking UID -> finding of one result."""

    def runs_of_tracking_uids(self, uids: Collection[str], study_key: str) -> frozenset[str]:
        """Return the results of a study whose findings have these Tracking UIDs."""

    def results_from(self, sop_instance_uid: str) -> Collection[str]:
        """Return the results that stand and were made from an image."""

    def received(self, sop_instance_uids: Collection[str]) -> Collection[str]:
        """Return those of the objects that came from elsewhere."""

    def made_from(self, sop_instance_uid: str) -> Collection[str]:
        """Return the predecessors that a received report names."""

    def has_result(self, study_key: str) -> bool:
        """Say whether the node ever gave a result for a study."""


@dataclass(frozen=True)
class Document:
    """One document to read, and what to read it with."""

    dataset: Dataset
    known: Known
    study_key: str
    received: dt.datetime  # aware
    zone: dt.tzinfo  # of the site: where a document states none
    digest: str = ""
    rejecting_titles: Collection[str] = ()  # code values, DCM
    codes: Mapping[tuple[str, str], Verdict] | None = None  # see ``assessment_codes.table``

    @property
    def uid(self) -> str:
        """The SOP Instance UID: the same document again adds nothing."""
        return first_text(self.dataset, "SOPInstanceUID")

    def text(self, keyword: str) -> str:
        """The first value of an element."""
        return first_text(self.dataset, keyword)

    @property
    def verified(self) -> bool:
        """A person has put their name to it (PS3.3, C.17.2.7)."""
        return self.text("VerificationFlag").upper() == "VERIFIED"

    @property
    def partial(self) -> bool:
        """Its author says that it is not finished."""
        return self.text("CompletionFlag").upper() == "PARTIAL"

    def verifying_observer(self) -> tuple[str, str]:
        """Return name and moment (VR DT) of the last person who verified it; empty where not said."""
        observers = [
            (first_text(item, "VerificationDateTime"), decoded_person_name(item, "VerifyingObserverName"))
            for item in sequence_items(self.dataset, "VerifyingObserverSequence")
        ]
        named = [observer for observer in observers if observer[1]]
        return (max(named)[1], max(named)[0]) if named else ("", "")

    def moment(self, *texts: str) -> dt.datetime:
        """Return the first of these moments (VR DT) that can be understood and is past, else when the document came."""
        for text in texts:
            found = self._parsed(text)
            if found is not None and found <= self.received + _AHEAD:
                return found
        return self.received

    def _parsed(self, text: str) -> dt.datetime | None:
        match = _MOMENT.match(text.strip())
        if match is None:
            return None
        try:
            parts = [int(part or 0) for part in match.groups()[:6]]
            zone = _zone(match[7]) or _zone(self.text("TimezoneOffsetFromUTC")) or self.zone
            return dt.datetime(parts[0], parts[1], parts[2], parts[3], parts[4], min(parts[5], 59), tzinfo=zone)
        except ValueError:
            return None


def _zone(text: str | None) -> dt.tzinfo | None:
    match = _OFFSET.match((text or "").strip())
    if match is None:
        return None
    offset = dt.timedelta(hours=int(match[2]), minutes=int(match[3]))
    return dt.timezone(-offset if match[1] == "-" else offset) if offset <= dt.timedelta(hours=14) else None


def reader(name: str, *, authenticated: bool = False) -> ReaderClaim:
    """Return who answers, as a DICOM object names a person."""
    return ReaderClaim("dicom", name, name, authenticated and bool(name)) if name else ReaderClaim()
