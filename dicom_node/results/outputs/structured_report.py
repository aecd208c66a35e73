"""The result for machines: Comprehensive 3D SR with TID 1500 (the class that IHE AIR names for qualitative findings)."""

from __future__ import annotations

from highdicom.sr import Comprehensive3DSR
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.findings import Findings
from dicom_node.results.context import ResultContext
from dicom_node.results.part10 import as_artifact
from dicom_node.results.sr_document import document
from dicom_node.results.tid1500 import measurement_report

MEDIA_TYPE = DICOM
SOP_CLASS_UIDS: tuple[str, ...] = (str(Comprehensive3DSRStorage),)
VARIANTS: tuple[str, ...] = ("ohif_text", "ohif_roi")
AFTER: tuple[str, ...] = ("secondary_capture", "lung_segmentation", "saliency_segmentation")


def wanted(findings: Findings) -> bool:
    """Every run has one: a refusal is a result too."""
    return True


def build(context: ResultContext, variant: str) -> Artifact:
    """Write the measurement report in one flavour."""
    role = f"structured_report:{variant}" if variant else "structured_report"
    root, made = measurement_report(context, variant)
    what = "AI not analysed (RUO)" if context.findings.abstention else "AI measurement report (RUO)"
    return as_artifact(context, role, document(Comprehensive3DSR, context, role, what, root, made))
