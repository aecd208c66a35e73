"""Observations, the DiagnosticReport and its Provenance as FHIR R4."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence

from dicom_node.core import codes
from dicom_node.core.fhir_names import OBSERVATION_SYSTEM, REPORT_SYSTEM, RUN_SYSTEM
from dicom_node.core.findings import Decision, Finding, Measurement, SliceScore
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.results import slices
from dicom_node.results.context import ResultContext
from dicom_node.results.fhir_elements import AI_ASSERTED, Json, concept, moment, term
from dicom_node.results.message_facts import (
    certain,
    deciding_bundle,
    decision_code,
    observation_number,
    own_number,
    refusal_code,
    refusal_text,
    rounded,
    study_moment,
)
from dicom_node.results.message_facts import source_facts as facts_of
from dicom_node.results.report_text import report_lines

_POSITIVE = term("v3-ObservationInterpretation", "POS", "Positive")
_NEGATIVE = term("v3-ObservationInterpretation", "NEG", "Negative")
_INDETERMINATE = term("v3-ObservationInterpretation", "IND", "Indeterminate")


def _observation(context: ResultContext, key: str, links: Json) -> Json:
    findings = context.findings
    notes = list(context.disclaimer)
    made: Json = {
        "resourceType": "Observation",
        "meta": {"security": [AI_ASSERTED]},
        "identifier": [
            # stable over runs: a new run is a new version of the same Observation
            {
                "system": OBSERVATION_SYSTEM,
                "value": observation_number(context, key),
            },
            {"system": RUN_SYSTEM, "value": context.run.run_key},
        ],
        "status": "preliminary",
        "category": [term("observation-category", "imaging", "Imaging")],
    }
    made.update({name: value for name, value in links.items() if name != "device"})
    taken = study_moment(facts_of(context), context.zone)
    if taken is not None:
        made["effectiveDateTime"] = moment(taken)
    made["issued"] = moment(context.timestamp)
    made["performer"] = [{"display": f"{PRODUCT_NAME}, unverified"}]
    bundle = deciding_bundle(findings)
    if bundle is not None and findings.policy is not None:
        made["method"] = {"text": f"{bundle.label}, policy {findings.policy.name}"}
        notes.append(findings.policy.sentence)
    made["device"] = links["device"]
    made["note"] = [{"text": note} for note in notes if note]
    return made


def class_observation(context: ResultContext, finding: Finding, links: Json) -> Json:
    """Return the Observation of one class: a calibrated probability, or "unsupported" where the model cannot speak about it."""
    made = _observation(context, finding.key, links)
    made["code"] = concept(finding.code)
    if finding.decision is Decision.NOT_ASSESSED or finding.probability is None:
        made["dataAbsentReason"] = {
            **term("data-absent-reason", "unsupported", "Unsupported"),
            "text": finding.note or "Not assessed by this model.",
        }
        return made
    made["valueQuantity"] = _probability(finding.probability)
    if not certain(context.findings, finding):
        made["interpretation"] = [_INDETERMINATE]
    else:
        made["interpretation"] = [_POSITIVE if finding.decision is Decision.POSITIVE else _NEGATIVE]
    if finding.threshold is not None:
        text = f"operating threshold, policy {context.findings.policy.name}" if context.findings.policy else "operating threshold"
        if finding.gray_zone is not None:
            text += f"; gray zone {rounded(finding.gray_zone[0])} to {rounded(finding.gray_zone[1])}"
        made["referenceRange"] = [{"high": _probability(finding.threshold), "text": text}]
    if finding.note:
        made["note"].append({"text": finding.note})
    decided = slices.decided_finding(context)
    if context.findings.slices and decided is not None and decided.key == finding.key:
        made["component"] = [_slice_component(context, one) for one in context.findings.slices]
    return made


def _slice_component(context: ResultContext, one: SliceScore) -> Json:
    """Return what one slice gave. A component has no reference to its image in R4: its text names it, as the study lists it."""
    frame = "" if one.frame is None else f", frame {one.frame}"
    name = slices.slice_name(context, one.sop_instance_uid, one.frame)
    words = f"probability on one slice ({name}; SOP Instance UID {one.sop_instance_uid}{frame}), {slices.HOW.get(one.how, one.how)}"
    return {"code": concept(codes.PROBABILITY, text=words), "valueQuantity": _probability(one.probability)}


def whole_observation(context: ResultContext, members: Sequence[str], links: Json) -> Json:
    """Return the Observation of the whole result: the decision, or "not performed" with its coded reason."""
    findings = context.findings
    made = _observation(context, "result", links)
    made["code"] = concept(context.result_code)
    reason = refusal_code(findings)
    decision = decision_code(findings)
    if reason is not None:
        absent = term("data-absent-reason", "not-performed", "Not Performed")
        made["dataAbsentReason"] = {"coding": absent["coding"] + concept(reason)["coding"], "text": refusal_text(findings)}
    elif decision is not None:
        made["valueCodeableConcept"] = concept(decision, text=findings.headline)
    if members:
        made["hasMember"] = [{"reference": url} for url in members]
    if findings.measurements:
        made["component"] = [_measurement(one) for one in findings.measurements]
    made["note"].extend({"text": flag.text} for flag in findings.flags)
    return made


def _measurement(one: Measurement) -> Json:
    unit = {"unit": one.unit.meaning, "system": "http://unitsofmeasure.org", "code": one.unit.value}
    return {"code": concept(one.code), "valueQuantity": {"value": round(float(one.value), 6), **unit}}


def diagnostic_report(context: ResultContext, accession: str, status: str, results: Sequence[str], links: Json) -> Json:
    """Return the report on one order. ``partial`` says that more is to come: a person's report. Never final, never amended."""
    findings = context.findings
    made: Json = {
        "resourceType": "DiagnosticReport",
        "meta": {"security": [AI_ASSERTED]},
        "identifier": [
            {"system": REPORT_SYSTEM, "value": own_number(context, accession)},
            {"system": RUN_SYSTEM, "value": context.run.run_key},
        ],
    }
    if accession:
        number: Json = {"type": term("v2-0203", "ACSN", "Accession ID")}
        if context.settings.fhir.accession_system:
            number["system"] = context.settings.fhir.accession_system
        made["basedOn"] = [{"type": "ServiceRequest", "identifier": {**number, "value": accession}}]
    made["status"] = status
    made["category"] = [term("v2-0074", "RAD", "Radiology")]
    made["code"] = concept(context.result_code, codes.DIAGNOSTIC_IMAGING_REPORT)
    if "subject" in links:
        made["subject"] = links["subject"]
    taken = study_moment(facts_of(context), context.zone)
    if taken is not None:
        made["effectiveDateTime"] = moment(taken)
    made["issued"] = moment(context.timestamp)
    made["performer"] = [{"display": f"{PRODUCT_NAME}, unverified"}]
    made["result"] = [{"reference": url} for url in results]
    if "derivedFrom" in links:
        made["imagingStudy"] = links["derivedFrom"]
    lines = [line for line in report_lines(context) if line]
    made["conclusion"] = "\n".join(_with_disclaimer(context, lines))
    code = refusal_code(findings) or decision_code(findings)
    if code is not None:
        made["conclusionCode"] = [concept(code)]
    page = _page(_with_disclaimer(context, lines), context.link)
    made["presentedForm"] = [
        {
            "contentType": "text/html; charset=utf-8",
            "language": "en",
            "data": base64.b64encode(page).decode(),
            "size": len(page),
            "hash": base64.b64encode(hashlib.sha1(page, usedforsecurity=False).digest()).decode(),  # FHIR R4 asks for SHA-1
            "title": "AI result, unverified",
            "creation": moment(context.timestamp),
        }
    ]
    return made


