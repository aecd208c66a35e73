"""The result for people: Basic Text SR with a tree after TID 2000, which every viewer that shows reports can show."""

from __future__ import annotations

from typing import Any

from highdicom.sr import ContainerContentItem, ContentSequence, EnhancedSR
from pydicom.uid import BasicTextSRStorage

from dicom_node.core import codes
from dicom_node.core.abstentions import reason
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.codes import Code
from dicom_node.core.findings import Findings
from dicom_node.results import report_text
from dicom_node.results.context import ResultContext
from dicom_node.results.part10 import as_artifact
from dicom_node.results.sr_document import (
    COUNTRY,
    ENGLISH,
    built_objects,
    code,
    concept,
    container,
    document,
    observer,
    refer,
    text,
    with_children,
)

MEDIA_TYPE = DICOM
SOP_CLASS_UIDS: tuple[str, ...] = (str(BasicTextSRStorage),)
VARIANTS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ("secondary_capture",)

_LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
_COUNTRY = Code("121046", "DCM", "Country of Language")
_BEST_ILLUSTRATION = Code("121080", "DCM", "Best illustration of finding")
#: Section of the text -> heading and item (CID 7001, CID 7002).
_HEADINGS = {
    "conclusion": (Code("121076", "DCM", "Conclusions"), Code("121077", "DCM", "Conclusion")),
    "result": (Code("121070", "DCM", "Findings"), Code("121071", "DCM", "Finding")),
    "images": (Code("121064", "DCM", "Current Procedure Descriptions"), Code("121065", "DCM", "Procedure Description")),
    "method": (Code("121064", "DCM", "Current Procedure Descriptions"), Code("121065", "DCM", "Procedure Description")),
    "notice": (Code("121076", "DCM", "Conclusions"), Code("121077", "DCM", "Conclusion")),
}


def wanted(findings: Findings) -> bool:
    """Every run has one: a refusal is a result too."""
    return True


def build(context: ResultContext, variant: str) -> Artifact:
    """Write the plain-language report, section by section, one sentence or two an item."""
    role = "text_report"
    made = built_objects(context, "secondary_capture")
    what = "AI not analysed (RUO)" if context.findings.abstention else "AI text report (RUO)"
    # every item used here is allowed in Basic Text SR (PS3.3 A.35.1) as well as in Enhanced SR
    report = document(EnhancedSR, context, role, what, _tree(context, made), made, sop_class_uid=str(BasicTextSRStorage))
    return as_artifact(context, role, report)


def _tree(context: ResultContext, made: list[Any]) -> Any:
    root = ContainerContentItem(name=concept(codes.DIAGNOSTIC_IMAGING_REPORT), template_id="2000")
    root.ContentSequence = ContentSequence()
    country = code(_COUNTRY, COUNTRY, "HAS CONCEPT MOD")
    root.ContentSequence.append(with_children(code(_LANGUAGE, ENGLISH, "HAS CONCEPT MOD"), [country]))
    for item in observer(context):
        root.ContentSequence.append(item)
    sections: dict[Code, list[Any]] = {}
    for section in report_text.sections(context):
        heading, name = _HEADINGS[section.key]
        items = sections.setdefault(heading, [])
        items += [text(name, line) for line in section.lines]
        if section.key == "conclusion":
            items += _coded(context)
        if section.key == "result":
            items += [refer(_BEST_ILLUSTRATION, str(m.SOPClassUID), str(m.SOPInstanceUID)) for m in made]
    for heading, items in sections.items():
        root.ContentSequence.append(container(heading, items))
    return root


def _coded(context: ResultContext) -> list[Any]:
    """Code a refusal, so that software need not read the sentence."""
    abstention = context.findings.abstention
    if abstention is None:
        return []
    return [code(codes.CAD_SUMMARY, codes.ANALYSIS_NOT_PERFORMED), code(codes.REFUSAL_REASON, reason(abstention.reason).code)]
