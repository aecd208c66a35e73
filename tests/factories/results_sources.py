"""Received radiographs and finished runs for the tests of what leaves the node."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core import codes
from dicom_node.core.digest import digest_of
from dicom_node.core.findings import (
    Abstention,
    BundleRef,
    Decision,
    Finding,
    Findings,
    Flag,
    LungMask,
    NotRead,
    PolicyRef,
    SaliencyMap,
    Zone,
)
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.phi import Phi
from dicom_node.core.run import Priority, Release, RunRequest
from dicom_node.core.study import HeaderFacts, Instance, Study
from dicom_node.results.context import ResultContext
from dicom_node.results.settings import ResultsSettings

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
IST = dt.timezone(dt.timedelta(hours=5, minutes=30))

BUNDLE = BundleRef("cxr_tb", "1.0.0", "ab" * 32, "demo")
LUNG_BUNDLE = BundleRef("lungs_cxr", "1.0.0", "cd" * 32, "internal")
POLICY = PolicyRef("screening", "ef" * 32, True, "Sensitivity at least 0.90 with 95 % confidence, n = 120 adults.")


def chest(rows: int, columns: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.float32]]:
    """Return stored values (12 bit), lung mask, raw map: a body, two lungs, one opacity. Nothing random."""
    y, x = np.mgrid[0:rows, 0:columns]
    y, x = y / rows, x / columns
    body = ((x - 0.5) / 0.46) ** 2 + ((y - 0.55) / 0.52) ** 2 < 1
    lungs = np.zeros((rows, columns), np.uint8)
    for centre in (0.31, 0.69):
        lungs |= (((x - centre) / 0.15) ** 2 + ((y - 0.48) / 0.31) ** 2 < 1).astype(np.uint8)
    values = np.where(body, 2900.0, 150.0) - 1900.0 * lungs
    values += 220 * np.sin(y * 62) * lungs + 900 * np.exp(-(((x - 0.5) / 0.06) ** 2)) * body
    spot = np.exp(-(((x - 0.72) / 0.07) ** 2 + ((y - 0.33) / 0.06) ** 2))
    values += 1200 * spot
    return values.clip(0, 4095).astype(np.uint16), lungs, (spot * 7.5).astype(np.float32) * (spot > 0.02)


def radiograph(
    *,
    rows: int = 256,
    columns: int = 224,
    sop_class: str = DX,
    charset: str | list[str] | None = "ISO_IR 100",
    name: str = "Muller^Jorg",
    study: str = "one",
    instance: int = 1,
    strip: tuple[str, ...] = (),
    **elements: Any,
) -> Dataset:
    """Return a valid radiograph. ``elements`` overwrite by keyword; ``strip`` takes elements away."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if charset is not None:
        ds.SpecificCharacterSet = charset
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = derived_uid("test", study, str(instance))
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid("test", study), derived_uid("test", study, "series")
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20261101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
    ds.AccessionNumber, ds.StudyID = "ACC-77001", "S1"
    ds.Modality = "DX" if sop_class == DX else "CR"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "Synthetic", "Phantom", "1"
    ds.ReferringPhysicianName = "Doe^Jane"
    ds.StudyDescription, ds.SeriesDescription = "CHEST", "PA"
    ds.PatientName, ds.PatientID, ds.IssuerOfPatientID = name, "PID-0042", "HOSP1"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19800305", "F", "046Y"
    ds.PatientSize, ds.PatientWeight = "1.72", "70"
    ds.BodyPartExamined = "CHEST"
    ds.SeriesNumber, ds.InstanceNumber = 1, instance
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.ViewPosition, ds.PatientOrientation = "PA", ["L", "F"]
    ds.ImagerPixelSpacing = ds.PixelSpacing = [0.7, 0.7]
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    if sop_class == DX:
        ds.PresentationIntentType, ds.ImageLaterality = "FOR PRESENTATION", "U"
        ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
        ds.PresentationLUTShape, ds.DetectorType, ds.PositionerType = "IDENTITY", "DIRECT", "NONE"
        ds.AcquisitionContextSequence = []
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = "OLD-7", "HOSP2", "TEXT"
    ds.OtherPatientIDsSequence = [other]
    ds.ProcedureCodeSequence = [_code("399208008", "SCT", "Plain chest X-ray")]
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID, request.AccessionNumber = "RP1", "SPS1", "ACC-77001"
    request.StudyInstanceUID, request.RequestedProcedureDescription = ds.StudyInstanceUID, "Chest PA"
    request.ScheduledProtocolCodeSequence = []
    ds.RequestAttributesSequence = [request]
    values, _, _ = chest(rows, columns)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = values.tobytes()
    with pydicom.config.disable_value_validation():
        for keyword, value in elements.items():
            ds.pop(keyword, None)  # an element made before would still check its value
            setattr(ds, keyword, value)
    for keyword in strip:
        delattr(ds, keyword)
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def stored(ds: Dataset, folder: Path) -> Instance:
    """Write the object as the node stores it and return its instance."""
    path = folder / f"{hashlib.sha256(str(ds.SOPInstanceUID).encode()).hexdigest()[:12]}.dcm"
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(path, ds, enforce_file_format=True)
    facts = HeaderFacts(
        patient_id=Phi(str(ds.get("PatientID", ""))),
        patient_name=Phi(str(ds.get("PatientName", ""))),
        birth_date=Phi(str(ds.get("PatientBirthDate", ""))),
        accession_number=Phi(str(ds.get("AccessionNumber", ""))),
        study_date=str(ds.get("StudyDate", "")),
        modality=str(ds.get("Modality", "")),
        has_pixel_data="PixelData" in ds,
        rows=ds.get("Rows"),
        columns=ds.get("Columns"),
    )
    return Instance(
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        study_instance_uid=str(ds.StudyInstanceUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        digest=digest_of(path.read_bytes()),
        path=str(path),
        facts=facts,
    )


def analysed(
    instance: Instance, *, zone: Zone = Zone.SUSPECTED, evidence: bool = True, not_read: tuple[NotRead, ...] = ()
) -> Findings:
    """Return findings on one radiograph: ``abnormal`` assessed, tuberculosis and pneumonia not."""
    rows, columns = instance.facts.rows or 1, instance.facts.columns or 1
    _, lungs, values = chest(rows, columns)
    if not evidence:
        values = np.zeros_like(values)
    positive = zone is Zone.SUSPECTED
    note = "Too few adult cases of a second source in calibration."
    return Findings(
        pipeline="cxr_tb",
        read=(instance.sop_instance_uid,),
        not_read=not_read,
        findings=(
            Finding(
                "abnormal",
                codes.ABNORMAL,
                Decision.POSITIVE if positive else Decision.NEGATIVE,
                0.8712345678 if positive else 0.21,
                0.62,
                0.31,
                0.8,
            ),
            Finding("tuberculosis", codes.TUBERCULOSIS, Decision.NOT_ASSESSED, note=note),
            Finding("pneumonia", codes.PNEUMONIA, Decision.NOT_ASSESSED, note=note),
        ),
        zone=zone,
        headline="Abnormal, above threshold." if positive else "Below threshold.",
        policy=POLICY,
        bundles=(BUNDLE, LUNG_BUNDLE),
        flags=(Flag("low_resolution", "The image has fewer than 1000 rows."),),
        maps=(SaliencyMap("abnormal", codes.GRAD_CAM, "Grad-CAM", instance.sop_instance_uid, values, 0.9, 0.02),),
        lungs=LungMask(instance.sop_instance_uid, lungs, LUNG_BUNDLE),
    )


def refused(reason: str = "not_frontal", detail: str = "View Position is LL.", not_read: tuple[NotRead, ...] = ()) -> Findings:
    """Return a refusal."""
    return Findings(pipeline="cxr_tb", not_read=not_read, bundles=(BUNDLE,), abstention=Abstention(reason, detail))


def context(findings: Findings, *instances: Instance, **changes: Any) -> ResultContext:
    """Return the context of a run at 2026-11-01 04:50 UTC. ``changes``: fields of the context or of the run request."""
    run = RunRequest(
        run_key="rn_0123456789abcdef",
        study_key="st_abcdefghij",
        study_instance_uid=instances[0].study_instance_uid,
        pipeline="cxr_tb",
        rule="chest",
        revision=1,
        policy="screening",
        release=Release.AT_ONCE,
        priority=Priority.ROUTINE,
        destinations=("pacs",),
        outputs=(),
        requested_at=dt.datetime(2026, 11, 1, 4, 50, tzinfo=dt.UTC),
    )
    of_run = {f.name for f in dataclasses.fields(RunRequest)}
    run = dataclasses.replace(run, **{k: v for k, v in changes.items() if k in of_run})
    made = ResultContext(
        run=run,
        findings=findings,
        study=Study("st_abcdefghij", instances[0].study_instance_uid, tuple(instances)),
        settings=ResultsSettings(),
        timezone=IST,
        unvalidated=True,
    )
    return dataclasses.replace(made, **{k: v for k, v in changes.items() if k not in of_run})


def finished(folder: Path, zone: Zone = Zone.SUSPECTED, **elements: Any) -> ResultContext:
    """Return the context of an analysed radiograph; ``elements`` go to ``radiograph``."""
    instance = stored(radiograph(**elements), folder)
    return context(analysed(instance, zone=zone), instance)
