"""Facts that the FHIR report and the HL7 message share: who, which orders, when, under which numbers of our own."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re

from dicom_node.core import codes
from dicom_node.core.abstentions import reason, sentence
from dicom_node.core.codes import Code
from dicom_node.core.findings import BundleRef, Finding, Findings, Zone
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.study import HeaderFacts
from dicom_node.results.context import ResultContext

_MOMENT = re.compile(r"^(\d{4})(\d{2})(\d{2})(\d{2})?(\d{2})?(\d{2})?")


def source_facts(context: ResultContext) -> HeaderFacts:
    """Return the header facts of the instance that the result is about: the one whose patient and study data it carries."""
    return context.primary.facts


def requested_accessions(facts: HeaderFacts) -> tuple[str, ...]:
    """Return the accession number of every requested procedure of the image, in order, each once; ``("",)`` when there is none.

    Grouped procedures carry theirs in Request Attributes Sequence (PS3.3, 10.6); else the study's own counts.
    """
    numbers = [number.reveal() for number in facts.requested_accessions if number.reveal()]
    if not numbers:
        numbers = [facts.accession_number.reveal()]
    return tuple(dict.fromkeys(numbers))


def lasting(context: ResultContext) -> tuple[str, ...]:
    """Return what the identifiers of messages depend on: a later result updates what an earlier one wrote.

    Only within a revision of the study: after a correction the earlier result is withdrawn, and the new one is about another
    patient, order or image. Were they one resource, the withdrawal could arrive last and take back the new one.
    """
    revision = context.study.revision
    return (context.run.study_instance_uid, context.run.pipeline, *([str(revision)] if revision > 1 else []))


def observation_number(context: ResultContext, key: str) -> str:
    """Return our own number of the Observation of a finding, or of ``result``: the same in every run on one revision."""
    return derived_uid("observation", *lasting(context), key)


def own_number(context: ResultContext, accession: str) -> str:
    """Return our own number of the report on one order, 18 characters: the same in every run on one revision of the study."""
    parts = ("filler", *lasting(context), accession)
    return "AI" + base64.b32encode(hashlib.sha256("|".join(parts).encode()).digest())[:16].decode()


def study_moment(facts: HeaderFacts, zone: dt.tzinfo | None) -> dt.datetime | None:
    """Return when the image was taken: acquisition, else content, else study date and time; ``None`` when no date can be read."""
    for text in (facts.acquisition_datetime, facts.content_datetime, facts.study_date + facts.study_time.partition(".")[0]):
        moment = _moment(text, zone)
        if moment is not None:
            return moment
    return None


def _moment(text: str, zone: dt.tzinfo | None) -> dt.datetime | None:
    match = _MOMENT.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(group or 0) for group in match.groups())
    try:
        return dt.datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)  # 60 is a leap second
    except ValueError:
        return None


def decision_code(findings: Findings) -> Code | None:
    """Return the decision on the whole result as a code; ``None`` when there is none."""
    table = {"positive": codes.DECISION_POSITIVE, "negative": codes.DECISION_NEGATIVE, "review": codes.DECISION_REFER}
    return table.get(findings.decision)


def refusal_code(findings: Findings) -> Code | None:
    """Return the coded reason for not analysing; ``None`` when the study was analysed."""
    return reason(findings.abstention.reason).code if findings.abstention else None


def refusal_text(findings: Findings) -> str:
    """Return the refusal as one sentence, with its detail; ``""`` when the study was analysed."""
    if findings.abstention is None:
        return ""
    return f"Not analysed, because: {sentence(findings.abstention.reason, findings.abstention.detail)}"


def deciding_bundle(findings: Findings) -> BundleRef | None:
    """Return the bundle that decided, if any ran."""
    return findings.bundles[0] if findings.bundles else None


def certain(findings: Findings, finding: Finding) -> bool:
    """Say whether one finding's side of its threshold may be told as such: never for a "below" inside the gray zone."""
    return finding.decision == "positive" or findings.zone is not Zone.GRAY


def rounded(value: float) -> float:
    """Return a probability or threshold as it is written everywhere: four decimals."""
    return round(float(value), 4)
