"""Key Object Selection "Of Interest" (PS3.3 A.35.4) for a flagged study: the image and the picture, for a worklist to find.

Rejection titles (113001, 113037 to 113039) are never used: archives act on them.
"""

from __future__ import annotations

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.sequence import Sequence
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.findings import Findings
from dicom_node.results import report_text
from dicom_node.results.context import ResultContext
from dicom_node.results.header import reference, stamp
from dicom_node.results.part10 import as_artifact
from dicom_node.results.sr_document import built_objects, coding_scheme, concept, identity, observer

MEDIA_TYPE = DICOM
SOP_CLASS_UIDS: tuple[str, ...] = (str(KeyObjectSelectionDocumentStorage),)
VARIANTS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ("secondary_capture",)


def wanted(findings: Findings) -> bool:
    """Only a flagged study: everything else would be noise in the worklist."""
    return findings.abstention is None and findings.flagged


def build(context: ResultContext, variant: str) -> Artifact:
    """Name the image that was read, or the key slices, and the pictures when they were built."""
    role = "key_objects"
    read = {instance.sop_instance_uid: reference(instance) for instance, _ in context.shown}
    chosen = [*read.values(), *(identity(picture) for picture in built_objects(context, "secondary_capture"))]
    for item in chosen:
        item.Rows = item.Columns = 1  # highdicom takes for an image, not a composite, what has them; they are not written
    words = ". ".join((*context.disclaimer, report_text.headline(context), report_text.NOT_REVIEWED))
    selection = KeyObjectSelection(concept(codes.OF_INTEREST), chosen, observer_device_context=observer(context), description=words)
    note = KeyObjectSelectionDocument(
        chosen,
        selection,
        series_instance_uid=context.uid("series", role),
        series_number=1,
        sop_instance_uid=context.uid("instance", role),
        instance_number=1,
        manufacturer=context.settings.manufacturer,
    )
    note.CodingSchemeIdentificationSequence = Sequence([coding_scheme(context.settings.manufacturer)])
    stamp(note, context, role, "AI flagged images (RUO)")
    return as_artifact(context, role, note)
