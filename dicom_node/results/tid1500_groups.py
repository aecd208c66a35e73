"""Measurement groups of the report (TID 1501, TID 1410): one a class, and the lungs. Of slices see ``tid1500_slices``."""

from __future__ import annotations

from typing import Any

import cv2
import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CoordinatesForMeasurement,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    SourceImageForSegmentation,
    TrackingIdentifier,
)
from numpy.typing import NDArray

from dicom_node.core import codes
from dicom_node.core.codes import Code
from dicom_node.core.findings import BundleRef, Decision, Finding, SaliencyMap
from dicom_node.core.study import Instance
from dicom_node.results.context import ResultContext
from dicom_node.results.header import pixel_spacing
from dicom_node.results.report_text import plain
from dicom_node.results.sr_document import built_object, concept, text, with_children

#: What OHIF looks for before it draws a polyline of ours as a region.
OHIF_REGION = "Cornerstone3DTools@^0.1.0:PlanarFreehandROI"

_DECISIONS = {Decision.POSITIVE: codes.DECISION_POSITIVE, Decision.NEGATIVE: codes.DECISION_NEGATIVE}

#: An image and, of several, its frame.
Shown = tuple[Instance, int | None]


def finding_groups(context: ResultContext, variant: str) -> list[Any]:
    """Return one group for each class that was assessed (TID 1501)."""
    return [
        _finding_group(context, finding, variant)
        for finding in context.findings.findings
        if finding.decision is not Decision.NOT_ASSESSED and finding.probability is not None
    ]


def _finding_group(context: ResultContext, finding: Finding, variant: str) -> Any:
    saliency, where = context.saliency, (context.primary, context.frame)
    mapped = saliency if saliency is not None and saliency.finding_key == finding.key else None
    tracking, polyline = plain(f"AI {finding.key}"), box_on(context, where)
    if variant == "ohif_roi" and mapped is not None:
        region = _map_region(mapped)
        if region is not None:
            tracking, polyline = OHIF_REGION, region
    numbers = [(codes.PROBABILITY, finding.probability), (codes.THRESHOLD, finding.threshold)]
    numbers += [(codes.THRESHOLD_LOW, finding.threshold_low), (codes.THRESHOLD_HIGH, finding.threshold_high)]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=context.uid("tracking", finding.key), identifier=tracking),
        finding_type=concept(finding.code),
        finding_sites=[FindingSite(concept(codes.LUNG))],
        algorithm_id=algorithm(context, context.findings.bundles[0]),
        measurements=[number(where, name, value, codes.UNITY, polyline) for name, value in numbers if value is not None],
        qualitative_evaluations=[QualitativeEvaluation(concept(codes.DECISION), concept(_DECISIONS[finding.decision]))],
        source_images=_sources(context),
    )
    if finding.note:
        group[0].ContentSequence.append(text(codes.COMMENT, plain(finding.note)))
    return group


def _sources(context: ResultContext) -> list[Any]:
    """Name what the class was decided on: the image; of a volume, the slices that the model read."""
    held = {i.sop_instance_uid: i for i in context.study.instances}
    slices = [(held[s.sop_instance_uid], s.frame) for s in context.findings.slices if s.sop_instance_uid in held]
    return [source(where) for where in slices or [(context.primary, context.frame)]]


def source(where: Shown) -> Any:
    """Return the item that names an image, or a frame of it, as the source of a group."""
    instance, frame = where
    frames = None if frame is None else [frame]
    return SourceImageForMeasurementGroup(instance.sop_class_uid, instance.sop_instance_uid, frames)


