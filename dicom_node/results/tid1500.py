"""The measurement report, TID 1500 (PS3.16): one measurement group a class, and the result as a whole in qualitative evaluations.

Three flavours carry the same content. Some viewers take any report titled (126000, DCM) for drawings and stop when a measurement
has no coordinates, so every NUM is inferred from a polyline on the image; ``ohif_text`` bears another title; ``ohif_roi`` names its
tracking identifiers so that the viewer draws the region of the map. A refusal has no measurement and so never bears that title.
"""

from __future__ import annotations

from typing import Any

import cv2
import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ContainerContentItem,
    ContentSequence,
    CoordinatesForMeasurement,
    FindingSite,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    SourceImageForSegmentation,
    TrackingIdentifier,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.core import codes
from dicom_node.core.abstentions import reason
from dicom_node.core.codes import Code
from dicom_node.core.findings import BundleRef, Decision, Finding, SaliencyMap, Zone
from dicom_node.results import report_text
from dicom_node.results.context import ResultContext
from dicom_node.results.header import pixel_spacing
from dicom_node.results.report_text import plain
from dicom_node.results.sr_document import (
    ENGLISH,
    built_object,
    code,
    concept,
    container,
    named_instances,
    observer,
    refer,
    text,
    with_children,
)

#: What OHIF looks for before it draws a polyline of ours as a region.
OHIF_REGION = "Cornerstone3DTools@^0.1.0:PlanarFreehandROI"

_IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
_IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
_LIBRARY_ENTRY = Code("121112", "DCM", "Source of Measurement")
_DECISIONS = {Decision.POSITIVE: codes.DECISION_POSITIVE, Decision.NEGATIVE: codes.DECISION_NEGATIVE}
_ZONES = {Zone.SUSPECTED: codes.DECISION_POSITIVE, Zone.GRAY: codes.DECISION_REFER, Zone.NOT_SUSPECTED: codes.DECISION_NEGATIVE}
_NORMALITY = {Zone.SUSPECTED: codes.ABNORMAL, Zone.GRAY: codes.UNDETERMINED, Zone.NOT_SUSPECTED: codes.NORMAL}


def measurement_report(context: ResultContext, variant: str) -> tuple[Any, list[Dataset]]:
    """Return the root container of the report, and the objects of this run that it refers to."""
    kinds = ("secondary_capture", "lung_segmentation", "saliency_segmentation")
    made = [d for d in (built_object(context, kind) for kind in kinds) if d is not None]
    groups = [] if context.findings.abstention else _groups(context, variant)
    title = codes.MEASUREMENT_REPORT if groups and variant != "ohif_text" else codes.DIAGNOSTIC_IMAGING_REPORT
    root = _root(context, title, groups)
    library = _image_library(context)
    if library is not None:  # TID 1500 has it before the measurements
        at = len(root.ContentSequence) - (1 if groups else 0)
        root.ContentSequence.insert(at, library)
    root.ContentSequence.append(container(codes.QUALITATIVE_EVALUATIONS, _evaluations(context)))
    return root, made if groups else []


def _root(context: ResultContext, title: Code, groups: list[Any]) -> Any:
    observed = ObservationContext(observer_device_context=observer(context))
    language = LanguageOfContentItemAndDescendants(concept(ENGLISH))
    if groups:
        report = MeasurementReport(
            observation_context=observed,
            procedure_reported=concept(codes.CHEST_RADIOGRAPHY),
            title=concept(title),
            imaging_measurements=groups,
            language_of_content_item_and_descendants=language,
        )
        return report[0]
    root = ContainerContentItem(name=concept(title), template_id="1500")  # highdicom wants measurements; the template does not
    root.ContentSequence = ContentSequence([*language, *observed])
    root.ContentSequence.append(code(Code("121058", "DCM", "Procedure reported"), codes.CHEST_RADIOGRAPHY, "HAS CONCEPT MOD"))
    return root


