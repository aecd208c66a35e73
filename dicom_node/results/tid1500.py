"""The measurement report, TID 1500 (PS3.16): one measurement group a class, and the result as a whole in qualitative evaluations.

Three flavours carry the same content. Some viewers take any report titled (126000, DCM) for drawings and stop when a measurement
has no coordinates, so every NUM is inferred from a polyline on the image; ``ohif_text`` bears another title; ``ohif_roi`` names its
tracking identifiers so that the viewer draws the region of the map. A refusal has no measurement and so never bears that title.
"""

from __future__ import annotations

from typing import Any

from highdicom.sr import (
    ContainerContentItem,
    ContentSequence,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    ObservationContext,
)
from pydicom.dataset import Dataset

from dicom_node.core import codes
from dicom_node.core.abstentions import reason
from dicom_node.core.codes import Code
from dicom_node.core.findings import Decision, NotRead, Zone
from dicom_node.core.study import Instance
from dicom_node.results import report_text
from dicom_node.results.context import ResultContext
from dicom_node.results.report_text import plain
from dicom_node.results.sr_document import (
    ENGLISH,
    built_object,
    built_objects,
    code,
    concept,
    container,
    left_out,
    named_instances,
    observer,
    refer,
    text,
    with_children,
)
from dicom_node.results.tid1500_groups import finding_groups, lung_group
from dicom_node.results.tid1500_slices import lung_volume_groups, slice_groups

_IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
_IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
_LIBRARY_ENTRY = Code("121112", "DCM", "Source of Measurement")
_ZONES = {Zone.SUSPECTED: codes.DECISION_POSITIVE, Zone.GRAY: codes.DECISION_REFER, Zone.NOT_SUSPECTED: codes.DECISION_NEGATIVE}
_NORMALITY = {Zone.SUSPECTED: codes.ABNORMAL, Zone.GRAY: codes.UNDETERMINED, Zone.NOT_SUSPECTED: codes.NORMAL}


def measurement_report(context: ResultContext, variant: str) -> tuple[Any, list[Dataset]]:
    """Return the root container of the report, and the objects of this run that it refers to."""
    kinds = ("secondary_capture", "lung_segmentation", "saliency_segmentation")
    made = [d for kind in kinds for d in built_objects(context, kind)]
    groups = [] if context.findings.abstention else _groups(context, variant)
    title = codes.MEASUREMENT_REPORT if groups and variant != "ohif_text" else codes.DIAGNOSTIC_IMAGING_REPORT
    root = _root(context, title, groups)
    library = _image_library(context)
    if library is not None:  # TID 1500 has it before the measurements
        at = len(root.ContentSequence) - (1 if groups else 0)
        root.ContentSequence.insert(at, library)
    root.ContentSequence.append(container(codes.QUALITATIVE_EVALUATIONS, _evaluations(context)))
    return root, made if groups else []


def _groups(context: ResultContext, variant: str) -> list[Any]:
    findings = finding_groups(context, variant)
    if not context.volumetric:
        return [*findings, *lung_group(context)]
    return [*findings, *slice_groups(context), *lung_volume_groups(context)]


def _root(context: ResultContext, title: Code, groups: list[Any]) -> Any:
    observed = ObservationContext(observer_device_context=observer(context))
    language = LanguageOfContentItemAndDescendants(concept(ENGLISH))
    if groups:
        report = MeasurementReport(
            observation_context=observed,
            procedure_reported=concept(context.procedure),
            title=concept(title),
            imaging_measurements=groups,
            language_of_content_item_and_descendants=language,
        )
        return report[0]
    root = ContainerContentItem(name=concept(title), template_id="1500")  # highdicom wants measurements; the template does not
    root.ContentSequence = ContentSequence([*language, *observed])
    root.ContentSequence.append(code(Code("121058", "DCM", "Procedure reported"), context.procedure, "HAS CONCEPT MOD"))
    return root


def _image_library(context: ResultContext) -> Any:
    """List the images that are named (TID 1600)."""
    images = [i for i in named_instances(context) if i.sop_instance_uid in context.findings.read]
    if not images:
        return None
    entries = [refer(_LIBRARY_ENTRY, i.sop_class_uid, i.sop_instance_uid) for i in images]
    return container(_IMAGE_LIBRARY, [container(_IMAGE_LIBRARY_GROUP, entries)])


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
    """Refer to the maps (130401, DCM): the Segmentation of their levels, else the pictures, with the method's name."""
    saliency = context.saliency
    if saliency is None or context.findings.abstention:
        return []
    words = report_text.map_words(context, saliency)
    items = [text(codes.COMMENT, f"{saliency.method_name}: {words} {report_text.MAP_CAVEAT}")]
    levels = built_object(context, "saliency_segmentation")
    for shown in [levels] if levels is not None else built_objects(context, "secondary_capture"):
        item = refer(codes.VISUAL_EXPLANATION, str(shown.SOPClassUID), str(shown.SOPInstanceUID))
        items.append(with_children(item, [code(codes.MEASUREMENT_METHOD, saliency.method, "HAS CONCEPT MOD")]))
    return items


def _not_read(context: ResultContext) -> list[Any]:
    """Say of each image that was left why; of a CT study, of each series, with its first image."""
    return [_left(one, instance, count) for one, instance, count in left_out(context)]


def _left(one: NotRead, instance: Instance | None, count: int) -> Any:
    why = reason(one.reason)
    number = f" ({count} images)" if count > 1 else ""
    children = [text(codes.COMMENT, plain(f"{why.text} {one.detail}{number}"), "HAS PROPERTIES")]
    if instance is not None:
        children.append(refer(_LIBRARY_ENTRY, instance.sop_class_uid, instance.sop_instance_uid, "INFERRED FROM"))
    return with_children(code(codes.IMAGE_NOT_READ, why.code), children)
