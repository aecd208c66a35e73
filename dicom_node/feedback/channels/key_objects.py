"""Key Object Selection (PS3.3, A.35.4): a note that names nothing but one result of ours, and why it does.

A note that names an image of the study is not about us: it is a rejection of images, or a selection for a conference.
"""

from __future__ import annotations

from dicom_node.core import codes
from dicom_node.core.feedback import Channel, Claim, Statement, Targets, Verdict, tells_of_answer
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.feedback.reports.content_items import concept_of, person_observer, referenced, tree
from dicom_node.feedback.reports.reading import Document, Nothing, Unclear, Unmatched, reader
from dicom_node.imaging.element_values import decoded_person_name

SOP_CLASSES = frozenset(("1.2.840.10008.5.1.4.1.1.88.59",))

#: Why the object is taken away, which is no opinion on what it says.
WITHDRAWING = frozenset((codes.INCORRECT_WORKLIST_ENTRY.value, codes.RETENTION_EXPIRED.value, "130754"))
_DESCRIPTION = ("113012", "DCM")


def read(document: Document) -> Claim | Nothing | Unclear | Unmatched:
    """Return what the note says of a result of ours."""
    if document.text("ManufacturerModelName") == PRODUCT_NAME:
        return Nothing("A note of this product came back.")
    title, scheme = concept_of(document.dataset, "ConceptNameCodeSequence")
    verdict = _verdict(title, document) if scheme == "DCM" else None
    if verdict is None:
        return Nothing("Key objects were selected; that says nothing about the result.")
    root = tree(document.dataset)
    named = tuple(dict.fromkeys(one.uid for one in referenced(document.dataset, root)))
    ours = document.known.ours(named)
    if set(named) - ours.keys():
        return _names_others(document, named, bool(ours))
    if not ours:
        return Nothing("A key object note names no object.")
    if all(tells_of_answer(one.role) for one in ours.values()):
        return Nothing("A note is about our report of an answer, not about the result.")
    runs = {made.run_key for made in ours.values()}
    if len(runs) > 1:
        return Unclear("A key object note names objects of several results.")
    said_by = person_observer(root) or decoded_person_name(document.dataset, "OperatorsName")
    return Claim(
        channel=Channel.KEY_OBJECTS,
        source=document.uid,
        at=document.moment(document.text("ContentDate") + document.text("ContentTime")),
        targets=Targets(sop_instance_uids=tuple(ours), study_key=document.study_key),
        reader=reader(said_by),
        statements=(Statement(verdict),),
        comment="\n".join(item.text for item in root.walk() if item.name == _DESCRIPTION and item.text),
        digest=document.digest,
    )


def _verdict(title: str, document: Document) -> Verdict | None:
    if title in WITHDRAWING:
        return Verdict.WITHDRAWN
    return Verdict.REJECTED if title in document.rejecting_titles else None


def _names_others(document: Document, named: tuple[str, ...], ours_too: bool) -> Nothing | Unmatched:
    """Something else than our objects is named: images of the study, or what nobody here knows."""
    if ours_too or document.known.received(named):
        return Nothing("A note rejects images of the study; that is no answer to the result.")
    if not document.known.has_result(document.study_key):
        return Nothing("A note rejects objects of a study that has no result.")
    return Unmatched("A note rejects objects that this node has neither made nor received.")
