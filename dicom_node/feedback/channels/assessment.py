"""Assessments: a report with a code of the table about a result of ours, or a Content Assessment Results object.

The code counts for the finding in whose measurement group it stands, else for the whole result. Assessments that this node writes
are objects of its own and are never read here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from dicom_node.core import codes
from dicom_node.core.feedback import Channel, Claim, Statement, Targets, Verdict, tells_of_answer
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.feedback.reports.assessment_codes import LABELS
from dicom_node.feedback.reports.content_items import Item, person_observer, referenced, tree
from dicom_node.feedback.reports.reading import Document, Nothing, Unclear, Unmatched, reader
from dicom_node.imaging.element_values import decoded_person_name, first_text, sequence_items

CONTENT_ASSESSMENT = "1.2.840.10008.5.1.4.1.1.90.1"
_DOCUMENTS = "1.2.840.10008.5.1.4.1.1.88."
#: Assessment Summary (0082,0001), enumerated values (PS3.3, C.33.1); INCONCLUSIVE is no answer.
_SUMMARY = {"PASSED": Verdict.ACCEPTED, "FAILED": Verdict.REJECTED}
_OF_OTHERS = "A report assesses something that this node has not made."


@dataclass(frozen=True)
class _Assessed:
    """One code of the table, the container it stands in, and the Tracking UID of that."""

    verdict: Verdict
    container: Item
    item: Item
    tracking_uid: str


def is_assessment(document: Document) -> bool:
    """Say whether a report has a code of the table."""
    return any(_assessed(tree(document.dataset), document))


def read(document: Document) -> Claim | Nothing | Unclear | Unmatched:
    """Return what a report with a code of the table says."""
    if document.text("ManufacturerModelName") == PRODUCT_NAME:
        return Nothing("An assessment of this product came back: it tells of an answer, it is none.")
    if document.partial:
        return Nothing("An assessment is not finished.")
    root = tree(document.dataset)
    found = list(_assessed(root, document))
    evidence = referenced(document.dataset, root)
    made = document.known.ours((*(one.uid for one in evidence), *_outside(document)))
    ours = {uid: one for uid, one in made.items() if not tells_of_answer(one.role)}
    runs = {one.run_key for one in ours.values()}
    if not runs:
        runs = set(document.known.runs_of_tracking_uids({one.tracking_uid for one in found} - {""}, document.study_key))
    if not runs:
        return Nothing("A report assesses our report of an answer.") if made else Unmatched(_OF_OTHERS)
    if len(runs) > 1:
        return Unclear("A report assesses several results at once.")
    run_key = runs.pop()
    findings = document.known.findings(run_key)
    about = [one for one in found if _is_about_us(one, ours, findings)]
    if not about:
        return Nothing("A report assesses findings of others.")
    others = {one.uid for one in evidence if one.sop_class_uid.startswith(_DOCUMENTS)} - made.keys()
    if others and any(not one.tracking_uid and not _reports_beside(one) for one in about):
        return Unclear("A report names documents of ours and of others, and does not say which one it assesses.", run_key)
    statements = _statements(about, findings)
    if statements is None:
        return Unclear("A report says two different things about one finding.", run_key)
    verifier, verified_at = document.verifying_observer()
    vouched = document.verified and bool(verifier)
    return Claim(
        channel=Channel.ASSESSMENT,
        source=document.uid,
        at=document.moment(verified_at if vouched else "", document.text("ContentDate") + document.text("ContentTime")),
        targets=Targets(
            sop_instance_uids=tuple(ours),
            tracking_uids=() if ours else tuple(one.tracking_uid for one in about),
            study_key=document.study_key,
        ),
        reader=reader(verifier if vouched else _author(document, root), authenticated=vouched),
        statements=statements,
        comment=_comment(about),
        digest=document.digest,
    )


def read_content_assessment(document: Document) -> Claim | Nothing | Unclear | Unmatched:
    """Return what a Content Assessment Results object says; without a person it is a machine's check of the object's form."""
    verdict = _SUMMARY.get(document.text("AssessmentSummary").upper())
    person = next(
        (name for key in ("ContentCreatorName", "OperatorsName") if (name := decoded_person_name(document.dataset, key))), ""
    )
    if verdict is None or not person:
        return Nothing("A content assessment that no person has decided.")
    named = tuple(
        uid
        for item in sequence_items(document.dataset, "AssessedSOPInstanceSequence")
        if (uid := first_text(item, "ReferencedSOPInstanceUID"))
    )
    ours = document.known.ours(named)
    if not ours:
        return Nothing("A content assessment of others' objects.") if document.known.received(named) else Unmatched(_OF_OTHERS)
    if all(tells_of_answer(one.role) for one in ours.values()):
        return Nothing("A content assessment of our report of an answer.")
    if set(named) - ours.keys() or len({made.run_key for made in ours.values()}) > 1:
        return Unclear("A content assessment of more than one result.")
    return Claim(
        channel=Channel.ASSESSMENT,
        source=document.uid,
        at=document.moment(
            document.text("InstanceCreationDate") + document.text("InstanceCreationTime"),
            document.text("ContentDate") + document.text("ContentTime"),
        ),
        targets=Targets(sop_instance_uids=tuple(ours), study_key=document.study_key),
        reader=reader(person),
        statements=(Statement(verdict),),
        comment=document.text("AssessmentSummaryDescription"),
        digest=document.digest,
    )


def _assessed(root: Item, document: Document) -> Iterator[_Assessed]:
    table = document.codes or {}

    def below(container: Item, tracking_uid: str) -> Iterator[_Assessed]:
        tracking_uid = container.tracking_uid or tracking_uid
        for item in container.children:
            if item.relation == "HAS OBS CONTEXT":
                continue
            if item.code in table:
                yield _Assessed(table[item.code], container, item, tracking_uid)
            yield from below(item, tracking_uid)

    return below(root, "")


def _outside(document: Document) -> Iterator[str]:
    """Yield what is referred to beside content and evidence: predecessors, and a reference of the document itself."""
    for study in sequence_items(document.dataset, "PredecessorDocumentsSequence"):
        for series in sequence_items(study, "ReferencedSeriesSequence"):
            yield from (first_text(item, "ReferencedSOPInstanceUID") for item in sequence_items(series, "ReferencedSOPSequence"))
    for item in sequence_items(document.dataset, "ReferencedSOPSequence"):
        yield first_text(item, "ReferencedSOPInstanceUID")


def _is_about_us(one: _Assessed, ours: Collection[str], findings: Collection[str]) -> bool:
    """Leave out codes in a group of others' findings, and those beside a reference to others' reports alone."""
    if one.tracking_uid:
        return one.tracking_uid in findings
    beside = _reports_beside(one)
    return not beside or not beside.isdisjoint(ours)


def _reports_beside(one: _Assessed) -> set[str]:
    """Return what is referred to in the code's container or below the code, images left out."""
    items = (*one.container.children, *one.item.children)
    return {named.uid for item in items if item.value_type == "COMPOSITE" for named in item.references}