def _image_library(context: ResultContext) -> Any:
    """List the images that are named (TID 1600)."""
    images = [i for i in named_instances(context) if i.sop_instance_uid in context.findings.read]
    if not images:
        return None
    entries = [refer(_LIBRARY_ENTRY, i.sop_class_uid, i.sop_instance_uid) for i in images]
    return container(_IMAGE_LIBRARY, [container(_IMAGE_LIBRARY_GROUP, entries)])


# --- measurement groups ------------------------------------------------------------------------------------------------


def _groups(context: ResultContext, variant: str) -> list[Any]:
    box = _lung_box(context)
    groups: list[Any] = [
        _finding_group(context, finding, box, variant)
        for finding in context.findings.findings
        if finding.decision is not Decision.NOT_ASSESSED and finding.probability is not None
    ]
    lungs = _lung_group(context, box)
    return [*groups, lungs] if lungs is not None else groups


def _finding_group(context: ResultContext, finding: Finding, box: NDArray[np.float64], variant: str) -> Any:
    saliency = context.saliency
    mapped = saliency if saliency is not None and saliency.finding_key == finding.key else None
    tracking, polyline = plain(f"AI {finding.key}"), box
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
        algorithm_id=_algorithm(context, context.findings.bundles[0]),
        measurements=[_number(context, name, value, codes.UNITY, polyline) for name, value in numbers if value is not None],
        qualitative_evaluations=[QualitativeEvaluation(concept(codes.DECISION), concept(_DECISIONS[finding.decision]))],
        source_images=[SourceImageForMeasurementGroup(context.primary.sop_class_uid, context.primary.sop_instance_uid)],
    )
    if finding.note:
        group[0].ContentSequence.append(text(codes.COMMENT, plain(finding.note)))
    return group


def _lung_group(context: ResultContext, box: NDArray[np.float64]) -> Any:
    """Return the lungs as a region in the Segmentation (TID 1410), when that was built."""
    made, lungs = built_object(context, "lung_segmentation"), context.findings.lungs
    if made is None or lungs is None:
        return None
    source = context.primary
    pixels, spacing = float((lungs.values > 0).sum()), pixel_spacing(context)
    area = (pixels, codes.PIXELS) if spacing is None else (pixels * spacing[0] * spacing[1], codes.SQUARE_MILLIMETER)
    frame = ReferencedSegmentationFrame(
        made.SOPClassUID, made.SOPInstanceUID, 1, 1, SourceImageForSegmentation(source.sop_class_uid, source.sop_instance_uid)
    )
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=context.uid("tracking", "lungs"), identifier="AI lungs"),
        referenced_segment=frame,
        finding_type=concept(codes.LUNG),
        algorithm_id=_algorithm(context, lungs.bundle),
        measurements=[Measurement(concept(codes.AREA), round(area[0], 6), concept(area[1]))],
    )
    for item in group[0].ContentSequence:  # frame and segment number exclude each other (PS3.3 C.17.6); highdicom writes both
        for referenced in item.get("ReferencedSOPSequence", []):
            if "ReferencedFrameNumber" in referenced and "ReferencedSegmentNumber" in referenced:
                del referenced.ReferencedSegmentNumber
        if item.ValueType == "NUM":  # highdicom refuses coordinates here, a viewer stops without them
            with_children(item, [_coordinates(context, box)])
    return group


def _number(context: ResultContext, name: Code, value: float, unit: Code, polyline: NDArray[np.float64]) -> Any:
    coordinates = [_coordinates(context, polyline)]
    return Measurement(concept(name), round(float(value), 6), concept(unit), referenced_coordinates=coordinates)


def _coordinates(context: ResultContext, polyline: NDArray[np.float64]) -> Any:
    source = SourceImageForRegion(context.primary.sop_class_uid, context.primary.sop_instance_uid)
    return CoordinatesForMeasurement(hd.sr.GraphicTypeValues.POLYLINE, polyline, source)


def _algorithm(context: ResultContext, bundle: BundleRef) -> AlgorithmIdentification:
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


def _lung_box(context: ResultContext) -> NDArray[np.float64]:
    """Return the closed rectangle around the lungs, or around the image: (5, 2), (x, y) in source pixels."""
    lungs = context.findings.lungs
    if lungs is not None and lungs.values.any():
        ys, xs = np.nonzero(lungs.values)
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


