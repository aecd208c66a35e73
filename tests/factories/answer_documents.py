"""Documents by which radiologists answer, as PACS and workstations write them: made with highdicom, or from our reports."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr import CodeContentItem, CompositeContentItem, ContainerContentItem, EnhancedSR, TextContentItem
from PIL import ImageCms
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.identifiers import derived_uid

RADIOLOGIST = "Rao^Asha^^Dr."
CONTENT_ASSESSMENT = "1.2.840.10008.5.1.4.1.1.90.1"
_numbers = itertools.count(1)


def _uid() -> str:
    return derived_uid("answer document", str(next(_numbers)))


def coded(value: str, scheme: str, meaning: str = "x") -> Dataset:
    """Return the item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def sendable(dataset: Dataset) -> Dataset:
    """Add what a file needs."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.file_meta = meta
    return dataset


def person(name: str = RADIOLOGIST) -> Any:
    """Return the observer context of a person (TID 1003)."""
    return hd.sr.ObserverContext(
        observer_type=Code("121006", "DCM", "Person"),
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name=name),
    )


def key_objects(named: Sequence[Dataset], title: str = "113001", description: str = "", who: str = RADIOLOGIST) -> Dataset:
    """Return a Key Object Selection that names these objects; ``title``: code value, DCM."""
    evidence = []
    for one in named:
        shown = Dataset()
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(shown, keyword, one[keyword].value)
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
            setattr(shown, keyword, one.get(keyword, ""))
        shown.AccessionNumber, shown.ReferringPhysicianName = one.get("AccessionNumber", ""), ""
        if "Rows" in one:
            shown.Rows, shown.Columns = one.Rows, one.Columns
        evidence.append(shown)
    selection = hd.ko.KeyObjectSelection(
        Code(title, "DCM", "Title"), evidence, observer_person_context=person(who), description=description or None
    )
    return sendable(
        hd.ko.KeyObjectSelectionDocument(
            evidence,
            selection,
            series_instance_uid=_uid(),
            series_number=71,
            sop_instance_uid=_uid(),
            instance_number=1,
            manufacturer="PACS",
        )
    )


def presentation_state(image: Dataset, shapes: Iterable[tuple[str, Sequence[tuple[float, float]]]] = ()) -> Dataset:
    """Return a presentation state on one image with graphic objects (type, points in pixels); without any: saved unasked."""
    layer = hd.pr.GraphicLayer("LAYER1", order=1)
    drawn = [
        hd.pr.GraphicObject(graphic_type=shape, graphic_data=np.array(points, dtype=float), units="PIXEL")
        for shape, points in shapes
    ]
    notes = [hd.pr.GraphicAnnotation(referenced_images=[image], graphic_layer=layer, graphic_objects=drawn)] if drawn else []
    kind, more = hd.pr.GrayscaleSoftcopyPresentationState, {}
    if image.SamplesPerPixel > 1:
        colours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        kind, more = hd.pr.ColorSoftcopyPresentationState, {"icc_profile": colours[:12] + b"spac" + colours[16:]}
    made = kind(
        referenced_images=[image],
        series_instance_uid=_uid(),
        series_number=72,
        sop_instance_uid=_uid(),
        instance_number=1,
        manufacturer="PACS",
        manufacturer_model_name="Workstation",
        software_versions="1",
        device_serial_number="1",
        content_label="DRAWN",
        content_creator_name=RADIOLOGIST,
        graphic_layers=[layer] if drawn else None,
        graphic_annotations=notes or None,
        **more,
    )
    return sendable(made)


def edited(
    report: Dataset, *, verified: bool = True, observer: str = RADIOLOGIST, complete: bool = True, in_place: bool = False
) -> Dataset:
    """Return a successor of a report of ours, content unchanged; ``in_place``: under the same SOP Instance UID."""
    made = copy.deepcopy(report)
    if not in_place:
        made.PredecessorDocumentsSequence = [_study_reference(report)]
        made.SOPInstanceUID, made.SeriesInstanceUID = _uid(), _uid()
    made.Manufacturer, made.ManufacturerModelName = "PACS", "Reporting"
    made.CompletionFlag = "COMPLETE" if complete else "PARTIAL"
    made.ContentDate, made.ContentTime = "20261101", "101500"
    if observer:
        made.ContentSequence.extend(person(observer))
    if verified:
        made.VerificationFlag = "VERIFIED"
        item = Dataset()
        item.VerifyingObserverName, item.VerifyingOrganization = observer, "Hospital"
        item.VerificationDateTime = "20261101103000+0000"
        item.VerifyingObserverIdentificationCodeSequence = []
        made.VerifyingObserverSequence = [item]
    return sendable(made)


def group_of(report: Dataset, finding: str) -> Dataset:
    """Return the measurement group whose Tracking Identifier is ``AI <finding>``."""
    return next(item for item in _groups(report) if _child(item, "112039").TextValue == f"AI {finding}")


def without_group(report: Dataset, finding: str) -> Dataset:
    """Take a measurement group out of a report."""
    gone = group_of(report, finding)
    container = next(item for item in report.ContentSequence if _name(item) == "126010")
    container.ContentSequence = [item for item in container.ContentSequence if item is not gone]
    return report


def with_decision(report: Dataset, finding: str, value: str) -> Dataset:
    """Correct the decision of a group (POS, NEG, REFER)."""
    _child(group_of(report, finding), "DECISION").ConceptCodeSequence = [coded(value, "99PACSAI")]
    return report


def with_probability(report: Dataset, finding: str, value: float) -> Dataset:
    """Correct the probability of a group."""
    _child(group_of(report, finding), "122157").MeasuredValueSequence[0].NumericValue = str(value)
    return report


def assessment(
    about: Sequence[Dataset],
    codes: Iterable[tuple[str, str, str]],
    *,
    comment: str = "",
    composite: Sequence[Dataset] = (),
    verified: bool = False,
) -> Dataset:
    """Return an Enhanced SR with codes of an assessment.

    Parameters
    ----------
    codes
        Code value, scheme, and the Tracking UID of the finding ("": the whole result).
    composite
        What the content refers to, beside the evidence.
    """
    root = ContainerContentItem(name=Code("126000", "DCM", "Imaging Measurement Report"))
    items: list[Any] = list(person())
    for value, scheme, tracking_uid in codes:
        said = CodeContentItem(
            name=Code("AIRA-010", "99PACS", "Assessment"), value=Code(value, scheme, "Said"), relationship_type="CONTAINS"
        )
        if not tracking_uid:
            items.append(said)
            continue
        group = ContainerContentItem(name=Code("125007", "DCM", "Measurement Group"), relationship_type="CONTAINS")
        tracked = hd.sr.UIDRefContentItem(
            name=Code("112040", "DCM", "Tracking Unique Identifier"), value=tracking_uid, relationship_type="HAS OBS CONTEXT"
        )
        group.ContentSequence = hd.sr.ContentSequence([tracked, said])
        items.append(group)
    if comment:
        items.append(
            TextContentItem(name=Code("121106", "DCM", "Comment"), value=comment, relationship_type="CONTAINS"),
        )
    items += [
        CompositeContentItem(
            name=Code("121112", "DCM", "Source"),
            referenced_sop_class_uid=str(one.SOPClassUID),
            referenced_sop_instance_uid=str(one.SOPInstanceUID),
            relationship_type="CONTAINS",
        )
        for one in composite
    ]
    root.ContentSequence = hd.sr.ContentSequence(items)
    made = EnhancedSR(
        evidence=[_identity(one) for one in about],
        content=root,
        series_instance_uid=_uid(),
        series_number=73,
        sop_instance_uid=_uid(),
        instance_number=1,
        manufacturer="PACS",
        is_complete=True,
        is_verified=verified,
        verifying_observer_name=RADIOLOGIST if verified else None,
        verifying_organization="Hospital" if verified else None,
    )
    return sendable(made)


def content_assessment(about: Sequence[Dataset], summary: str, who: str = RADIOLOGIST) -> Dataset:
    """Return a Content Assessment Results object (PS3.3, C.33.1)."""
    made = _identity(about[0])
    made.SOPClassUID, made.SOPInstanceUID, made.SeriesInstanceUID = CONTENT_ASSESSMENT, _uid(), _uid()
    made.Modality, made.Manufacturer, made.ManufacturerModelName = "ASMT", "PACS", "QC"
    made.AssessmentSummary = summary
    if who:
        made.OperatorsName = who
    made.AssessedSOPInstanceSequence = []
    for one in about:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        made.AssessedSOPInstanceSequence.append(item)
    return sendable(made)


def _identity(one: Dataset) -> Dataset:
    bare = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(bare, keyword, one[keyword].value)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        setattr(bare, keyword, one.get(keyword, ""))
    bare.AccessionNumber, bare.ReferringPhysicianName = one.get("AccessionNumber", ""), ""
    return bare


def _study_reference(one: Dataset) -> Dataset:
    item, series, study = Dataset(), Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = one.SeriesInstanceUID, [item]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = one.StudyInstanceUID, [series]
    return study


def _groups(report: Dataset) -> list[Dataset]:
    container = next(item for item in report.ContentSequence if _name(item) == "126010")
    return list(container.ContentSequence)


def _child(item: Dataset, name: str) -> Dataset:
    return next(child for child in item.ContentSequence if _name(child) == name)


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)
