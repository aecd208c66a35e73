"""Storage commitment, the data sets: what is asked, what is reported, what a failure means. Pure (PS3.4, Annex J)."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.core.identifiers import is_tolerable_uid

#: Storage Commitment Push Model SOP Class and its one well-known instance (PS3.4, J.3.5).
SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION = 1
ALL_COMMITTED, FAILURES_EXIST = 1, 2
#: Implicit VR is what every archive speaks, and some speak nothing else: always proposed, and first.
TRANSFER_SYNTAXES = (str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian))

#: Failure Reason (0008,1197), PS3.3, C.14.1.1.
PROCESSING_FAILURE, NO_SUCH_INSTANCE, CONFLICT = 0x0110, 0x0112, 0x0119
CLASS_NOT_SUPPORTED, DUPLICATE_TRANSACTION, NO_RESOURCES = 0x0122, 0x0131, 0x0213


class Remedy(enum.StrEnum):
    """What to do about an object that the archive did not commit to."""

    SEND_AGAIN = "send again"
    ASK_AGAIN = "ask again"
    OTHER_PROOF = "other proof"  # this archive never commits to such objects
    PERSON = "person"  # sending or asking again cannot help


@dataclass(frozen=True)
class FailureMeaning:
    """What is done, and the sentence for people."""

    remedy: Remedy
    text: str


_FAILURES = {
    PROCESSING_FAILURE: FailureMeaning(Remedy.ASK_AGAIN, "the archive failed while it looked for the object"),
    NO_SUCH_INSTANCE: FailureMeaning(Remedy.SEND_AGAIN, "the archive does not have the object any more"),
    CONFLICT: FailureMeaning(Remedy.PERSON, "the archive holds another object under the same UID"),
    CLASS_NOT_SUPPORTED: FailureMeaning(Remedy.OTHER_PROOF, "the archive does not commit to objects of this SOP class"),
    DUPLICATE_TRANSACTION: FailureMeaning(Remedy.ASK_AGAIN, "the archive calls the transaction a repeated one"),
    NO_RESOURCES: FailureMeaning(Remedy.ASK_AGAIN, "the archive has no resources left to commit"),
}


def failure_meaning(reason: int) -> FailureMeaning:
    """Return what a Failure Reason means; one that the standard does not name is asked about again."""
    found = _FAILURES.get(reason, FailureMeaning(Remedy.ASK_AGAIN, "the archive names a reason that the standard does not have"))
    return FailureMeaning(found.remedy, f"Not committed (0x{reason:04X}): {found.text}.")


def failure_rows() -> list[tuple[str, str, str]]:
    """Return every Failure Reason that is told apart, in order: its value, what it means, what is done about it."""
    does = {
        Remedy.SEND_AGAIN: "sent again",
        Remedy.ASK_AGAIN: "asked again",
        Remedy.OTHER_PROOF: "looked for in the archive, or not proven",
        Remedy.PERSON: "parked",
    }
    return [(f"0x{code:04X}", meaning.text, does[meaning.remedy]) for code, meaning in sorted(_FAILURES.items())]


def new_transaction_uid() -> str:
    """Return a Transaction UID that was never used, and that nobody can guess: who reports on it was asked by us."""
    return f"2.25.{uuid.uuid4().int}"


@dataclass(frozen=True)
class Request:
    """A request of a modality: which objects shall be kept."""

    transaction_uid: str
    objects: tuple[tuple[str, str], ...]  # SOP class and instance


@dataclass(frozen=True)
class Report:
    """What an archive says: SOP class by instance of what it keeps, Failure Reason by instance of what it does not."""

    transaction_uid: str
    committed: Mapping[str, str]
    failed: Mapping[str, int]


def request_dataset(transaction_uid: str, objects: Iterable[tuple[str, str]]) -> Dataset:
    """Return the Action Information of an N-ACTION (PS3.4, table J.3-1)."""
    made = Dataset()
    made.TransactionUID = transaction_uid
    made.ReferencedSOPSequence = [_reference(sop_class, instance) for sop_class, instance in objects]
    return made


def report_dataset(report: Report, failed_classes: Mapping[str, str]) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of an N-EVENT-REPORT (PS3.4, table J.3-2); an empty sequence is left out.

    Parameters
    ----------
    failed_classes
        SOP class by instance of the failed objects, as they were asked for.
    """
    made = Dataset()
    made.TransactionUID = report.transaction_uid
    if report.committed:
        made.ReferencedSOPSequence = [_reference(sop_class, instance) for instance, sop_class in report.committed.items()]
    if report.failed:
        made.FailedSOPSequence = [_reference(failed_classes[instance], instance) for instance in report.failed]
        for item, reason in zip(made.FailedSOPSequence, report.failed.values(), strict=True):
            item.FailureReason = reason
    return (FAILURES_EXIST if report.failed else ALL_COMMITTED), made


def read_request(data: Dataset) -> Request:
    """Return what a modality asks for.

    Raises
    ------
    ValueError
        The data set has no Transaction UID, or names no object, or holds something that is not a UID.
    """
    objects = tuple(dict.fromkeys(_references(data.get("ReferencedSOPSequence"))))
    if not objects:
        raise ValueError("the request names no object")
    return Request(_uid(data, "TransactionUID"), objects)


def read_report(data: Dataset) -> Report:
    """Return what an archive reports; a failed object without a Failure Reason failed in processing.

    Raises
    ------
    ValueError
        As ``read_request``, but that nothing is named is no mistake.
    """
    committed = {instance: sop_class for sop_class, instance in _references(data.get("ReferencedSOPSequence"))}
    failed = {}
    for item in data.get("FailedSOPSequence") or ():
        reason = item.get("FailureReason")
        failed[_uid(item, "ReferencedSOPInstanceUID")] = PROCESSING_FAILURE if reason is None else int(reason)
    return Report(_uid(data, "TransactionUID"), {k: v for k, v in committed.items() if k not in failed}, failed)


def _reference(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = UID(sop_class), UID(instance)
    return item


def _references(sequence: Sequence[Dataset] | None) -> list[tuple[str, str]]:
    return [(_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID")) for item in sequence or ()]


def _uid(data: Dataset, keyword: str) -> str:
    value = str(data.get(keyword) or "").strip("\0 ")
    if not is_tolerable_uid(value):
        raise ValueError(f"{keyword} is missing or not a UID")
    return value
