"""Instance, Series, Study: the header facts that decisions need, and where each file lies.

Facts are what the header says, stripped of padding; an absent or empty element is ``""``, ``()`` or ``None``: unknown.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from dicom_node.core.phi import Phi

#: A slice that a person marked: SOP Instance UID, and the frame (from 1) of a multi-frame object.
Mark = tuple[str, int | None]


@dataclass(frozen=True)
class HeaderFacts:
    """What one instance's header says. Built by ``dicom_node.imaging.header.read_facts``; kept as JSON in the instance's row."""

    # patient: compared and copied, never logged
    patient_id: Phi = Phi("")
    issuer_of_patient_id: Phi = Phi("")
    patient_name: Phi = Phi("")  # decoded, all component groups, "=" between them
    birth_date: Phi = Phi("")  # YYYYMMDD as written
    patient_sex: str = ""
    patient_age: str = ""  # AS as written, e.g. "046Y"
    # study and order
    study_date: str = ""
    study_time: str = ""
    accession_number: Phi = Phi("")
    requested_accessions: tuple[Phi, ...] = ()  # Request Attributes Sequence, in order
    study_description: str = ""
    timezone_offset: str = ""  # (0008,0201), e.g. "+0530"
    # series and image
    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    protocol_name: str = ""
    instance_number: str = ""
    body_part: str = ""  # Body Part Examined, upper case
    anatomic_regions: tuple[str, ...] = ()  # code values of Anatomic Region Sequence
    view_position: str = ""  # View Position, upper case
    view_codes: tuple[str, ...] = ()  # code values of View Code Sequence
    patient_orientation: tuple[str, ...] = ()
    laterality: str = ""
    image_type: tuple[str, ...] = ()
    presentation_intent: str = ""
    acquisition_datetime: str = ""  # YYYYMMDDHHMMSS.ffffff from Acquisition Date Time or Date + Time
    content_datetime: str = ""
    irradiation_event_uid: str = ""
    source_instances: tuple[str, ...] = ()  # SOP Instance UIDs of Source Image Sequence
    derivation_description: str = ""
    manufacturer: str = ""
    manufacturer_model: str = ""
    station_name: str = ""
    software_versions: tuple[str, ...] = ()
    burned_in_annotation: str = ""
    quality_control_image: str = ""
    # pixels
    has_pixel_data: bool = False
    rows: int | None = None
    columns: int | None = None
    frames: int | None = None
    samples_per_pixel: int | None = None
    photometric: str = ""
    bits_allocated: int | None = None
    bits_stored: int | None = None
    lossy: str = ""  # Lossy Image Compression
    pixel_spacing_mm: tuple[float, ...] = ()  # (row, column) as written; values <= 0 are kept, the reader decides
    imager_pixel_spacing_mm: tuple[float, ...] = ()
    # a slice in space (PS3.3 C.7.6.2); of a multi-frame object what its shared groups, else its first frame, say
    image_orientation: tuple[float, ...] = ()  # 6 direction cosines as written: along a row, then down a column
    image_position_mm: tuple[float, ...] = ()  # x, y, z of the first pixel, patient coordinates
    frame_of_reference_uid: str = ""
    slice_thickness_mm: float | None = None
    spacing_between_slices_mm: float | None = None
    gantry_tilt_degrees: float | None = None  # as written; 0 is not kept
    frame_span_mm: float | None = None  # multi-frame: from the first to the last slice, along their normal
    # how the slice was made
    kernel: tuple[str, ...] = ()  # Convolution Kernel
    contrast_agent: str = ""  # Contrast/Bolus Agent, or what its code sequence means
    acquisition_number: str = ""
    # ours?
    made_by_this_node: bool = False  # Contributing equipment or equipment module names this product
    references: tuple[str, ...] = ()  # SOP Instance UIDs that a KOS, PR or SR names
    document_title: str = ""  # code value of a KOS' or SR's title (Concept Name Code Sequence of the root)
    marks: tuple[str, ...] = ()  # slices that a person points at in a KOS, SR or PR (``core.marks``)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the database, unknown ones left out; identifying ones are revealed: the row lies by the image."""
        known = ((name, value) for name, value in vars(self).items() if value or type(value) is int)
        return {name: _reveal(value) for name, value in known}  # asdict would copy every value, for every object

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> HeaderFacts:
        """Rebuild what ``to_json`` wrote; elements that an older node did not know stay unknown."""
        values: dict[str, Any] = {}
        for name, value in data.items():
            kind = _KINDS.get(name)
            if kind == "Phi":
                values[name] = Phi(value)
            elif kind == "tuple[Phi, ...]":
                values[name] = tuple(Phi(v) for v in value)
            elif kind is not None:
                values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


#: Element of ``HeaderFacts`` -> its type; asked for every object of a study, which may have thousands.
_KINDS = {f.name: str(f.type) for f in dataclasses.fields(HeaderFacts)}


def _reveal(value: Any) -> Any:
    if isinstance(value, Phi):
        return value.reveal()
    if isinstance(value, tuple):
        return [_reveal(v) for v in value]
    return value


@dataclass(frozen=True)
class Instance:
    """One SOP Instance as it lies on disk.

    ``path`` is absolute where the instance was loaded for use; the database keeps it relative to the store.
    ``digest`` (``core.digest``) is over the data set's bytes as received, without the Part 10 file meta that we add.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    path: str
    facts: HeaderFacts = field(default_factory=HeaderFacts)
    calling_ae: str = ""
    called_ae: str = ""


@dataclass(frozen=True)
class Series:
    """The instances of one series, in order of arrival."""

    series_instance_uid: str
    instances: tuple[Instance, ...]

    @property
    def modality(self) -> str:
        """The modality of the first instance that names one."""
        return next((i.facts.modality for i in self.instances if i.facts.modality), "")


@dataclass(frozen=True)
class LabValue:
    """A final laboratory value of the patient, as the hospital's messages told it, or a person who looked it up."""

    code: str  # code^scheme, e.g. 543-9^LN
    value: str  # empty, by form: a person says that nobody knows it
    observed_utc: float | None = None
    source: str = "hl7"  # hl7 | fhir | form; a form speaks of this study, so its values have no moment of their own


@dataclass(frozen=True)
class Study:
    """What the node holds of one study: current instances only, our own results left out."""

    study_key: str
    study_instance_uid: str
    instances: tuple[Instance, ...]
    revision: int = 1
    marks: tuple[Mark, ...] = ()  # slices that a person marked (``core.marks.marked_slices``)
    labs: tuple[LabValue, ...] = ()  # of its patient, oldest first, those of a form last; filled for the analysis only
    told: tuple[str, ...] = ()  # header facts that the header has not, and the hospital's messages told: birth_date, patient_sex
    waited_minutes: float = 0  # for how long the run waited for laboratory values that did not all come

    @property
    def series(self) -> tuple[Series, ...]:
        """The study's series, in order of first arrival."""
        by_uid: dict[str, list[Instance]] = {}
        for instance in self.instances:
            by_uid.setdefault(instance.series_instance_uid, []).append(instance)
        return tuple(Series(uid, tuple(group)) for uid, group in by_uid.items())

    def instance(self, sop_instance_uid: str) -> Instance:
        """Return one instance; ``KeyError`` when the study does not hold it."""
        for candidate in self.instances:
            if candidate.sop_instance_uid == sop_instance_uid:
                return candidate
        raise KeyError(sop_instance_uid)
