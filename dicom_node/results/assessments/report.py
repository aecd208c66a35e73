"""The assessment report: what people answered to a result, as one SR beside it in the archive, so that the record shows it.

A Basic Text SR: every code, date and reference that it needs is allowed there (PS3.3 A.35.1), and it is the class of the text
report that a PACS has taken by then. Its layout is our own, its codes are ours (99PACSAI): no profile is claimed. It is unverified
and preliminary whoever answered, says that it is not the radiologist's report, and names a person only where the site wants that.

Made from the bytes that were sent and from the log, so it needs no image, and the same row of the log gives the same bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import highdicom as hd
import pydicom
from highdicom.sr import ContainerContentItem, ContentSequence, DateTimeContentItem, EnhancedSR, ObserverContext, UIDRefContentItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.uid import BasicTextSRStorage

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.codes import Code
from dicom_node.core.feedback import ASSESSMENT
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.product import DISCLAIMER, PRODUCT_NAME
from dicom_node.results import sent_objects
from dicom_node.results.assessments.answered import DECISIONS, LABELS, NOT_THE_REPORT, REASONS, Answer, Answered
from dicom_node.results.header import bare
from dicom_node.results.report_text import plain
from dicom_node.results.source import UNICODE, set_character_set
from dicom_node.results.sr_document import COUNTRY, ENGLISH, code, concept, container, refer, text, unaddressed, with_children
from dicom_node.version import VERSION

SOP_CLASS_UID = str(BasicTextSRStorage)

#: Series number after the base: behind the rejection notes.
_SERIES_OFFSET = 10
_LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")
_COUNTRY = Code("121046", "DCM", "Country of Language")
_FINDING = Code("121071", "DCM", "Finding")
_CONCLUSION = Code("121077", "DCM", "Conclusion")
_TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")


def build(answered: Answered) -> Artifact:
    """Build the report; its UIDs depend on the run and the row number alone."""
    role = f"{ASSESSMENT}:{answered.number}"
    sent = sent_objects.read(answered.of(DICOM))
    before = sent_objects.read([answered.before]) if answered.before else []
    with pydicom.config.disable_value_validation():  # identity goes back as it came, even where it breaks its VR
        report = unaddressed(
            EnhancedSR,
            _evidence(sent),
            _tree(answered, sent),
            (derived_uid(answered.run_key, "series", ASSESSMENT), derived_uid(answered.run_key, "instance", role)),
            answered.settings.manufacturer,
            [_identity(ds) for ds in before],
            SOP_CLASS_UID,
        )
        sent_objects.address(report, sent)
        if not all(f"{answer.comment}{answer.reader_name}".isascii() for answer in answered.answers):
            set_character_set(report, UNICODE)
        del report.ContributingEquipmentSequence  # highdicom's own, with the time of day
        report.SeriesNumber = answered.settings.series_number_base + _SERIES_OFFSET
        report.InstanceNumber = answered.number
        report.SeriesDescription = "AI result assessment (RUO)"
        report.SoftwareVersions = f"{PRODUCT_NAME} {VERSION}"
        sent_objects.date(report, answered.at)
        data = sent_objects.encoded(report)
    return Artifact(answered.run_key, role, DICOM, str(report.SOPInstanceUID), data, SOP_CLASS_UID)


def _identity(ds: Dataset) -> Dataset:
    return bare(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID), str(ds.StudyInstanceUID))


def _evidence(sent: list[Dataset]) -> list[Dataset]:
    """Return what was assessed, and the source images that its reports name as theirs."""
    found = {str(ds.SOPInstanceUID): _identity(ds) for ds in sent}
    for report in sent:
        for study in report.get("CurrentRequestedProcedureEvidenceSequence", []):
            for series in study.ReferencedSeriesSequence:
                for item in series.ReferencedSOPSequence:
                    named = (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
                    found.setdefault(named[1], bare(*named, str(series.SeriesInstanceUID), str(study.StudyInstanceUID)))
    return list(found.values())


def _tree(answered: Answered, sent: list[Dataset]) -> Any:
    root = ContainerContentItem(name=concept(codes.AI_ASSESSMENT))
    root.ContentSequence = ContentSequence()
    country = code(_COUNTRY, COUNTRY, "HAS CONCEPT MOD")
    root.ContentSequence.append(with_children(code(_LANGUAGE, ENGLISH, "HAS CONCEPT MOD"), [country]))
    for item in _node(answered):
        root.ContentSequence.append(item)
    for line in (DISCLAIMER, NOT_THE_REPORT):
        root.ContentSequence.append(text(_CONCLUSION, line))
    for ds in sent:
        root.ContentSequence.append(refer(codes.ASSESSED_RESULT, str(ds.SOPClassUID), str(ds.SOPInstanceUID)))
    for answer in answered.answers:
        root.ContentSequence.append(container(codes.ASSESSMENT, list(_items(answered, answer, sent_objects.zone(sent[0])))))
    return root


def _node(answered: Answered) -> ObserverContext:
    """Return the node as the device that wrote the report down."""
    return ObserverContext(
        observer_type=dicom_codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("node", VERSION, answered.settings.device_serial_number),
            name=PRODUCT_NAME,
            manufacturer_name=answered.settings.manufacturer,
            model_name=PRODUCT_NAME,
            serial_number=answered.settings.device_serial_number,
        ),
    )


def _items(answered: Answered, answer: Answer, zone: dt.tzinfo) -> Iterator[Any]:
    if answer.reader_name:
        yield from ObserverContext(
            observer_type=dicom_codes.DCM.Person,
            observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name=answer.reader_name),
        )
    yield text(_CONCLUSION, plain(answer.sentence))
    yield code(_FINDING, answer.code)
    if answer.finding:
        uid = derived_uid(answered.run_key, "tracking", answer.finding)
        yield UIDRefContentItem(name=concept(_TRACKING_UID), value=uid, relationship_type="CONTAINS")
    yield code(codes.ASSESSMENT, answer.verdict_code)
    if answer.verdict is None:
        return
    yield code(codes.ANSWERED_BY, answer.by)
    if answer.label_before in DECISIONS:
        yield code(codes.DECISION, DECISIONS[answer.label_before])
    if answer.label_after in LABELS:
        yield code(codes.ANSWER_LABEL, LABELS[answer.label_after])
    elif answer.label_after:
        yield text(codes.ANSWER_LABEL, plain(answer.label_after.replace("^", " of ")))
    if answer.reason in REASONS:
        yield code(codes.ANSWER_REASON, REASONS[answer.reason])
    if answer.differs:
        yield text(codes.READERS_DIFFER, "Another authenticated radiologist answered otherwise; nobody has settled it.")
    if answer.comment:
        yield text(codes.COMMENT, answer.comment)
    if answer.at is not None:
        moment = answer.at.astimezone(zone).replace(tzinfo=None)  # the report states its zone (0008,0201)
        yield DateTimeContentItem(name=concept(codes.ANSWER_TIME), value=moment, relationship_type="CONTAINS")
    yield text(codes.ANSWER_NUMBER, str(answer.number))
