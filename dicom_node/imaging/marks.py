"""Which slices a document marks: key objects, reports and presentation states that point at images, not those that list them.

Key Object Selection PS3.3 A.35.4, SR document content C.17.3, graphic annotations C.10.5. Odd values never raise.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from dicom_node.core.codes import OF_INTEREST
from dicom_node.core.marks import mark_text
from dicom_node.imaging.element_values import all_texts, first_text, sequence_items

_KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
#: Basic Text, Enhanced, Comprehensive, Comprehensive 3D, Extensible: reports of people. Reports of CAD and dose are others.
_REPORTS = frozenset(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22, 33, 34, 35))
_PRESENTATION_STATES = frozenset(f"1.2.840.10008.5.1.4.1.1.11.{number}" for number in (1, 2, 3, 4))
#: An Image Library lists what was looked at, a note of another title than "Of Interest" what is to be printed, sent or rejected.
_IMAGE_LIBRARY = "111028"
_OBSERVER_TYPE, _DEVICE = "121005", "121007"
_DEEPEST, _MOST = 12, 2000


def marks_of(dataset: Dataset) -> tuple[str, ...]:
    """Return the marks of a document (``core.marks.mark_text``); none of any other object, nor of one that a machine wrote."""
    sop_class = first_text(dataset, "SOPClassUID")
    if sop_class == _KEY_OBJECTS:
        title = next((first_text(item, "CodeValue") for item in sequence_items(dataset, "ConceptNameCodeSequence")), "")
        found = _images(dataset, 0) if title == OF_INTEREST.value and not _by_device(dataset) else iter(())
    elif sop_class in _REPORTS:
        found = iter(()) if _by_device(dataset) else _images(dataset, 0)
    elif sop_class in _PRESENTATION_STATES:
        found = _annotated(dataset)
    else:
        return ()
    return tuple(mark for mark, _ in zip(dict.fromkeys(found), range(_MOST), strict=False))


def _by_device(dataset: Dataset) -> bool:
    """Say whether nobody but a device observed (PS3.16, TID 1002)."""
    observers = [
        first_text(value, "CodeValue")
        for item in sequence_items(dataset, "ContentSequence")
        if _name(item) == _OBSERVER_TYPE
        for value in sequence_items(item, "ConceptCodeSequence")
    ]
    return bool(observers) and set(observers) == {_DEVICE}


def _images(item: Dataset, depth: int) -> Iterator[str]:
    """Yield the images that content items name, at any depth."""
    for child in sequence_items(item, "ContentSequence") if depth < _DEEPEST else ():
        if _name(child) == _IMAGE_LIBRARY:
            continue
        if first_text(child, "ValueType").upper() == "IMAGE":
            yield from _named(child, "ReferencedSOPSequence")
        yield from _images(child, depth + 1)


def _annotated(dataset: Dataset) -> Iterator[str]:
    """Yield the images on which something was drawn. Of one annotation for all images nobody knows which was meant."""
    everything = [
        m for series in sequence_items(dataset, "ReferencedSeriesSequence") for m in _named(series, "ReferencedImageSequence")
    ]
    for annotation in sequence_items(dataset, "GraphicAnnotationSequence"):
        if sequence_items(annotation, "GraphicObjectSequence"):
            own = list(_named(annotation, "ReferencedImageSequence"))
            yield from own or (everything if len(everything) == 1 else ())


def _named(dataset: Dataset, keyword: str) -> Iterator[str]:
    for item in sequence_items(dataset, keyword):
        uid = first_text(item, "ReferencedSOPInstanceUID")
        frames: list[int | None] = [int(text) for text in all_texts(item, "ReferencedFrameNumber") if text.isdigit()]
        if uid:
            yield from (mark_text(uid, frame) for frame in frames or [None])


def _name(item: Dataset) -> str:
    return next((first_text(one, "CodeValue") for one in sequence_items(item, "ConceptNameCodeSequence")), "")
