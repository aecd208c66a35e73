"""The content tree of an SR document or key object selection, as comparing and searching needs it (PS3.3, C.17.3).

Odd values never raise: what cannot be understood is left out. No identifier of a patient is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.dataset import Dataset

from dicom_node.imaging.element_values import ODD, all_texts, encodings_of, first_text, sequence_items

#: Deeper trees are nobody's report.
DEEPEST = 32

Concept = tuple[str, str]  # code value, coding scheme designator
NO_CONCEPT: Concept = ("", "")

TRACKING_UID: Concept = ("112040", "DCM")
OBSERVER_TYPE: Concept = ("121005", "DCM")
PERSON: Concept = ("121006", "DCM")
PERSON_OBSERVER_NAME: Concept = ("121008", "DCM")


class Reference(NamedTuple):
    """An object that is referred to."""

    uid: str
    sop_class_uid: str


@dataclass(frozen=True)
class Item:
    """One content item. ``value``: what it says in a form that two writers give alike."""

    relation: str
    value_type: str
    name: Concept
    value: tuple[object, ...] = ()
    references: tuple[Reference, ...] = ()
    children: tuple[Item, ...] = ()

    @property
    def text(self) -> str:
        """The words of a TEXT, PNAME or UIDREF item."""
        return str(self.value[0]) if self.value and self.value_type in ("TEXT", "PNAME", "UIDREF") else ""

    @property
    def code(self) -> Concept:
        """The value of a CODE item."""
        return (str(self.value[0]), str(self.value[1])) if self.value_type == "CODE" and len(self.value) == 2 else NO_CONCEPT

    @property
    def tracking_uid(self) -> str:
        """The Tracking Unique Identifier that a measurement group bears (TID 4108)."""
        return next((child.text for child in self.children if child.name == TRACKING_UID), "")

    def walk(self) -> Iterator[Item]:
        """Yield this item and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def tree(document: Dataset) -> Item:
    """Return the root container with everything below it."""
    return _item(document, encodings_of(document), 0)


def referenced(document: Dataset, root: Item) -> tuple[Reference, ...]:
    """Return every object that the document names: its evidence, its content, and references outside both."""
    found: dict[Reference, None] = {}
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        found.update(dict.fromkeys(_of_studies(document, keyword)))
    for item in root.walk():
        found.update(dict.fromkeys(item.references))
    return tuple(found)


def predecessors(document: Dataset) -> tuple[str, ...]:
    """Return the documents that this one was made from (PS3.3, C.17.2, Predecessor Documents Sequence)."""
    return tuple(dict.fromkeys(named.uid for named in _of_studies(document, "PredecessorDocumentsSequence")))


def concept_of(dataset: Dataset, keyword: str) -> Concept:
    """Return the first code of a code sequence, long and URN forms too (PS3.3, 8.8)."""
    for item in sequence_items(dataset, keyword):
        value = first_text(item, "CodeValue") or first_text(item, "LongCodeValue") or first_text(item, "URNCodeValue")
        return value, first_text(item, "CodingSchemeDesignator")
    return NO_CONCEPT


def coordinates(dataset: Dataset) -> tuple[float, ...]:
    """Return Graphic Data (VR FL, which is binary) as numbers; ``()`` when absent, odd, or any of them is no finite number."""
    try:
        value = dataset.get("GraphicData")
        numbers = tuple(float(number) for number in (value if isinstance(value, Iterable) else [] if value is None else [value]))
    except ODD:
        return ()
    return numbers if all(abs(number) < float("inf") for number in numbers) else ()


def has_person_observer(root: Item) -> bool:
    """Say whether a person is named as the observer (TID 1002)."""
    return any(item.name == OBSERVER_TYPE and item.code == PERSON for item in root.walk())


def person_observer(root: Item) -> str:
    """Return the name of the first person who observed."""
    return next((item.text for item in root.walk() if item.name == PERSON_OBSERVER_NAME and item.text), "")


def _item(dataset: Dataset, encodings: tuple[str, ...], depth: int) -> Item:
    encodings = encodings_of(dataset, encodings)
    value_type = first_text(dataset, "ValueType").upper()
    children = () if depth >= DEEPEST else sequence_items(dataset, "ContentSequence")
    return Item(
        first_text(dataset, "RelationshipType").upper(),
        value_type,
        concept_of(dataset, "ConceptNameCodeSequence"),
        _value(dataset, value_type, encodings),
        tuple(_references(dataset)),
        tuple(_item(child, encodings, depth + 1) for child in children),
    )


def _value(dataset: Dataset, value_type: str, encodings: tuple[str, ...]) -> tuple[object, ...]:
    if value_type == "CODE":
        return concept_of(dataset, "ConceptCodeSequence")
    if value_type == "NUM":
        for measured in sequence_items(dataset, "MeasuredValueSequence"):
            return _number(first_text(measured, "NumericValue")), *concept_of(measured, "MeasurementUnitsCodeSequence")
        return ()
    if value_type in ("SCOORD", "SCOORD3D"):
        return first_text(dataset, "GraphicType").upper(), tuple(round(number, 2) for number in coordinates(dataset))
    if value_type == "TEXT":
        return (" ".join("\\".join(all_texts(dataset, "TextValue", encodings)).split()),)
    if value_type == "UIDREF":
        return (first_text(dataset, "UID"),)
    if value_type == "PNAME":
        return (first_text(dataset, "PersonName", encodings),)
    return ()


def _number(text: str) -> object:
    """Return a measured value with the digits that survive any writer (VR DS has 16 characters)."""
    numbers = _numbers((text,))
    return float(f"{numbers[0]:.6g}") if numbers else text


def _numbers(texts: tuple[str, ...]) -> tuple[float, ...]:
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        return ()


def _of_studies(document: Dataset, keyword: str) -> Iterator[Reference]:
    for study in sequence_items(document, keyword):
        for series in sequence_items(study, "ReferencedSeriesSequence"):
            yield from _references(series)


def _references(dataset: Dataset) -> Iterator[Reference]:
    for item in sequence_items(dataset, "ReferencedSOPSequence"):
        if uid := first_text(item, "ReferencedSOPInstanceUID"):
            yield Reference(uid, first_text(item, "ReferencedSOPClassUID"))
