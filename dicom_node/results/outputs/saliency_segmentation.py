"""The saliency map as a Segmentation: three nested levels, each of which a viewer can switch. Variant ``plane`` as for lungs."""

from __future__ import annotations

import numpy as np
from pydicom.uid import SegmentationStorage

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.findings import Findings
from dicom_node.imaging.overlay_bands import LEVELS
from dicom_node.results.context import ResultContext
from dicom_node.results.part10 import as_artifact
from dicom_node.results.report_text import plain
from dicom_node.results.segmentation import Segment, build_segmentation

MEDIA_TYPE = DICOM
SOP_CLASS_UIDS: tuple[str, ...] = (str(SegmentationStorage),)
VARIANTS: tuple[str, ...] = ("plane",)
AFTER: tuple[str, ...] = ()

_COLOURS = ((88.0, 2.0, 68.0), (70.0, 38.0, 62.0), (52.0, 74.0, 20.0))  # CIELab of the overlay's ramp, rounded


def wanted(findings: Findings) -> bool:
    """Say whether a map of the image read holds any evidence; an all-zero map is never stretched into one."""
    mine = [m for m in findings.maps if m.sop_instance_uid in findings.read[:1]]
    return findings.abstention is None and any(float(m.values.max(initial=0.0)) > 0 for m in mine)


def build(context: ResultContext, variant: str) -> Artifact:
    """Write the regions at or above 25, 50 and 75 % of the map's maximum."""
    saliency = context.saliency
    assert saliency is not None, "wanted() was asked first"
    role = f"saliency_segmentation:{variant}" if variant else "saliency_segmentation"
    highest = float(saliency.values.max(initial=0.0))
    bundle = context.findings.bundles[0]
    name = f"{saliency.method_name} {saliency.finding_key}"
    segments = [
        Segment(
            label=plain(f"{name} >= {level:.0%}")[:64],
            category=codes.SPATIAL_CONCEPT,
            kind=saliency.method,
            mask=((saliency.values >= np.float32(level * highest)) & (saliency.values > 0)).astype(np.uint8),
            algorithm=plain(f"{saliency.method_name} of {bundle.name}"),
            version=bundle.version,
            colour=colour,
            tracking=(f"saliency|{saliency.finding_key}|{level}", plain(f"AI {name} {level:.0%}")),
        )
        for level, colour in zip(LEVELS, _COLOURS, strict=True)
    ]
    description = "Where the model looked; not a lesion outline"
    made = build_segmentation(context, role, segments, "SALIENCY", description, "AI saliency map (RUO)", plane=variant == "plane")
    return as_artifact(context, role, made)
