"""Runs, findings and artifacts that are ready to be told or sent; no file is opened."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import time
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, FHIR, HL7, Artifact
from dicom_node.core.findings import Abstention, BundleRef, Decision, Finding, Findings, Flag, PolicyRef, Zone
from dicom_node.core.phi import Phi
from dicom_node.core.run import Priority, Release, RunRequest
from dicom_node.core.study import HeaderFacts, Instance, Study
from dicom_node.results.context import ResultContext
from dicom_node.results.settings import ResultsSettings
from dicom_node.store import tables

CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
WHEN = dt.datetime(2026, 11, 1, 10, 20, tzinfo=dt.UTC)
BUNDLE = BundleRef("cxr_tb", "0.1.0", "ab" * 32, "demo")
#: A name and free text that hold every delimiter of HL7 and HTML.
AWKWARD = "a|b^c~d\\e&f<g>"


def request(**changes: Any) -> RunRequest:
    """Return a run that sends at once to ``pacs``."""
    values: dict[str, Any] = {
        "run_key": "rn_" + "1" * 32,
        "study_key": "st_aaaaaaaaaa",
        "study_instance_uid": "1.2",
        "pipeline": "cxr_tb",
        "rule": "chest",
        "revision": 1,
        "policy": "screening",
        "release": Release.AT_ONCE,
        "priority": Priority.ROUTINE,
        "destinations": ("pacs",),
        "outputs": (),
        "requested_at": WHEN,
        "bundles": {},
    }
    return RunRequest(**{**values, **changes})


def analysed(zone: Zone = Zone.SUSPECTED, probability: float = 0.87) -> Findings:
    """Return a finding above its threshold, and a class that the model cannot speak about."""
    decision = Decision.POSITIVE if probability >= 0.62 else Decision.NEGATIVE
    return Findings(
        pipeline="cxr_tb",
        read=("1.2.3.1",),
        findings=(
            Finding("abnormal", codes.ABNORMAL, decision, probability, 0.62, 0.4, 0.7),
            Finding("tuberculosis", codes.TUBERCULOSIS, Decision.NOT_ASSESSED, note=f"Too few adults: {AWKWARD}"),
        ),
        zone=zone,
        headline="Abnormal, above threshold.",
        policy=PolicyRef("screening", "cd" * 32, True, "Sensitivity at least 0.9."),
        bundles=(BUNDLE,),
        flags=(Flag("lossy", f"Lossy compression {AWKWARD}."),),
    )


def likelihood(probability: float = 0.7312) -> Findings:
    """Return the likelihood of a disease, by a model that learned from artificial images."""
    return Findings(
        pipeline="ct_ntm",
        read=("1.2.3.1",),
        findings=(
            Finding("ntm_disease", codes.NTM_DISEASE, Decision.POSITIVE, probability, 0.5, note="Of disease, not infection."),
        ),
        zone=Zone.SUSPECTED,
        headline="Suspected.",
        policy=PolicyRef("screening", "cd" * 32, True, "Sensitivity at least 0.9."),
        bundles=(dataclasses.replace(BUNDLE, name="ct_ntm", synthetic=True),),
        flags=(Flag("clinical_missing", "Clinical data missing: smear; the model went on without."),),
    )


def refused(reason: str = "not_frontal") -> Findings:
    """Return a refusal."""
    return Findings(pipeline="cxr_tb", abstention=Abstention(reason, "View LL."))


def facts(**changes: Any) -> HeaderFacts:
    """Return the header of a chest radiograph made at 10:15 in UTC+05:30."""
    values: dict[str, Any] = {
        "patient_id": Phi("PID-0042"),
        "issuer_of_patient_id": Phi("HOSP1"),
        "patient_name": Phi("Yamada^Tarou=山田^太郎=やまだ^たろう"),
        "birth_date": Phi("19800305"),
        "patient_sex": "F",
        "study_date": "20261101",
        "study_time": "101500",
        "acquisition_datetime": "20261101101500.250000",
        "accession_number": Phi("ACC-77001"),
        "timezone_offset": "+0530",
        "modality": "CR",
        "series_number": "1",
        "has_pixel_data": True,
        "rows": 100,
        "columns": 80,
    }
    return HeaderFacts(**{**values, **changes})


def context(
    findings: Findings | None = None, run: RunRequest | None = None, settings: ResultsSettings | None = None, **header: Any
) -> ResultContext:
    """Return what outputs are built from."""
    instance = Instance(CR_IMAGE, "1.2.3.1", "1.2.3", "1.2", str(ExplicitVRLittleEndian), "0" * 64, "/nowhere", facts(**header))
    study = Study("st_aaaaaaaaaa", "1.2", (instance,))
    return ResultContext(run or request(), findings or analysed(), study, settings or ResultsSettings(), dt.UTC, unvalidated=True)


def dicom_bytes(sop_class_uid: str = BASIC_TEXT_SR, sop_instance_uid: str = "1.2.826.0.1.1") -> bytes:
    """Return a small Part 10 file."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", "1.2.9"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "PID-0042"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = sop_class_uid, sop_instance_uid
    held = io.BytesIO()
    dataset.save_as(held, enforce_file_format=True)
    return held.getvalue()


def artifact(role: str = "text_report", *, refusal: bool = False, run_key: str = "rn_" + "1" * 32) -> Artifact:
    """Return an artifact of a role, with bytes that fit its media type."""
    kind = role.partition(":")[0]
    if kind == "diagnostic_report":
        return Artifact(
            run_key, role, FHIR, "AIREPORT", b'{"resourceType": "Bundle", "type": "transaction", "entry": []}', "", refusal
        )
    if kind == "oru_message":
        return Artifact(
            run_key, role, HL7, "AIMESSAGE1", b"MSH|^~\\&|AINODE||||20261101||ORU^R01^ORU_R01|AIMESSAGE1|P|2.5.1\r", "", refusal
        )
    sop_class = BASIC_TEXT_SR if "report" in kind else SECONDARY_CAPTURE
    return Artifact(run_key, role, DICOM, "1.2.826.0.1.1", dicom_bytes(sop_class), sop_class, refusal)


def record_run(connection: sa.Connection, run: RunRequest) -> None:
    """Write the rows of a study and a run as routing leaves them."""
    now = time.time()
    if not connection.execute(sa.select(tables.study).where(tables.study.c.study_key == run.study_key)).first():
        connection.execute(
            sa.insert(tables.study).values(
                study_key=run.study_key,
                study_instance_uid=run.study_instance_uid,
                state="routed",
                first_received_utc=now,
                last_received_utc=now,
                ceiling_utc=now,
            )
        )
    connection.execute(
        sa.insert(tables.run).values(
            run_key=run.run_key,
            study_key=run.study_key,
            pipeline=run.pipeline,
            rule=run.rule,
            revision=run.revision,
            state="analysed",
            request={**dataclasses.asdict(run), "requested_at": run.requested_at.isoformat()},
            requested_utc=now,
        )
    )