def lung_group(context: ResultContext) -> list[Any]:
    """Return the lungs as a region in the Segmentation (TID 1410), when that was built; none or one."""
    made, lungs = built_object(context, "lung_segmentation"), context.findings.lungs
    if made is None or lungs is None:
        return []
    source, where = context.primary, (context.primary, None)
    pixels, spacing = float((lungs.values > 0).sum()), pixel_spacing(context)
    area = (pixels, codes.PIXELS) if spacing is None else (pixels * spacing[0] * spacing[1], codes.SQUARE_MILLIMETER)
    frame = ReferencedSegmentationFrame(
        made.SOPClassUID, made.SOPInstanceUID, 1, 1, SourceImageForSegmentation(source.sop_class_uid, source.sop_instance_uid)
    )
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=context.uid("tracking", "lungs"), identifier="AI lungs"),
        referenced_segment=frame,
        finding_type=concept(codes.LUNG),
        algorithm_id=algorithm(context, lungs.bundle),
        measurements=[Measurement(concept(codes.AREA), round(area[0], 6), concept(area[1]))],
    )
    for item in group[0].ContentSequence:  # frame and segment number exclude each other (PS3.3 C.17.6); highdicom writes both
        for referenced in item.get("ReferencedSOPSequence", []):
            if "ReferencedFrameNumber" in referenced and "ReferencedSegmentNumber" in referenced:
                del referenced.ReferencedSegmentNumber
        if item.ValueType == "NUM":  # highdicom refuses coordinates here, a viewer stops without them
            with_children(item, [coordinates(where, box_on(context, where))])
    return [group]


def number(where: Shown, name: Code, value: float, unit: Code, polyline: NDArray[np.float64]) -> Any:
    """Return a NUM that is inferred from a polyline on an image."""
    return Measurement(concept(name), round(float(value), 6), concept(unit), referenced_coordinates=[coordinates(where, polyline)])


def coordinates(where: Shown, polyline: NDArray[np.float64]) -> Any:
    """Return a polyline on an image: (points, 2), (x, y) in its pixels."""
    instance, frame = where
    image = SourceImageForRegion(instance.sop_class_uid, instance.sop_instance_uid, None if frame is None else [frame])
    return CoordinatesForMeasurement(hd.sr.GraphicTypeValues.POLYLINE, polyline, image)


def algorithm(context: ResultContext, bundle: BundleRef) -> AlgorithmIdentification:
    """Name the model to the byte (TID 4019)."""
    policy = context.findings.policy
    parameters = [f"bundle-sha256={bundle.sha256}", f"evidence={bundle.evidence}"]
    if policy is not None and bundle is context.findings.bundles[0]:
        parameters += [plain(f"policy={policy.name}"), f"policy-sha256={policy.sha256}"]
    parameters += [f"{word}=true" for word, holds in (("synthetic", bundle.synthetic), ("twin", bundle.twin)) if holds]
    return AlgorithmIdentification(
        name=bundle.name,
        version=bundle.version,
        parameters=parameters,
        family=concept(codes.ARTIFICIAL_INTELLIGENCE),
        manufacturer=context.settings.manufacturer,
    )


def box_on(context: ResultContext, where: Shown) -> NDArray[np.float64]:
    """Return the closed rectangle around the lungs, or around the image: (5, 2), (x, y) in source pixels."""
    (instance, frame), lungs, volume = where, context.findings.lungs, context.findings.lung_volume
    mask = lungs.values if lungs is not None else None
    if volume is not None:
        mask = volume.of(instance.sop_instance_uid, frame)
    if mask is not None and mask.any():
        ys, xs = np.nonzero(mask)
        return _rectangle(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    saliency = context.saliency
    if saliency is not None:
        return _rectangle(0, 0, saliency.values.shape[1], saliency.values.shape[0])
    return _rectangle(0, 0, int(context.source.get("Columns") or 1), int(context.source.get("Rows") or 1))


def _rectangle(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], dtype=np.float64)


def _map_region(saliency: SaliencyMap) -> NDArray[np.float64] | None:
    """Return the largest region at or above half of the map's maximum as a closed polyline; ``None`` without evidence."""
    highest = float(saliency.values.max(initial=0.0))
    if highest <= 0:
        return None
    mask = (saliency.values >= np.float32(highest / 2)).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = cv2.approxPolyDP(max(contours, key=cv2.contourArea), max(mask.shape) / 400, True)[:, 0, :].astype(np.float64) + 0.5
    if len(largest) < 3:
        ys, xs = np.nonzero(mask)
        return _rectangle(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    return np.vstack([largest, largest[:1]])