def _statements(about: list[_Assessed], findings: Mapping[str, str]) -> tuple[Statement, ...] | None:
    """Return one statement a finding; ``None`` where two codes differ."""
    said: dict[str, Statement] = {}
    for one in about:
        finding = findings.get(one.tracking_uid, "") if one.tracking_uid else ""
        label = _label(one) if one.verdict is Verdict.AMENDED else ""
        statement = Statement(one.verdict, finding, label_after=label)
        if said.setdefault(finding, statement).verdict is not one.verdict:
            return None
    return tuple(said.values())


def _label(one: _Assessed) -> str:
    """Return what is right instead, where the assessment says it: below its code, or beside it as the reader's own label."""
    beside = (item for item in one.container.children if item.name == codes.ANSWER_LABEL[:2])
    labels = {LABELS[item.code] for item in (*one.item.children, *beside) if item.code in LABELS}
    return labels.pop() if len(labels) == 1 else ""


def _comment(about: list[_Assessed]) -> str:
    words = {
        item.text: None
        for one in about
        for item in (*one.item.children, *one.container.children)
        if item.value_type == "TEXT" and not item.relation.startswith(("HAS OBS", "HAS CONCEPT")) and item.text
    }
    return "\n".join(words)


def _author(document: Document, root: Item) -> str:
    authors = (decoded_person_name(item, "PersonName") for item in sequence_items(document.dataset, "AuthorObserverSequence"))
    return person_observer(root) or next((name for name in authors if name), "")
