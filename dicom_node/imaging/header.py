"""From a DICOM header to the facts that decisions need. Odd values never raise: what cannot be understood is unknown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicom_node.core.digest import digest_of
from dicom_node.core.errors import StudyError, UnsupportedInstance
from dicom_node.core.phi import Phi
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.core.study import HeaderFacts, Instance
from dicom_node.imaging.element_values import (
    all_texts,
    decimals,
    decoded_person_name,
    element_of,
    encodings_of,
    first_text,
    integer,
    sequence_items,
)
from dicom_node.imaging.encoded import Header, file_meta_end, guessed_syntax, looks_like_dataset, read_header
from dicom_node.imaging.marks import marks_of
from dicom_node.imaging.slice_header import slice_facts

_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


def read_instance(path: Path) -> Instance:
    """Read one DICOM file's header: a Part 10 file, or a bare data set without preamble and file meta.

    Returns
    -------
    Instance
        ``path`` is absolute; ``digest`` is over the data set's bytes, after the file meta.

    Raises
    ------
    StudyError
        Not DICOM, damaged before the pixel data, or without the UIDs that identify it (PS3.3 C.12.1, C.7.2.1, C.7.3.1).
    UnsupportedInstance
        A DICOMDIR.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StudyError(f"The file cannot be opened: {error.strerror or 'unknown reason'}.") from error
    if not content:
        raise StudyError("The file is empty.")
    start, syntax, media_class = file_meta_end(content)
    data = content[start:]
    if media_class == _MEDIA_STORAGE_DIRECTORY:
        raise UnsupportedInstance("This is a DICOMDIR, a table of contents; name the image files or their folder instead.")
    if start == 0 and not looks_like_dataset(data):
        raise StudyError("This is not a DICOM file.")
    syntax = syntax or guessed_syntax(data)
    header = read_header(data, syntax)
    if header.truncated:
        raise StudyError("The file is cut off inside its header.")
    uids = {
        name: first_text(header.dataset, name)
        for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    }
    missing = [name.removesuffix("UID") for name, value in uids.items() if not value]
    if missing:
        raise StudyError(f"The object cannot be identified: it has no {', '.join(_spaced(name) for name in missing)} UID.")
    return Instance(
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        transfer_syntax_uid=syntax,
        digest=digest_of(data),
        path=str(path.resolve()),
        facts=read_facts(header.dataset, has_pixel_data=header.has_pixel_data),
    )


def _spaced(name: str) -> str:
    return {"SOPClass": "SOP Class", "SOPInstance": "SOP Instance", "StudyInstance": "Study Instance"}.get(name, "Series Instance")


def read_facts(dataset: Dataset, *, has_pixel_data: bool | None = None) -> HeaderFacts:
    """Return what the header says. Never raises on odd values: what cannot be understood is unknown.

    Parameters
    ----------
    dataset
        Any data set, with or without its pixel data.
    has_pixel_data
        Said by whoever stopped reading before the pixels; ``None``: look into the data set.
    """
    encodings = encodings_of(dataset)

    def one(keyword: str) -> str:
        return first_text(dataset, keyword, encodings)

    def many(keyword: str) -> tuple[str, ...]:
        return tuple(value for value in all_texts(dataset, keyword, encodings))

    if has_pixel_data is None:
        has_pixel_data = any(
            bool(_value_or_none(dataset, keyword)) for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        )
    requests = sequence_items(dataset, "RequestAttributesSequence")
    return HeaderFacts(
        patient_id=Phi(one("PatientID")),
        issuer_of_patient_id=Phi(one("IssuerOfPatientID")),
        patient_name=Phi(decoded_person_name(dataset, "PatientName", encodings)),
        birth_date=Phi(one("PatientBirthDate")),
        patient_sex=one("PatientSex").upper(),
        patient_age=one("PatientAge").upper(),
        study_date=one("StudyDate"),
        study_time=one("StudyTime"),
        accession_number=Phi(one("AccessionNumber")),
        requested_accessions=_distinct(
            Phi(first_text(item, "AccessionNumber", encodings_of(item, encodings))) for item in requests
        ),
        study_description=one("StudyDescription"),
        timezone_offset=one("TimezoneOffsetFromUTC"),
        modality=one("Modality").upper(),
        series_number=one("SeriesNumber"),
        series_description=one("SeriesDescription"),
        protocol_name=one("ProtocolName"),
        instance_number=one("InstanceNumber"),
        body_part=one("BodyPartExamined").upper(),
        anatomic_regions=_codes(dataset, "AnatomicRegionSequence"),
        view_position=one("ViewPosition").upper(),
        view_codes=_codes(dataset, "ViewCodeSequence"),
        patient_orientation=tuple(value.upper() for value in many("PatientOrientation")),
        laterality=(one("ImageLaterality") or one("Laterality")).upper(),
        image_type=tuple(value.upper() for value in many("ImageType")),
        presentation_intent=one("PresentationIntentType").upper(),
        acquisition_datetime=_moment(one("AcquisitionDateTime"), one("AcquisitionDate"), one("AcquisitionTime")),
        content_datetime=_moment("", one("ContentDate"), one("ContentTime")),
        irradiation_event_uid=one("IrradiationEventUID"),
        source_instances=_referenced(dataset, "SourceImageSequence"),
        derivation_description=one("DerivationDescription"),
        manufacturer=one("Manufacturer"),
        manufacturer_model=one("ManufacturerModelName"),
        station_name=one("StationName"),
        software_versions=many("SoftwareVersions"),
        burned_in_annotation=one("BurnedInAnnotation").upper(),
        quality_control_image=one("QualityControlImage").upper(),
        has_pixel_data=has_pixel_data,
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        frames=integer(dataset, "NumberOfFrames"),
        samples_per_pixel=integer(dataset, "SamplesPerPixel"),
        photometric=one("PhotometricInterpretation").upper(),
        bits_allocated=integer(dataset, "BitsAllocated"),
        bits_stored=integer(dataset, "BitsStored"),
        lossy=one("LossyImageCompression"),
        imager_pixel_spacing_mm=decimals(dataset, "ImagerPixelSpacing"),
        **slice_facts(dataset, encodings),
        made_by_this_node=one("ManufacturerModelName") == PRODUCT_NAME,
        references=_references(dataset),
        document_title=next(iter(_codes(dataset, "ConceptNameCodeSequence")), ""),
        marks=marks_of(dataset),
    )


