"""FHIR R4: one transaction with the report on every requested procedure, its observations, device, imaging study and provenance.

A likelihood of disease is a RiskAssessment as well.

Statuses (FHIR R4): the report is ``partial``, because ``preliminary`` means *verified* early results; the variant ``preliminary``
is for sites that want that word. Observations are ``preliminary``. A new run is a new version of the same resources, never
``amended``.
"""

from __future__ import annotations

import json

from dicom_node.core.artifact import FHIR, Artifact
from dicom_node.core.findings import Findings
from dicom_node.results.context import ResultContext
from dicom_node.results.fhir_elements import Json, check_bundle, create_once, create_or_update, full_url, put
from dicom_node.results.fhir_people import bundle_device, device_url, imaging_study, node_device, patient, patient_identifier
from dicom_node.results.fhir_report import class_observation, diagnostic_report, provenance, whole_observation
from dicom_node.results.fhir_risk import is_likelihood_of_disease, risk_assessment
from dicom_node.results.message_facts import deciding_bundle, own_number, requested_accessions, source_facts

MEDIA_TYPE = FHIR
SOP_CLASS_UIDS: tuple[str, ...] = ()
VARIANTS = ("preliminary",)
AFTER: tuple[str, ...] = ()


def wanted(findings: Findings) -> bool:
    """A finding and a refusal both give a report."""
    return True


def build(context: ResultContext, variant: str) -> Artifact:
    """Build the transaction bundle, as UTF-8 JSON.

    Raises
    ------
    ValueError
        The resources are not valid (a defect): they are checked with the R4B models of ``fhir.resources``, which differ from R4
        in none of the elements used.
    """
    bundle = transaction(context, "preliminary" if variant == "preliminary" else "partial")
    check_bundle(bundle)
    accessions = requested_accessions(source_facts(context))
    return Artifact(
        run_key=context.run.run_key,
        role="diagnostic_report" + (f":{variant}" if variant else ""),
        media_type=FHIR,
        identifier=own_number(context, accessions[0]),
        data=json.dumps(bundle, ensure_ascii=False, indent=1).encode(),
        refusal=context.findings.abstention is not None,
    )


def transaction(context: ResultContext, status: str) -> Json:
    """Return the bundle: what is created once first, then what a new run updates."""
    facts = source_facts(context)
    findings = context.findings
    key = context.run.run_key
    entries = []

    def entry(kind: str, made: Json) -> str:
        url = full_url(key, kind)
        entries.append(create_once(url, made))
        return url

    links: Json = {}
    identifier = patient_identifier(facts, context.settings.fhir)
    if identifier is not None:
        links["subject"] = {"type": "Patient", "identifier": identifier}
        person = patient(facts, context.settings.fhir)
        if context.settings.fhir.patient == "create" and person is not None:
            links["subject"] = {"reference": entry("patient", person)}
    node_url = device_url(context, "")
    entries.append(create_once(node_url, node_device(context)))
    for ref in findings.bundles:
        entries.append(create_once(device_url(context, ref.label), bundle_device(context, ref, node_url)))
    if "subject" in links:
        links["derivedFrom"] = [{"reference": entry("imaging study", imaging_study(context, facts, links["subject"]))}]
    decider = deciding_bundle(findings)
    links["device"] = {"reference": device_url(context, decider.label) if decider else node_url}

    members = []
    for finding in findings.findings:
        members.append(full_url(key, "observation", finding.key))
        entries.append(create_or_update(members[-1], class_observation(context, finding, links)))
    risks = []
    for finding in findings.findings if context.settings.fhir.risk_assessment and "subject" in links else ():
        if is_likelihood_of_disease(finding):
            risks.append(full_url(key, "risk", finding.key))
            basis = full_url(key, "observation", finding.key)
            entries.append(create_or_update(risks[-1], risk_assessment(context, finding, basis, links)))
    whole = full_url(key, "observation", "result")
    entries.append(create_or_update(whole, whole_observation(context, members, links)))
    reports = []
    for accession in requested_accessions(facts):
        reports.append(full_url(key, "report", accession))
        entries.append(create_or_update(reports[-1], diagnostic_report(context, accession, status, [whole, *members], links)))
    entries.append(put(full_url(key, "provenance"), provenance(context, [*reports, whole, *members, *risks], links)))
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}
