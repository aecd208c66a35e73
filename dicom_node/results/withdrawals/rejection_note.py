"""A rejection note about our own objects: a Key Object Selection (PS3.3 A.35.4; IHE RAD, Imaging Object Change Management).

It names objects of one run of this node and nothing else: never an image of the department.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.codes import Code
from dicom_node.core.identifiers import derived_uid
from dicom_node.results import sent_objects
from dicom_node.results.header import coded
from dicom_node.results.settings import ResultsSettings
from dicom_node.results.sr_document import is_image_class

SOP_CLASS_UID = str(KeyObjectSelectionDocumentStorage)

TITLES = {code.value: code for code in (codes.REJECTED_FOR_QUALITY, codes.REJECTED_FOR_SAFETY, codes.INCORRECT_WORKLIST_ENTRY)}

#: Series number after the base: behind those of the results.
_SERIES_OFFSET = 9
_KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")


@dataclass(frozen=True)
class Note:
    """What a note says. ``sent``: the DICOM objects that it names; ``at``: aware, whole seconds."""

    run_key: str
    role: str  # its UIDs depend on run and role alone
    title: str  # DCM code, one of TITLES
    description: str  # Series Description
    text: str  # Key Object Description
    at: dt.datetime
    sent: tuple[Artifact, ...]
    settings: ResultsSettings


def build(said: Note) -> Artifact:
    """Build the note."""
    sent = sent_objects.read(said.sent)
    with pydicom.config.disable_value_validation():  # identity goes back as it came, even where it breaks its VR
        note = Dataset()
        sent_objects.address(note, sent)
        _describe(note, said)
        note.CurrentRequestedProcedureEvidenceSequence = Sequence([sent_objects.evidence(sent)])
        _content(note, said, sent)
        data = sent_objects.encoded(note)
    return Artifact(said.run_key, said.role, DICOM, str(note.SOPInstanceUID), data, SOP_CLASS_UID)


def _describe(note: Dataset, said: Note) -> None:
    note.SOPClassUID, note.SOPInstanceUID = SOP_CLASS_UID, derived_uid(said.run_key, "instance", said.role)
    note.SeriesInstanceUID = derived_uid(said.run_key, "series", said.role)
    note.Modality, note.SeriesNumber, note.InstanceNumber = "KO", said.settings.series_number_base + _SERIES_OFFSET, 1
    note.SeriesDescription = said.description
    note.ReferencedPerformedProcedureStepSequence = Sequence([])  # Type 2
    sent_objects.date(note, said.at)


def _content(note: Dataset, said: Note, sent: list[Dataset]) -> None:
    """Write the content after TID 2010."""
    title = TITLES[said.title]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    note.ValueType, note.ContinuityOfContent = "CONTAINER", "SEPARATE"
    note.ConceptNameCodeSequence = Sequence([coded(title)])
    note.ContentTemplateSequence = Sequence([template])
    items = []
    if title == codes.REJECTED_FOR_QUALITY:  # TID 2010 asks this title for a reason of CID 7011
        modifier = _item("HAS CONCEPT MOD", "CODE", codes.TITLE_MODIFIER)
        modifier.ConceptCodeSequence = Sequence([coded(codes.OTHER_FAILURE)])
        items.append(modifier)
    description = _item("CONTAINS", "TEXT", _KEY_OBJECT_DESCRIPTION)
    description.TextValue = said.text
    items.append(description)
    for ds in sent:
        item = _item("CONTAINS", "IMAGE" if is_image_class(str(ds.SOPClassUID)) else "COMPOSITE", None)
        item.ReferencedSOPSequence = Sequence([sent_objects.reference(ds)])
        items.append(item)
    note.ContentSequence = Sequence(items)


def _item(relation: str, value_type: str, name: Code | None) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, value_type
    if name is not None:
        item.ConceptNameCodeSequence = Sequence([coded(name)])
    return item