def _value_or_none(dataset: Dataset, keyword: str) -> Any:
    element = element_of(dataset, keyword)
    return None if element is None else element.value


def _distinct(values: Iterator[Phi]) -> tuple[Phi, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _codes(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Code values of a code sequence, the scheme left out (long and URN forms too, PS3.3, 8.8)."""
    codes = (
        first_text(item, "CodeValue") or first_text(item, "LongCodeValue") or first_text(item, "URNCodeValue")
        for item in sequence_items(dataset, keyword)
    )
    return tuple(code for code in codes if code)


_DATE = re.compile(r"^\d{8}$")
_DATE_TIME = re.compile(r"^(\d{8})(\d{2,6}(?:\.\d{1,6})?)?")


def _moment(date_time: str, date: str, time: str) -> str:
    """Return YYYYMMDDHHMMSS.ffffff, missing parts as zeros; ``""`` when there is no readable date."""
    match = _DATE_TIME.match(date_time)
    if match:
        date, time = match.group(1), match.group(2) or ""
    date = date.replace(".", "").replace("-", "")  # ACR-NEMA wrote dots
    if not _DATE.match(date):
        return ""
    clock, _, fraction = time.replace(":", "").partition(".")
    if not clock.isdigit():
        clock, fraction = "", ""
    if not fraction.isdigit():
        fraction = ""
    return f"{date}{clock[:6].ljust(6, '0')}.{fraction[:6].ljust(6, '0')}"


def _referenced(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    uids = (first_text(item, "ReferencedSOPInstanceUID") for item in sequence_items(dataset, keyword))
    return tuple(dict.fromkeys(uid for uid in uids if uid))


def _references(dataset: Dataset) -> tuple[str, ...]:
    """SOP Instance UIDs that a KOS, SR or presentation state names (PS3.3 C.17.2.1, C.11.11)."""
    found: dict[str, None] = {}

    def of_studies(keyword: str, series: str = "ReferencedSeriesSequence", instances: str = "ReferencedSOPSequence") -> None:
        for study in sequence_items(dataset, keyword):
            for group in sequence_items(study, series):
                found.update(dict.fromkeys(_referenced(group, instances)))

    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence", "PredecessorDocumentsSequence"):
        of_studies(keyword)
    for group in sequence_items(dataset, "ReferencedSeriesSequence"):  # presentation state, segmentation
        found.update(dict.fromkeys(_referenced(group, "ReferencedImageSequence")))
        found.update(dict.fromkeys(_referenced(group, "ReferencedInstanceSequence")))
    return tuple(found)


__all__ = [
    "Header",
    "all_texts",
    "decimals",
    "decoded_person_name",
    "first_text",
    "integer",
    "read_facts",
    "read_header",
    "read_instance",
    "sequence_items",
]
