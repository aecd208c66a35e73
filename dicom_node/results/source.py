"""The header of one received instance, decoded and safe to copy from, whatever its file looks like."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.core.study import HeaderFacts, Instance

#: What pydicom and Python raise on elements that break the standard.
_ODD = (
    *(ValueError, TypeError, LookupError, AttributeError, NotImplementedError),
    *(OverflowError, EOFError, RecursionError, struct.error),
)

#: One-valued character sets that are written back as they came (PS3.3 C.12.1.1.2). All begin with ASCII, so our own texts fit.
#: Anything else, code extensions above all, is written as UTF-8: the values are the same, only their bytes differ.
KEPT_CHARACTER_SETS = frozenset(
    (
        *("", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 144", "ISO_IR 127", "ISO_IR 126"),
        *("ISO_IR 138", "ISO_IR 148", "ISO_IR 203", "ISO_IR 166", "ISO_IR 192", "GB18030", "GBK"),
    )
)
UNICODE = "ISO_IR 192"


def read_source(instance: Instance) -> Dataset:
    """Return the instance's header: a decoded copy without pixels and private elements.

    An element that cannot be understood is left out. A file that cannot be read at all gives what the node learned on arrival, so
    that a refusal can still be addressed to the right patient.
    """
    with pydicom.config.disable_value_validation():  # a warning about a value would quote the value
        try:
            raw = pydicom.dcmread(Path(instance.path), force=True, stop_before_pixels=True)
        except (InvalidDicomError, OSError, *_ODD):
            return from_facts(instance)
        header = _readable(raw)
        if str(header.get("StudyInstanceUID", "")) != instance.study_instance_uid:
            return from_facts(instance)  # cut off before the study, or not what was stored: never guess
        _decode(header)
        header.file_meta = raw.file_meta
    return header


def _readable(raw: Dataset) -> Dataset:
    """Copy the public elements that convert; drop the others."""
    copy = Dataset()
    for tag in list(raw.keys()):
        if tag.is_private or tag.element == 0 or tag.group >= 0x5000:
            continue
        try:
            copy[tag] = raw[tag]
        except _ODD:
            continue
    return copy


def _decode(header: Dataset) -> None:
    named = header.get("SpecificCharacterSet", "")
    sets = [str(v).strip() for v in (named if not isinstance(named, str) and named is not None else [named or ""])]
    try:
        header.decode()
    except _ODD:
        return  # an unknown character set: the bytes are written back as they came
    kept = sets[0] if len(sets) == 1 and sets[0] in KEPT_CHARACTER_SETS else UNICODE
    if sets in ([""], ["ISO_IR 6"]):
        kept = ""
    set_character_set(header, kept)


def set_character_set(dataset: Dataset, name: str) -> None:
    """Write ``name`` as the character set of a decoded data set, and take it out of its items: they inherit it (PS3.5, 6.1.2.3)."""
    _drop_in_items(dataset)
    if name:
        dataset.SpecificCharacterSet = name
    elif "SpecificCharacterSet" in dataset:
        del dataset.SpecificCharacterSet


def _drop_in_items(dataset: Dataset) -> None:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                if "SpecificCharacterSet" in item:
                    del item.SpecificCharacterSet
                _drop_in_items(item)


def from_facts(instance: Instance) -> Dataset:
    """Build a header from what the node learned on arrival; unknown stays empty."""
    facts: HeaderFacts = instance.facts
    header = Dataset()
    header.SpecificCharacterSet = UNICODE
    values: dict[str, Any] = {
        "SOPClassUID": instance.sop_class_uid,
        "SOPInstanceUID": instance.sop_instance_uid,
        "SeriesInstanceUID": instance.series_instance_uid,
        "StudyInstanceUID": instance.study_instance_uid,
        "PatientID": facts.patient_id.reveal(),
        "IssuerOfPatientID": facts.issuer_of_patient_id.reveal(),
        "PatientName": facts.patient_name.reveal(),
        "PatientBirthDate": facts.birth_date.reveal(),
        "PatientSex": facts.patient_sex,
        "PatientAge": facts.patient_age,
        "StudyDate": facts.study_date,
        "StudyTime": facts.study_time,
        "AccessionNumber": facts.accession_number.reveal(),
        "StudyDescription": facts.study_description,
        "TimezoneOffsetFromUTC": facts.timezone_offset,
        "Modality": facts.modality,
        "BodyPartExamined": facts.body_part,
        "Rows": facts.rows,
        "Columns": facts.columns,
    }
    with pydicom.config.disable_value_validation():
        for keyword, value in values.items():
            if value not in ("", None):
                setattr(header, keyword, value)
        if facts.patient_orientation:
            header.PatientOrientation = list(facts.patient_orientation)
    return header
