"""From a DICOM header to the facts that decisions need. Odd values never raise: what cannot be understood is unknown.

Values are taken from the element's bytes as they were sent, before pydicom converts them: a decimal string that is no number,
a date that is no date, or a Value Representation that is not the dictionary's are then just texts, and nothing is printed about
them (pydicom's warnings quote the value, which may be a patient's name).
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from dicom_node.core.errors import StudyError, UnsupportedInstance
from dicom_node.core.phi import Phi
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.core.study import HeaderFacts, Instance

#: What pydicom and Python raise on elements that break the standard.
_ODD = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    EOFError,
    RecursionError,
    struct.error,
)
_INTEGERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"}
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
#: A deflated header that grows beyond this is refused: a few kilobytes can unpack to anything.
MAX_INFLATED_BYTES = 1 << 29


class Header(NamedTuple):
    """A data set read up to its pixels.

    ``truncated`` is true when the bytes end inside an element before the pixel data.
    """

    dataset: Dataset
    has_pixel_data: bool
    truncated: bool


# --- reading -----------------------------------------------------------------------------------------------------------


def read_header(data: bytes, transfer_syntax_uid: str) -> Header:
    """Read an encoded data set (no file meta) up to the pixel data; nothing is decoded.

    Raises
    ------
    StudyError
        The bytes are not a data set in this transfer syntax.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        data = _inflate(data)
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    little = transfer_syntax_uid != ExplicitVRBigEndian
    stopped_at: list[tuple[int, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag >= 0x7FE00000:
            stopped_at.append((int(tag), length))
            return True
        return False

    stream = io.BytesIO(data)
    try:
        dataset = read_dataset(stream, implicit, little, stop_when=at_pixels)
    except _ODD as error:
        raise StudyError("The object is not valid DICOM: its header cannot be read.") from error
    except OSError as error:
        raise StudyError("The object is not valid DICOM: its header ends too early.") from error
    has_pixels = bool(stopped_at) and stopped_at[0][0] >> 16 == 0x7FE0 and stopped_at[0][1] != 0
    return Header(dataset, has_pixels, not stopped_at and _ends_early(dataset, len(data)))


def _inflate(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)  # PS3.5 A.5: no zlib header
    try:
        plain = unpacker.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise StudyError("The deflated object is damaged: it cannot be unpacked.") from error
    if unpacker.unconsumed_tail:
        raise StudyError("The deflated object unpacks to more than this node takes.")
    return plain


def _ends_early(dataset: Dataset, size: int) -> bool:
    """Say whether the bytes stop inside the last element."""
    tags = sorted(dataset.keys())
    if not tags:
        return True
    last = dataset.get_item(tags[-1])
    if not isinstance(last, RawDataElement) or last.length == 0xFFFFFFFF:
        return False
    # a value shorter than its length, or loose bytes after it that are too few for another element
    return bool(len(last.value or b"") != last.length or last.value_tell + last.length != size)


def read_instance(path: Path) -> Instance:
    """Read one DICOM file's header: a Part 10 file, or a bare data set without preamble and file meta.

    Returns
    -------
    Instance
        ``path`` is absolute; ``sha256`` is over the data set's bytes, after the file meta.

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
    start, syntax, media_class = _file_meta(content)
    data = content[start:]
    if media_class == _MEDIA_STORAGE_DIRECTORY:
        raise UnsupportedInstance("This is a DICOMDIR, a table of contents; name the image files or their folder instead.")
    if start == 0 and not _looks_like_dataset(data):
        raise StudyError("This is not a DICOM file.")
    syntax = syntax or _guess_syntax(data)
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
        sha256=hashlib.sha256(data).hexdigest(),
        path=str(path.resolve()),
        facts=read_facts(header.dataset, has_pixel_data=header.has_pixel_data),
    )


def _spaced(name: str) -> str:
    return {"SOPClass": "SOP Class", "SOPInstance": "SOP Instance", "StudyInstance": "Study Instance"}.get(name, "Series Instance")


def _file_meta(content: bytes) -> tuple[int, str, str]:
    """Return where the data set starts, the transfer syntax and the media storage SOP class; 0 and "" without file meta.

    The elements are walked one by one, since a group length that lies is common (PS3.10, 7.1; always explicit little endian).
    """
    position = 132 if content[128:132] == b"DICM" else 0
    start, found = position, {}
    while content[position : position + 2] == b"\x02\x00" and len(content) >= position + 8:
        element, vr = int.from_bytes(content[position + 2 : position + 4], "little"), content[position + 4 : position + 6]
        if vr in _LONG_VRS:
            length, head = int.from_bytes(content[position + 8 : position + 12], "little"), 12
        elif vr.isalpha() and vr.isupper():
            length, head = int.from_bytes(content[position + 6 : position + 8], "little"), 8
        else:  # implicit, against the standard, but seen
            length, head = int.from_bytes(content[position + 4 : position + 8], "little"), 8
        found[element] = content[position + head : position + head + length].rstrip(b"\0 ").decode("ascii", "replace")
        position += head + length
    return (position if position > start or start else 0), found.get(0x0010, ""), found.get(0x0002, "")


def _looks_like_dataset(data: bytes) -> bool:
    """A bare data set begins with group 0008 (or 0004 of a DICOMDIR), in one or the other byte order."""
    return len(data) >= 8 and data[:2] in (b"\x08\x00", b"\x00\x08")


def _guess_syntax(data: bytes) -> str:
    if data[4:6].isalpha() and data[4:6].isupper():
        return str(ExplicitVRBigEndian if data[:2] == b"\x00\x08" else ExplicitVRLittleEndian)
    return str(ImplicitVRLittleEndian)


# --- values as sent ----------------------------------------------------------------------------------------------------


def _element(dataset: Dataset, keyword: str) -> Any:
    """Return the element, unconverted where it still is; ``None`` when absent."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    try:
        return dataset.get_item(tag)
    except _ODD:
        return None


def _encodings(dataset: Dataset, inherited: tuple[str, ...]) -> tuple[str, ...]:
    element = _element(dataset, "SpecificCharacterSet")
    if element is None or not element.value:
        return inherited
    value = element.value
    terms = (
        _split(value.decode("ascii", "replace")) if isinstance(value, bytes) else [value] if isinstance(value, str) else list(value)
    )
    try:
        return tuple(convert_encodings([str(term).strip() for term in terms]))
    except _ODD:
        return inherited


#: Without a character set the repertoire is ASCII; a byte beyond it is shown as Latin 1 has it, as pydicom does.
_DEFAULT = ("iso8859",)


def _split(text: str) -> list[str]:
    return [part.strip(" \0\r\n\t") for part in text.split("\\")]


def all_texts(dataset: Dataset, keyword: str, encodings: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return every value of an element as text without padding; empty ones stay in place; ``()`` when absent or odd."""
    element = _element(dataset, keyword)
    if element is None or element.value is None:
        return ()
    value = element.value
    try:
        if isinstance(value, Sequence):
            return ()
        if isinstance(value, bytes):
            if element.VR in _INTEGERS:
                return tuple(str(number) for number in _unpack(value, _INTEGERS[element.VR], _little(element)))
            text = decode_bytes(value, encodings or _encodings(dataset, _DEFAULT), TEXT_VR_DELIMS)
            values = _split(text)
        elif isinstance(value, str | PersonName):
            values = _split(str(value))
        elif hasattr(value, "__iter__"):
            values = [str(part).strip(" \0") for part in value]
        else:
            values = [str(value).strip(" \0")]
    except _ODD:
        return ()
    return () if not any(values) else tuple(values)


def first_text(dataset: Dataset, keyword: str, encodings: tuple[str, ...] | None = None) -> str:
    """Return the first value of an element as text without padding; ``""`` when absent, empty or odd."""
    values = all_texts(dataset, keyword, encodings)
    return values[0] if values else ""


def _little(element: Any) -> bool:
    return bool(getattr(element, "is_little_endian", True))


def _unpack(value: bytes, kind: str, little: bool) -> tuple[int, ...]:
    size = struct.calcsize(kind)
    return struct.unpack(f"{'<' if little else '>'}{len(value) // size}{kind}", value[: len(value) // size * size])


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value as a whole number, whatever the Value Representation; ``None`` when absent or no number."""
    element = _element(dataset, keyword)
    if element is None or element.value is None:
        return None
    value, vr = element.value, element.VR
    try:
        if isinstance(value, bytes):
            expected = dictionary_VR(element.tag)
            vr = expected if vr in (None, "UN", "OB", "OW") else vr
            if vr not in _INTEGERS and expected in _INTEGERS and not value.strip(b" \0").isdigit():
                vr = expected
            if vr in _INTEGERS:
                return _unpack(value, _INTEGERS[vr], _little(element))[0]
            value = value.decode("ascii").strip(" \0").split("\\")[0]
        elif hasattr(value, "__iter__") and not isinstance(value, str):
            value = next(iter(value))
        number = float(value)
        return int(number) if number == int(number) else None
    except _ODD:
        return None


def decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return all values as numbers as written; ``()`` when absent or when any of them is no finite number."""
    try:
        numbers = tuple(float(text) for text in all_texts(dataset, keyword))
    except ValueError:
        return ()
    return numbers if all(abs(number) < float("inf") for number in numbers) else ()


def decoded_person_name(dataset: Dataset, keyword: str = "PatientName", encodings: tuple[str, ...] | None = None) -> str:
    """Return a person name decoded, all component groups with ``=`` between them (PS3.5, 6.2.1); ``""`` when absent."""
    element = _element(dataset, keyword)
    if element is None or not element.value:
        return ""
    value = element.value
    try:
        if isinstance(value, bytes):
            # trailing padding only: a first component group may rightly be empty
            value = PersonName(
                value.rstrip(b" \0"), list(encodings or _encodings(dataset, _DEFAULT)), validation_mode=config.IGNORE
            )
        elif hasattr(value, "__iter__") and not isinstance(value, str | PersonName):
            value = next(iter(value))
        return "=".join(group.strip(" \0") for group in str(value).split("=")).rstrip("=")
    except _ODD:
        return ""


def sequence_items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence; ``()`` when absent or damaged."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    try:
        value = dataset[tag].value if tag in dataset else None
        return tuple(value) if isinstance(value, Sequence) else ()
    except (*_ODD, OSError):
        return ()


# --- facts -------------------------------------------------------------------------------------------------------------


def read_facts(dataset: Dataset, *, has_pixel_data: bool | None = None) -> HeaderFacts:
    """Return what the header says. Never raises on odd values: what cannot be understood is unknown.

    Parameters
    ----------
    dataset
        Any data set, with or without its pixel data.
    has_pixel_data
        Said by whoever stopped reading before the pixels; ``None``: look into the data set.
    """
    encodings = _encodings(dataset, _DEFAULT)

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
        requested_accessions=_distinct(Phi(first_text(item, "AccessionNumber", _encodings(item, encodings))) for item in requests),
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
        pixel_spacing_mm=decimals(dataset, "PixelSpacing"),
        imager_pixel_spacing_mm=decimals(dataset, "ImagerPixelSpacing"),
        made_by_this_node=one("ManufacturerModelName") == PRODUCT_NAME,
        references=_references(dataset),
    )


def _value_or_none(dataset: Dataset, keyword: str) -> Any:
    element = _element(dataset, keyword)
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
