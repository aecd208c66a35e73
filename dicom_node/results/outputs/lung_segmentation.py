"""The lung mask as a binary Segmentation (PS3.3 A.51). Variant ``plane`` states a made-up plane for viewers that need one."""

from __future__ import annotations

import numpy as np
from pydicom.uid import SegmentationStorage

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.findings import Findings
from dicom_node.results.context import ResultContext
from dicom_node.results.part10 import as_artifact
from dicom_node.results.segmentation import Segment, build_segmentation

MEDIA_TYPE = DICOM
SOP_CLASS_UIDS: tuple[str, ...] = (str(SegmentationStorage),)
VARIANTS: tuple[str, ...] = ("plane",)
AFTER: tuple[str, ...] = ()


def wanted(findings: Findings) -> bool:
    """Say whether lungs were found on the image that was read."""
    lungs = findings.lungs
    if findings.abstention is not None or lungs is None or findings.read[:1] != (lungs.sop_instance_uid,):
        return False
    return bool(lungs.values.any())


def build(context: ResultContext, variant: str) -> Artifact:
    """Write one segment, both lungs."""
    lungs = context.findings.lungs
    assert lungs is not None, "wanted() was asked first"
    role = f"lung_segmentation:{variant}" if variant else "lung_segmentation"
    segment = Segment(
        label="Lungs",
        category=codes.ANATOMICAL_STRUCTURE,
        kind=codes.LUNG,
        mask=(lungs.values > 0).astype(np.uint8),
        algorithm=lungs.bundle.name,
        version=lungs.bundle.version,
        colour=(75.0, -35.0, -10.0),
        tracking=("lungs", "AI lungs"),
    )
    description = "Lung mask made by a computer; not edited"
    made = build_segmentation(context, role, [segment], "LUNGS", description, "AI lung mask (RUO)", plane=variant == "plane")
    return as_artifact(context, role, made)