def provenance(context: ResultContext, targets: Sequence[str], links: Json) -> Json:
    """Return who made this run's resources, from what. Its id is the run's: sent twice, it is one Provenance."""
    made: Json = {
        "resourceType": "Provenance",
        "id": derived_uid("provenance", context.run.run_key),
        "target": [{"reference": url} for url in targets],
        "occurredDateTime": moment(context.timestamp),
        "recorded": moment(context.timestamp),
        "activity": term("v3-DataOperation", "CREATE", "create"),
        "agent": [{"type": term("provenance-participant-type", "assembler", "Assembler"), "who": links["device"]}],
    }
    if "derivedFrom" in links:
        made["entity"] = [{"role": "source", "what": reference} for reference in links["derivedFrom"]]
    return made


def _probability(value: float) -> Json:
    return {"value": rounded(value), "unit": "probability", "system": "http://unitsofmeasure.org", "code": "1"}


def _with_disclaimer(context: ResultContext, lines: list[str]) -> list[str]:
    """Every text says what it is worth, once, whether or not the report lines already do."""
    text = "\n".join(lines)
    return [line for line in context.disclaimer if line not in text] + lines


def _page(lines: list[str], link: str) -> bytes:
    body = "\n".join(f"<p>{html.escape(line)}</p>" for line in lines)
    if link:
        body = body.replace(html.escape(link), f'<a href="{html.escape(link)}">{html.escape(link)}</a>')
    head = '<html lang="en"><head><meta charset="utf-8"><title>AI result, unverified</title></head>'
    return f"<!DOCTYPE html>\n{head}<body>\n{body}\n</body></html>\n".encode()
