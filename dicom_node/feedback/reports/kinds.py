"""Which documents may be answers, and who reads each kind. Everything else that arrives is an image, and none of this room's."""

from __future__ import annotations

from dicom_node.core.feedback import Claim, tells_of_answer
from dicom_node.feedback.channels import assessment, edited_report, key_objects, presentation_state
from dicom_node.feedback.reports.content_items import predecessors
from dicom_node.feedback.reports.reading import Document, Nothing, Unclear, Unmatched

_SR = "1.2.840.10008.5.1.4.1.1.88"
#: Reports: Basic Text, Enhanced, Comprehensive, Comprehensive 3D, Extensible; dose, CAD and procedure logs answer nothing.
REPORTS = frozenset(f"{_SR}.{number}" for number in (11, 22, 33, 34, 35))
#: SOP classes that are looked at.
DOCUMENTS = REPORTS | key_objects.SOP_CLASSES | presentation_state.SOP_CLASSES | {assessment.CONTENT_ASSESSMENT}


def claims_of(document: Document) -> Claim | Nothing | Unclear | Unmatched:
    """Return what a document says of a result of ours, or why it says nothing that counts."""
    sop_class = document.text("SOPClassUID")
    came_back = bool(document.known.ours([document.uid]))
    if came_back and not (sop_class in REPORTS and document.verified):
        return Nothing("An object of this node came back.")
    made_from = document.known.ours((*predecessors(document.dataset), document.uid))
    if any(tells_of_answer(one.role) for one in made_from.values()):
        return Nothing("A report was made from one that tells of an answer; it is none.")
    if sop_class in key_objects.SOP_CLASSES:
        return key_objects.read(document)
    if sop_class in presentation_state.SOP_CLASSES:
        return presentation_state.read(document)
    if sop_class == assessment.CONTENT_ASSESSMENT:
        return assessment.read_content_assessment(document)
    if sop_class not in REPORTS:
        return Nothing("An object of this kind answers nothing.")
    if assessment.is_assessment(document):
        return assessment.read(document)
    return edited_report.read(document)
