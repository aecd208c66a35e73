"""The lung mask as a binary Segmentation (PS3.3 A.51). Variant ``plane`` states a made-up plane for viewers that need one.

Of a CT series it holds only slices with lung, right and left as segments of their own where they were told apart; slices have a
plane of their own, so the variant is the same object there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.findings import Findings
from dicom_node.core.maps import LEFT_LUNG, LUNG, RIGHT_LUNG
from dicom_node.results.context import ResultContext
from dicom_node.results.part10 import as_artifact
from dicom_node.results.segmentation import Segment, SegmentLabel, build_segmentation
from dicom_node.results.volume_segmentation import Frame, build_volume_segmentation, every_nth, planes_of
from dicom_node.version import VERSION

MEDIA_TYPE = DICOM
SOP_CLASS_UIDS: tuple[str, ...] = (str(SegmentationStorage),)
VARIANTS: tuple[str, ...] = ("plane",)
AFTER: tuple[str, ...] = ()


_SIDES = {LUNG: ("Lungs", None), RIGHT_LUNG: ("Right lung", codes.RIGHT), LEFT_LUNG: ("Left lung", codes.LEFT)}
_COLOURS = {LUNG: (75.0, -35.0, -10.0), RIGHT_LUNG: (75.0, -35.0, -10.0), LEFT_LUNG: (80.0, -10.0, -30.0)}


def wanted(findings: Findings) -> bool:
    """Say whether lungs were found on the image, or the slices, that were read."""
    if findings.abstention is None and findings.lung_volume is not None:
        return any(plane.any() for plane in findings.lung_volume.packed().planes.values())
    lungs = findings.lungs
    if findings.abstention is not None or lungs is None or findings.read[:1] != (lungs.sop_instance_uid,):
        return False
    return bool(lungs.values.any())


def build(context: ResultContext, variant: str) -> Artifact:
    """Write one segment, both lungs; of a CT series right and left."""
    role = f"lung_segmentation:{variant}" if variant else "lung_segmentation"
    if context.findings.lung_volume is not None:
        return as_artifact(context, role, _of_slices(context, role))
    lungs = context.findings.lungs
    assert lungs is not None, "wanted() was asked first"
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


def _of_slices(context: ResultContext, role: str) -> Dataset:
    """Write the lungs slice by slice, as far as the object stays of a size that archives take."""
    volume = context.findings.lung_volume
    assert volume is not None, "wanted() was asked first"
    packed = volume.packed()
    values = sorted(value for value, plane in packed.planes.items() if plane.any())
    maker = (volume.bundle.name, volume.bundle.version) if volume.bundle else (f"lungs by rule: {volume.method}", VERSION)
    labels = [
        SegmentLabel(
            label=_SIDES[value][0],
            category=codes.ANATOMICAL_STRUCTURE,
            kind=codes.LUNG,
            algorithm=maker[0],
            version=maker[1],
            colour=_COLOURS[value],
            tracking=(f"lungs|{value}", f"AI {_SIDES[value][0].lower()}"),
            side=_SIDES[value][1],
        )
        for value in values
    ]
    planes = planes_of(context, volume.slices)
    filled = {value: [n for n, one in enumerate(packed.planes[value]) if one.any()] for value in values}
    step = every_nth(sum(len(places) for places in filled.values()), *volume.shape[1:])

    def frames() -> Iterator[Frame]:
        for number, value in enumerate(values, start=1):
            for n in filled[value][::step]:
                plane = planes.get(volume.slices[n])
                if plane is not None:
                    mask = np.unpackbits(packed.planes[value][n], axis=1, count=packed.columns)
                    yield Frame(number, plane, mask)

    content = "Lung masks made by a computer; not edited" + (f"; one slice of {step}" if step > 1 else "")
    return build_volume_segmentation(context, role, labels, frames(), "LUNGS", content, "AI lung mask (RUO)", overlap=False)
