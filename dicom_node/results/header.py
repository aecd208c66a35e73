"""Patient, study, order, equipment and time of every created object: the only place that copies them.

highdicom is given neutral elements and this module writes the real ones over its result. So an odd value in a source (a sex that is
not M, F or O, a date that is none, a character set with code extensions) neither stops a result nor changes on its way.
Attributes by module: PS3.3 C.7.1.1 (patient), C.7.2.1 and C.7.2.2 (study, patient study), C.7.3.1 (series), C.7.5.1 (equipment),
C.12.1 (SOP common), C.17.2 (SR document).
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.core import codes
from dicom_node.core.artifact import kind_of, plain_role
from dicom_node.core.codes import Code
from dicom_node.core.findings import BundleRef
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.core.study import Instance
from dicom_node.imaging.slice_header import MULTI_FRAME_CT
from dicom_node.results.report_text import plain
from dicom_node.results.source import UNICODE, set_character_set
from dicom_node.version import VERSION

if TYPE_CHECKING:
    from dicom_node.results.context import ResultContext

#: Type 2: present in every object, empty when the source has none.
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
#: Type 3: copied when the source has a value.
_OPTIONAL = (
    *("IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence", "PatientBirthTime"),
    *("PatientAge", "PatientSize", "PatientWeight"),
    *("StudyDescription", "IssuerOfAccessionNumberSequence", "ReferringPhysicianIdentificationSequence", "ProcedureCodeSequence"),
    *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
)
#: Optional elements that are left out when they break their form: nobody is found by them, and each would make our object invalid.
_FORMS = {
    "PatientAge": re.compile(r"^\d{3}[DWMY]$"),
    "PatientSize": re.compile(r"^[0-9.]{1,16}$"),
    "PatientWeight": re.compile(r"^[0-9.]{1,16}$"),
}
_REQUEST = (
    *("RequestedProcedureID", "AccessionNumber", "IssuerOfAccessionNumberSequence", "StudyInstanceUID"),
    *("RequestedProcedureDescription", "RequestedProcedureCodeSequence"),
    *("ScheduledProcedureStepID", "ScheduledProcedureStepDescription", "ScheduledProtocolCodeSequence"),
)
_REPORTS = ("SR", "KO")
#: Defined terms of unpaired parts that a chest radiograph bears (PS3.16 Annex L).
_UNPAIRED = frozenset(("CHEST", "ABDOMEN", "TSPINE"))
SERIES_OFFSET = {
    "secondary_capture": 1,
    "lung_segmentation": 2,
    "saliency_segmentation": 3,
    "structured_report": 5,
    "text_report": 6,
    "key_objects": 8,
}


def coded(code: Code) -> Dataset:
    """Return the item of a code sequence (PS3.3, 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def reference(instance: Instance) -> Dataset:
    """Return the bare identity of a received instance, for evidence and reference sequences."""
    return bare(instance.sop_class_uid, instance.sop_instance_uid, instance.series_instance_uid, instance.study_instance_uid)


def predecessor_references(context: ResultContext, role: str) -> list[Dataset]:
    """Return the documents that ``role`` replaces: of the same role, else of the same kind."""
    kind = kind_of(role)
    of_kind = [p for p in context.predecessors if kind_of(p[2]) == kind]
    chosen = [p for p in of_kind if p[2] == role] or of_kind
    study = context.primary.study_instance_uid
    return [bare(sop, uid, derived_uid(context.run.predecessor, "series", old), study) for sop, uid, old in chosen]


def bare(sop_class: str, sop_instance: str, series: str, study: str) -> Dataset:
    """Return the identity of an object, with a patient that says nothing: highdicom wants one."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = sop_class, sop_instance, series, study
    for keyword in _REQUIRED:
        setattr(ds, keyword, "")
    return ds


def skeleton(context: ResultContext, rows: int, columns: int) -> Dataset:
    """Return what highdicom needs of the image that was read: its identity, its matrix, its spacing where that can be meant.

    Of a CT slice too: its place in space is left out, for a picture with words around it lies nowhere in the patient.
    """
    ds = reference(context.primary)
    source = context.source
    ds.Modality = str(source.get("Modality", "") or "OT")
    ds.Rows, ds.Columns = rows, columns
    spacing = pixel_spacing(context)
    if spacing:
        ds.PixelSpacing = list(spacing)
    if str(source.get("LossyImageCompression", "") or "") == "01":
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if source.get(keyword):
                ds[keyword] = copy.deepcopy(source[keyword])
    return ds


def pixel_spacing(context: ResultContext) -> tuple[float, float] | None:
    """Return Pixel Spacing (row, column) in mm; ``None`` when absent or not positive. Imager Pixel Spacing never replaces it."""
    value = context.source.get("PixelSpacing")
    if context.primary.sop_class_uid in MULTI_FRAME_CT:  # it stands in the functional groups there
        value = list(context.primary.facts.pixel_spacing_mm)
    if not value or isinstance(value, str | float | int):
        return None
    spacing = tuple(float(v) for v in value)
    return (spacing[0], spacing[1]) if len(spacing) == 2 and all(0 < v < 100 for v in spacing) else None


def device_uid(bundle: BundleRef) -> str:
    """Return the Device UID of a model: other name, version or bytes, other UID (IHE AIR 6.5.3.1)."""
    return derived_uid("device", bundle.name, bundle.version, bundle.sha256)


def observer_device_uid(context: ResultContext) -> str:
    """Return the Device UID of who observed: the deciding model, or the node itself when no model spoke."""
    bundles = context.findings.bundles
    return device_uid(bundles[0]) if bundles else derived_uid("node", VERSION, context.settings.device_serial_number)


def stamp(dataset: Dataset, context: ResultContext, role: str, description: str) -> None:
    """Write identity, equipment and time over a built object.

    Parameters
    ----------
    dataset
        The object as highdicom made it; changed in place.
    role
        The output's kind with its variant and ordinal: SOP Instance and Series UID derive from it, objects of several ordinals
        are of one series.
    description
        Series Description; ``AI <what> (RUO)``. Of a model that learned from artificial images it becomes ``AI <what>, SYNTHETIC
        (RUO)``: a list of series is what every viewer shows, whatever it makes of the object.
    """
    with pydicom.config.disable_value_validation():
        _copy_identity(dataset, context)
        _set_series(dataset, context, role, description)
        _set_equipment(dataset, context)
        _set_time(dataset, context)
        _set_dimension(dataset)
        ours = (context.settings.manufacturer, context.settings.institution_name, context.settings.device_serial_number)
        name = str(context.source.get("SpecificCharacterSet", "") or "")
        set_character_set(dataset, name if all(text.isascii() for text in ours) else UNICODE)


def _copy_identity(dataset: Dataset, context: ResultContext) -> None:
    source = context.source
    for keyword in (*_REQUIRED, *_OPTIONAL):
        if keyword in dataset:
            del dataset[keyword]
        if _has(source, keyword) and (keyword not in _FORMS or _FORMS[keyword].match(str(source[keyword].value))):
            dataset[keyword] = copy.deepcopy(source[keyword])
        elif keyword in _REQUIRED:
            setattr(dataset, keyword, "")
    dataset.StudyInstanceUID = context.primary.study_instance_uid
    if "InstitutionName" not in dataset and context.settings.institution_name:
        dataset.InstitutionName = context.settings.institution_name
    requests = source.get("RequestAttributesSequence") or []
    if dataset.Modality in _REPORTS:
        if requests:
            dataset.ReferencedRequestSequence = Sequence([_referenced_request(item, context) for item in requests])
        return
    items = [item for item in (_request(item) for item in requests) if item]
    if items:
        dataset.RequestAttributesSequence = Sequence(items)
    if source.get("BodyPartExamined"):
        dataset.BodyPartExamined = source.BodyPartExamined
    unpaired = str(source.get("BodyPartExamined") or "").strip().upper() in _UNPAIRED
    if dataset.Modality != "SEG" and not unpaired:  # Type 2C where the body part may be a paired one (PS3.3 C.7.3.1)
        dataset.Laterality = source.get("Laterality") or ""
    if "FrameOfReferenceUID" not in dataset:  # Type 2C without Image Orientation (Patient), PS3.3 C.7.6.1
        dataset.PatientOrientation = list(context.orientation)


def _has(dataset: Dataset, keyword: str) -> bool:
    """Whether the element is there with a value; an empty sequence has none."""
    return dataset.get(keyword) not in (None, "") and not (dataset[keyword].VR == "SQ" and not dataset[keyword].value)


def _request(item: Dataset) -> Dataset:
    """Copy a request item; empty Type 3 elements are dropped, an empty sequence there is an error (PS3.3 10.6)."""
    kept = Dataset()
    for keyword in _REQUEST:
        if _has(item, keyword):
            kept[keyword] = copy.deepcopy(item[keyword])
    return kept


def _referenced_request(item: Dataset, context: ResultContext) -> Dataset:
    """Return the order as an SR names it: all elements Type 2 (PS3.3 C.17.2, Referenced Request Sequence)."""
    request = Dataset()
    request.StudyInstanceUID = str(item.get("StudyInstanceUID", "") or context.primary.study_instance_uid)
    for keyword in ("ReferencedStudySequence", "RequestedProcedureCodeSequence"):
        values = item.get(keyword) if keyword == "RequestedProcedureCodeSequence" else None
        setattr(request, keyword, Sequence(copy.deepcopy(list(values or []))))
    for keyword in ("RequestedProcedureID", "RequestedProcedureDescription"):
        setattr(request, keyword, item.get(keyword) or "")
    request.AccessionNumber = item.get("AccessionNumber") or context.source.get("AccessionNumber") or ""
    request.PlacerOrderNumberImagingServiceRequest = ""
    request.FillerOrderNumberImagingServiceRequest = ""
    return request


def _set_series(dataset: Dataset, context: ResultContext, role: str, description: str) -> None:
    dataset.SOPInstanceUID = context.uid("instance", role)
    dataset.SeriesInstanceUID = context.uid("series", plain_role(role))
    dataset.SeriesNumber = context.settings.series_number_base + SERIES_OFFSET[kind_of(role)]
    dataset.SeriesDescription = description.replace(" (RUO)", ", SYNTHETIC (RUO)") if context.synthetic else description
    dataset.InstanceNumber = int(role.partition("#")[2] or 1)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def _set_equipment(dataset: Dataset, context: ResultContext) -> None:
    settings, findings = context.settings, context.findings
    dataset.Manufacturer = settings.manufacturer
    dataset.ManufacturerModelName = PRODUCT_NAME
    dataset.DeviceSerialNumber = settings.device_serial_number
    dataset.SoftwareVersions = [f"{PRODUCT_NAME} {VERSION}", *(bundle.label[:64] for bundle in findings.bundles)]
    policy = f"policy {findings.policy.name}; " if findings.policy else ""
    items = []
    for bundle in findings.bundles:
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [coded(codes.PROCESSING_EQUIPMENT)]
        item.Manufacturer = settings.manufacturer
        item.ManufacturerModelName = bundle.name[:64]
        item.SoftwareVersions = bundle.version[:64]
        item.DeviceSerialNumber = settings.device_serial_number
        item.DeviceUID = device_uid(bundle)
        item.ContributionDateTime = context.timestamp.strftime("%Y%m%d%H%M%S")
        item.ContributionDescription = plain(f"{policy}bundle sha256 {bundle.sha256[:16]}; evidence {bundle.evidence}")
        items.append(item)
    if "ContributingEquipmentSequence" in dataset:
        del dataset.ContributingEquipmentSequence
    if items:
        dataset.ContributingEquipmentSequence = Sequence(items)


def _set_time(dataset: Dataset, context: ResultContext) -> None:
    day, time = context.timestamp.strftime("%Y%m%d"), context.timestamp.strftime("%H%M%S")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, time
    dataset.SeriesDate, dataset.SeriesTime = day, time
    dataset.ContentDate, dataset.ContentTime = day, time
    dataset.TimezoneOffsetFromUTC = context.timestamp.strftime("%z")[:5]
    if "DateOfSecondaryCapture" in dataset:
        dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = day, time


def _set_dimension(dataset: Dataset) -> None:
    """Replace highdicom's random Dimension Organization UID by one that depends on the instance."""
    if "DimensionOrganizationSequence" not in dataset:
        return
    uid = derived_uid(dataset.SOPInstanceUID, "dimension")
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in dataset.get("DimensionIndexSequence", []):
        index.DimensionOrganizationUID = uid
