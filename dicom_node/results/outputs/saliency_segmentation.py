"""The saliency map as a Segmentation: three nested levels, each of which a viewer can switch. Variant ``plane`` as for lungs.

Of a CT series the maps of all key slices are frames of one object.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import SegmentationStorage

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.findings import Findings, SaliencyMap
from dicom_node.imaging.overlay_bands import LEVELS
from dicom_node.results.context import ResultContext
from dicom_node.results.part10 import as_artifact
from dicom_node.results.report_text import plain
from dicom_node.results.segmentation import Segment, SegmentLabel, build_segmentation
from dicom_node.results.volume_segmentation import Frame, build_volume_segmentation, planes_of

MEDIA_TYPE = DICOM
SOP_CLASS_UIDS: tuple[str, ...] = (str(SegmentationStorage),)
VARIANTS: tuple[str, ...] = ("plane",)
AFTER: tuple[str, ...] = ()

_COLOURS = ((88.0, 2.0, 68.0), (70.0, 38.0, 62.0), (52.0, 74.0, 20.0))  # CIELab of the overlay's ramp, rounded


def wanted(findings: Findings) -> bool:
    """Say whether a map of the image, or of a slice, holds any evidence; an all-zero map is never stretched into one."""
    shown = findings.read[:1] if not findings.slices else tuple(p.sop_instance_uid for p in findings.pictures)
    mine = [m for m in findings.maps if m.sop_instance_uid in shown]
    return findings.abstention is None and any(float(m.values.max(initial=0.0)) > 0 for m in mine)


def build(context: ResultContext, variant: str) -> Artifact:
    """Write the regions at or above 25, 50 and 75 % of the map's maximum."""
    maps = (context.saliency_of(instance.sop_instance_uid, frame) for instance, frame in context.shown)
    saliency = context.saliency or next(one for one in maps if one is not None)
    role = f"saliency_segmentation:{variant}" if variant else "saliency_segmentation"
    bundle = context.findings.bundles[0]
    name = f"{saliency.method_name} {saliency.finding_key}"
    labels = [
        SegmentLabel(
            label=plain(f"{name} >= {level:.0%}")[:64],
            category=codes.SPATIAL_CONCEPT,
            kind=saliency.method,
            algorithm=plain(f"{saliency.method_name} of {bundle.name}"),
            version=bundle.version,
            colour=colour,
            tracking=(f"saliency|{saliency.finding_key}|{level}", plain(f"AI {name} {level:.0%}")),
        )
        for level, colour in zip(LEVELS, _COLOURS, strict=True)
    ]
    description = "Where the model looked; not a lesion outline"
    if context.volumetric:
        frames = _of_slices(context)
        made = build_volume_segmentation(
            context, role, labels, frames, "SALIENCY", description, "AI saliency map (RUO)", overlap=True
        )
        return as_artifact(context, role, made)
    segments = [Segment(**vars(one), mask=_above(saliency, level)) for one, level in zip(labels, LEVELS, strict=True)]
    made = build_segmentation(context, role, segments, "SALIENCY", description, "AI saliency map (RUO)", plane=variant == "plane")
    return as_artifact(context, role, made)


def _above(saliency: SaliencyMap, level: float) -> NDArray[np.uint8]:
    """Return the region at or above a share of the map's own maximum."""
    highest = float(saliency.values.max(initial=0.0))
    return ((saliency.values >= np.float32(level * highest)) & (saliency.values > 0)).astype(np.uint8)


def _of_slices(context: ResultContext) -> Iterator[Frame]:
    """Yield the levels of each key slice's map, from feet to head; each map is measured by its own maximum, as in the pictures."""
    maps = [context.saliency_of(instance.sop_instance_uid, frame) for instance, frame in context.shown]
    shown = {(m.sop_instance_uid, m.frame): m for m in maps if m is not None and float(m.values.max(initial=0.0)) > 0}
    planes = sorted(planes_of(context, shown).items(), key=lambda item: item[1].along_mm)
    for number, level in enumerate(LEVELS, start=1):
        yield from (Frame(number, plane, _above(shown[key], level)) for key, plane in planes)
