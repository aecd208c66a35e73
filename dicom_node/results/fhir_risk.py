"""The RiskAssessment beside the Observation of a likelihood of disease, as FHIR R4.

An Observation says what a model made of the images. How likely the patient has a disease is a RiskAssessment: the Observation is
its basis, the model's Device has performed it. It is ``preliminary`` as all else, and says the same of its worth.
"""

from __future__ import annotations

from dicom_node.core import codes
from dicom_node.core.fhir_names import RISK_SYSTEM, RUN_SYSTEM
from dicom_node.core.findings import Finding
from dicom_node.results.context import ResultContext
from dicom_node.results.fhir_elements import AI_ASSERTED, Json, concept, moment
from dicom_node.results.message_facts import deciding_bundle, observation_number


def is_likelihood_of_disease(finding: Finding) -> bool:
    """Say whether a finding is assessed, and says how likely a disease is."""
    named = {(one.value, one.scheme) for one in codes.LIKELIHOODS_OF_DISEASE}
    return finding.probability is not None and (finding.code.value, finding.code.scheme) in named


def risk_assessment(context: ResultContext, finding: Finding, observation: str, links: Json) -> Json:
    """Return the RiskAssessment of one finding.

    Parameters
    ----------
    observation
        Name, within the transaction, of the Observation that it stands on.
    links
        ``subject``, which R4 demands here, and ``device``.
    """
    assert finding.probability is not None, "is_likelihood_of_disease() was asked first"
    findings = context.findings
    bundle = deciding_bundle(findings)
    made: Json = {
        "resourceType": "RiskAssessment",
        "meta": {"security": [AI_ASSERTED]},
        "identifier": [
            {"system": RISK_SYSTEM, "value": observation_number(context, finding.key)},
            {"system": RUN_SYSTEM, "value": context.run.run_key},
        ],
        "status": "preliminary",
    }
    if bundle is not None and findings.policy is not None:
        made["method"] = {"text": f"{bundle.label}, policy {findings.policy.name}"}
    made["code"] = concept(context.result_code)
    made["subject"] = links["subject"]
    made["occurrenceDateTime"] = moment(context.timestamp)
    made["performer"] = links["device"]
    made["basis"] = [{"reference": observation}]
    made["prediction"] = [
        {
            "outcome": concept(finding.code),
            "probabilityDecimal": round(100 * finding.probability, 2),  # R4: decimals are percentages as well, at most 100
            "rationale": f"{100 * finding.probability:.1f} %. {findings.headline}".strip(),
        }
    ]
    guarantee = [findings.policy.sentence] if findings.policy is not None else []
    notes = [*context.disclaimer, *guarantee, *(flag.text for flag in findings.flags), finding.note]
    made["note"] = [{"text": note} for note in notes if note]
    return made