# --- the result as a whole ---------------------------------------------------------------------------------------------


def _evaluations(context: ResultContext) -> list[Any]:
    findings = context.findings
    items = _refusal(context) if findings.abstention else _conclusion(context)
    for finding in findings.findings:
        if not findings.abstention and (finding.decision is Decision.NOT_ASSESSED or finding.probability is None):
            note = [text(codes.COMMENT, plain(finding.note), "HAS PROPERTIES")] if finding.note else []
            items.append(with_children(code(finding.code, codes.DECISION_NOT_ASSESSED), note))
    items += [text(codes.QUALITY_FLAG, plain(f"{flag.key}: {flag.text}")) for flag in findings.flags]
    items += _explanation(context)
    items += _not_read(context)
    items += [text(codes.MODEL_EVIDENCE, plain(f"{b.label}: {b.evidence}")) for b in findings.bundles]
    if (line := report_text.revision_line(context)) != "":
        items.append(text(codes.COMMENT, line))
    if (line := report_text.link_line(context)) != "":
        items.append(text(codes.COMMENT, line))
    return [*items, *(text(codes.COMMENT, line) for line in (*context.disclaimer, report_text.NOT_REVIEWED))]


def _conclusion(context: ResultContext) -> list[Any]:
    findings = context.findings
    items = [text(codes.COMMENT, report_text.headline(context))]
    if findings.zone is not None:
        items += [code(codes.NORMALITY, _NORMALITY[findings.zone]), code(codes.DECISION, _ZONES[findings.zone])]
    if findings.policy is not None:
        items.append(text(codes.POLICY, plain(f"{findings.policy.name} sha256 {findings.policy.sha256}")))
        items.append(text(codes.GUARANTEE, plain(findings.policy.guarantee) or "no valid guarantee"))
    return items


def _refusal(context: ResultContext) -> list[Any]:
    abstention = context.findings.abstention
    assert abstention is not None, "called for a refusal"
    why = with_children(
        code(codes.REFUSAL_REASON, reason(abstention.reason).code),
        [text(codes.COMMENT, report_text.refusal_sentence(context), "HAS PROPERTIES")],
    )
    about = refer(_LIBRARY_ENTRY, context.primary.sop_class_uid, context.primary.sop_instance_uid, "INFERRED FROM")
    why.ContentSequence.append(about)
    return [code(codes.CAD_SUMMARY, codes.ANALYSIS_NOT_PERFORMED), why, text(codes.COMMENT, report_text.headline(context))]


def _explanation(context: ResultContext) -> list[Any]:
    """Refer to the map (130401, DCM): the Segmentation of its levels, else the picture, with the method's name."""
    saliency = context.saliency
    if saliency is None or context.findings.abstention:
        return []
    words = report_text.attention_place(saliency, context.orientation) or report_text.NO_EVIDENCE
    items = [text(codes.COMMENT, f"{saliency.method_name}: {words} {report_text.MAP_CAVEAT}")]
    shown = built_object(context, "saliency_segmentation") or built_object(context, "secondary_capture")
    if shown is not None:
        item = refer(codes.VISUAL_EXPLANATION, str(shown.SOPClassUID), str(shown.SOPInstanceUID))
        items.append(with_children(item, [code(codes.MEASUREMENT_METHOD, saliency.method, "HAS CONCEPT MOD")]))
    return items


def _not_read(context: ResultContext) -> list[Any]:
    held = {i.sop_instance_uid: i for i in context.study.instances}
    items = []
    for left in context.findings.not_read:
        why = reason(left.reason)
        children = [text(codes.COMMENT, plain(f"{why.text} {left.detail}"), "HAS PROPERTIES")]
        if left.sop_instance_uid in held:
            instance = held[left.sop_instance_uid]
            children.append(refer(_LIBRARY_ENTRY, instance.sop_class_uid, instance.sop_instance_uid, "INFERRED FROM"))
        items.append(with_children(code(codes.IMAGE_NOT_READ, why.code), children))
    return items
