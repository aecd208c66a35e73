"""Measurement groups of a CT series: one a slice that the model read (TID 1501), and the lungs of the Segmentation (TID 1411).

Every NUM lies on a slice (INFERRED FROM a polyline), for the reason that ``tid1500`` gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom.sr import (
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset

from dicom_node.core import codes
from dicom_node.core.findings import BundleRef, SliceScore
from dicom_node.core.maps import LEFT_LUNG, RIGHT_LUNG
from dicom_node.results import slices
from dicom_node.results.context import ResultContext
from dicom_node.results.report_text import plain
from dicom_node.results.sr_document import built_object, concept, with_children
from dicom_node.results.tid1500_groups import Shown, algorithm, box_on, coordinates, number, source
from dicom_node.version import VERSION

_CHOICE = {"marked": codes.SLICE_MARKED, "automatic": codes.SLICE_AUTOMATIC}
_SIDES = {RIGHT_LUNG: codes.RIGHT, LEFT_LUNG: codes.LEFT}


def slice_groups(context: ResultContext) -> list[Any]:
    """Return a group for each slice that the model read, from feet to head; numbers beside the findings come last."""
    held = {i.sop_instance_uid: i for i in context.study.instances}
    scored = [(one, (held[one.sop_instance_uid], one.frame)) for one in context.findings.slices if one.sop_instance_uid in held]
    groups = [_slice_group(context, one, where) for one, where in scored]
    return [*groups, *_measured(context)]


def _slice_group(context: ResultContext, one: SliceScore, where: Shown) -> Any:
    finding = slices.decided_finding(context)
    name = slices.slice_name(context, one.sop_instance_uid, one.frame)
    how = [QualitativeEvaluation(concept(codes.SLICE_CHOICE), concept(_CHOICE[one.how]))] if one.how in _CHOICE else None
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=context.uid("tracking", "slice", one.sop_instance_uid, str(one.frame or "")), identifier=plain(f"AI slice, {name}")
        ),
        finding_type=concept(finding.code) if finding is not None else None,
        finding_sites=[FindingSite(concept(codes.LUNG))],
        algorithm_id=algorithm(context, context.findings.bundles[0]),
        measurements=[number(where, codes.PROBABILITY, one.probability, codes.UNITY, box_on(context, where))],
        qualitative_evaluations=how,
        source_images=[source(where)],
    )


def _measured(context: ResultContext) -> list[Any]:
    """Return one group with the numbers beside the findings; none where there are none."""
    where, measured = (context.primary, context.frame), context.findings.measurements
    if not measured:
        return []
    box = box_on(context, where)
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=context.uid("tracking", "measurements"), identifier="AI measurements"),
        algorithm_id=algorithm(context, context.findings.bundles[0]),
        measurements=[number(where, one.code, one.value, one.unit, box) for one in measured],
        source_images=[source(where)],
    )
    return [group]


def lung_volume_groups(context: ResultContext) -> list[Any]:
    """Return each segment of the lungs with its volume, when the Segmentation was built."""
    made, volume = built_object(context, "lung_segmentation"), context.findings.lung_volume
    if made is None or volume is None:
        return []
    values = sorted(value for value, plane in volume.packed().planes.items() if plane.any())
    return [_lung_group(context, made, place, value) for place, value in enumerate(values, start=1)]


def _lung_group(context: ResultContext, made: Dataset, segment: int, value: int) -> Any:
    volume, where = context.findings.lung_volume, (context.primary, context.frame)
    assert volume is not None, "asked by the caller"
    described = made.SegmentSequence[segment - 1]
    cubic_cm = _volume_cm3(context, value)
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=str(described.TrackingUID), identifier=str(described.TrackingID)),
        referenced_segment=ReferencedSegment(
            made.SOPClassUID,
            made.SOPInstanceUID,
            segment,
            source_series=SourceSeriesForSegmentation(context.primary.series_instance_uid),
        ),
        finding_type=concept(codes.LUNG),
        finding_sites=[FindingSite(concept(codes.LUNG), laterality=concept(_SIDES[value]) if value in _SIDES else None)],
        algorithm_id=algorithm(context, volume.bundle or _rule(volume.method)),
        measurements=None
        if cubic_cm is None
        else [Measurement(concept(codes.VOLUME), round(cubic_cm, 1), concept(codes.CUBIC_CENTIMETER))],
    )
    for item in group[0].ContentSequence:
        if item.ValueType == "NUM":  # highdicom refuses coordinates here, a viewer stops without them
            with_children(item, [coordinates(where, box_on(context, where))])
    return group


def _rule(method: str) -> BundleRef:
    """Name what has no weights: this node's own rule."""
    return BundleRef(f"lungs by rule: {method}", VERSION, "none", "internal")


def _volume_cm3(context: ResultContext, value: int) -> float | None:
    """Return the volume of one value of the lung masks; ``None`` where the pipeline does not say how large a voxel is."""
    lungs, said = context.findings.lung_volume, context.findings.provenance.get("volume", {})
    spacing = said.get("spacing_mm") if isinstance(said, dict) else None
    if lungs is None or not isinstance(spacing, list | tuple) or len(spacing) != 3:
        return None
    plane = lungs.packed().planes[value]
    voxels = int(np.bitwise_count(plane).sum(dtype=np.int64))
    return voxels * float(np.prod(spacing)) / 1000
