"""One image, de-identified: PS3.15, Basic Application Level Confidentiality Profile with three options (table E.1-1, 2026c).

Two fences, one behind the other. Of the source only what ``kept_elements`` names is taken at all. To that the rules of the profile
are applied by dicom-anonymizer, with ours where the profile leaves the choice: UIDs, dates, sex and age. Pixel data is decoded and
written anew without compression: what lay in the headers of a compressed stream, in unused bits or behind the last pixel is gone.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions, keep
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.learning import kept_elements as kept
from dicom_node.learning.pseudonyms import Pseudonyms, age_string, moved_date, moved_datetime

EDITION = "2026c"
#: Profile and options that were applied (PS3.16, CID 7050).
METHOD = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113101", "Clean Pixel Data Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)

Tag = tuple[int, ...]
Rule = Callable[[Dataset, Tag], None]


@dataclass(frozen=True)
class Person:
    """Whose image it is, as the export has it. ``years``: age at the study, ``None`` for unknown."""

    pseudonym: str
    days: int
    years: float | None


def deidentified(source: Dataset, pixels: NDArray[Any], person: Person, names: Pseudonyms) -> Dataset:
    """Return a new data set, uncompressed, with file meta information, ready to be written.

    Parameters
    ----------
    source
        A grayscale image of one of ``kept_elements.SOP_CLASSES``.
    pixels
        Its stored values (``imaging.pixels.stored_values``).
    """
    made = _kept(source)
    anonymize_dataset(made, _rules(person, names), delete_private_tags=True, base_rules_gen=_profile)
    made.PatientName = made.PatientID = person.pseudonym
    if age_string(person.years):
        made.PatientAge = age_string(person.years)
    _put_pixels(made, pixels)
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = f"PS3.15 {EDITION} table E.1-1; kept by name only"
    made.DeidentificationMethodCodeSequence = [_code(value, "DCM", meaning) for value, meaning in METHOD]
    made.LongitudinalTemporalInformationModified = "MODIFIED"
    made.BurnedInAnnotation = "NO"
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    made.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return made


def _profile() -> dict[Tag, Rule]:
    return dict(initialize_actions(f"dicomfields_{EDITION}"))


def _rules(person: Person, names: Pseudonyms) -> dict[Tag, Rule]:
    """Our rules, for what the profile replaces, and what its options keep."""

    def to_uid(dataset: Dataset, tag: Tag) -> None:
        _change(dataset, tag, names.uid)

    def to_earlier(dataset: Dataset, tag: Tag) -> None:
        move = moved_datetime if dataset.get(tag) is not None and dataset[tag].VR == "DT" else moved_date
        _change(dataset, tag, lambda value: move(value, person.days))

    rules: dict[Tag, Rule] = {}
    for keywords, rule in (
        (kept.UIDS, to_uid),
        ((*kept.DATES, *kept.DATETIMES), to_earlier),
        ((*kept.TIMES, "TimezoneOffsetFromUTC", "PatientSex"), keep),
        (kept.EMPTIED, _leave_empty),
    ):
        rules |= {_tag(keyword): rule for keyword in keywords if _tag(keyword) not in rules}
    return rules


def _leave_empty(dataset: Dataset, tag: Tag) -> None:
    """What the profile empties is empty already; what it does not touch may keep a defined word or a number."""
    if dataset.get(tag) is not None and tag in _profile_tags():
        dataset[tag].value = [] if dataset[tag].VR == "SQ" else None


@functools.cache
def _profile_tags() -> frozenset[Tag]:
    return frozenset(_profile())


def _kept(source: Dataset) -> Dataset:
    """Return a data set of what may be kept of the source, value by value."""
    made = Dataset()
    for keyword in kept.EMPTIED:
        if keyword in source:
            made.add(DataElement(tag_for_keyword(keyword), dictionary_VR(keyword), [] if dictionary_VR(keyword) == "SQ" else None))
    made.SOPClassUID = str(source.SOPClassUID)
    for keyword in kept.UIDS:
        _add(made, keyword, _texts(source, keyword)[:1])
    for keyword in (*kept.DATES, *kept.DATETIMES):
        _add(made, keyword, _texts(source, keyword)[:1])
    for keyword in kept.TIMES:
        _add(made, keyword, [text for text in _texts(source, keyword)[:1] if kept.TIME.fullmatch(text)])
    _add(made, "TimezoneOffsetFromUTC", [t for t in _texts(source, "TimezoneOffsetFromUTC")[:1] if kept.OFFSET.fullmatch(t)])
    for keyword, words in kept.WORDS.items():
        if keyword != "ModalityLUTType":
            _add(made, keyword, list(itertools.takewhile(words.__contains__, _texts(source, keyword))))
    for keyword in kept.NUMBERS:
        _add_number(made, source, keyword)
    for keyword in kept.COUNTERS:
        _add(made, keyword, [text for text in _texts(source, keyword)[:1] if text.isdecimal() and len(text) <= kept.MOST_DIGITS])
    for keyword in kept.CODES:
        items = [code for item in _items(source, keyword) if (code := _known_code(item)) is not None]
        if items:
            made.add(DataElement(tag_for_keyword(keyword), "SQ", Sequence(items)))
    for keyword in kept.TABLES:
        tables = [_table(item, source) for item in _items(source, keyword)]
        if tables:
            made.add(DataElement(tag_for_keyword(keyword), "SQ", Sequence(tables)))
    return made


def _put_pixels(made: Dataset, pixels: NDArray[Any]) -> None:
    little = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))
    made.BitsAllocated = little.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.SamplesPerPixel = 1
    data = little.tobytes()
    made.add_new(0x7FE00010, "OB" if made.BitsAllocated == 8 else "OW", data + b"\0" * (len(data) % 2))


def _texts(source: Dataset, keyword: str) -> list[str]:
    """Return the values of an element that has the VR the standard gives it, as text without padding; none otherwise."""
    element = source.get(tag_for_keyword(keyword))
    if element is None or dictionary_VR(keyword) != element.VR or element.value is None:
        return []
    values = element.value if element.VM > 1 else [element.value]
    return [text for value in values if (text := str(value).strip(" \0"))]


def _items(source: Dataset, keyword: str) -> Iterable[Dataset]:
    element = source.get(tag_for_keyword(keyword))
    return element.value or () if element is not None and element.VR == "SQ" else ()


def _add(made: Dataset, keyword: str, values: list[str]) -> None:
    if values:
        made.add(DataElement(tag_for_keyword(keyword), dictionary_VR(keyword), values if len(values) > 1 else values[0]))


def _add_number(made: Dataset, source: Dataset, keyword: str) -> None:
    """Take numbers: binary ones as they are, written ones if they are numbers."""
    element, vr = source.get(tag_for_keyword(keyword)), dictionary_VR(keyword)
    if element is None or element.value is None or element.VR not in vr.split(" or "):
        return
    if vr in ("DS", "IS"):
        texts = _texts(source, keyword)
        if texts and all(kept.NUMBER.fullmatch(text) for text in texts):
            _add(made, keyword, texts)
    elif element.VR in ("US", "SS", "UL", "SL", "FL", "FD"):
        made.add(DataElement(element.tag, element.VR, element.value))


def _known_code(item: Dataset) -> Dataset | None:
    """Return a code with the standard's own meaning; ``None`` for one that is not in our table."""
    value, scheme = ("".join(_texts(item, keyword)[:1]) for keyword in ("CodeValue", "CodingSchemeDesignator"))
    meaning = kept.MEANINGS.get((scheme, value))
    return _code(value, scheme, meaning) if meaning else None


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _table(item: Dataset, source: Dataset) -> Dataset:
    """Return a look-up table: its numbers, and of what kind they are."""
    made = Dataset()
    for keyword in ("LUTDescriptor", "LUTData"):
        element = item.get(tag_for_keyword(keyword))
        if element is not None and element.VR in ("US", "SS", "OW"):
            made.add(DataElement(element.tag, element.VR, element.value))
    if "ModalityLUTType" in item:
        said = _texts(item, "ModalityLUTType")[:1]
        made.ModalityLUTType = said[0] if said and said[0] in kept.WORDS["ModalityLUTType"] else "US"
    return made


def _change(dataset: Dataset, tag: Tag, change: Callable[[str], str]) -> None:
    element = dataset.get(tag)
    if element is not None and element.value:
        element.value = change(str(element.value)) or None


def _tag(keyword: str) -> Tag:
    number = tag_for_keyword(keyword)
    assert number is not None, keyword
    return number >> 16, number & 0xFFFF
