"""The RiskAssessment of a likelihood of disease: what it says, and for which results there is one."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fhir.resources.R4B.bundle import Bundle

from dicom_node.core import codes
from dicom_node.core.codes import Code
from dicom_node.core.findings import Decision, Findings
from dicom_node.core.phi import Phi
from dicom_node.core.product import DISCLAIMER, SYNTHETIC
from dicom_node.core.withdrawal import Cause
from dicom_node.results.message_settings import FhirSettings
from dicom_node.results.outputs import diagnostic_report
from dicom_node.results.settings import ResultsSettings
from dicom_node.results.withdrawals.take_back import build_withdrawal
from dicom_node.results.withdrawals.withdrawal import Withdrawal
from tests.factories.deliverables import analysed, context, likelihood, refused, request

Json = dict[str, Any]
BUNDLES = Path(__file__).parents[3] / "models" / "bundles"


def entries(findings: Findings, **made: Any) -> list[Json]:
    bundle: Json = json.loads(diagnostic_report.build(context(findings, **made), "").data)
    return list(bundle["entry"])


def of_kind(kind: str, found: list[Json]) -> list[Json]:
    return [entry["resource"] for entry in found if entry["resource"]["resourceType"] == kind]


def test_a_likelihood_of_disease_is_a_risk_assessment_on_its_observation() -> None:
    """Preliminary, performed by the model's Device, in per cent as R4 has it, and worth what the note says."""
    found = entries(likelihood())
    (risk,) = of_kind("RiskAssessment", found)
    assert risk["status"] == "preliminary"
    assert [label["code"] for label in risk["meta"]["security"]] == ["AIAST"]
    by_url = {entry["fullUrl"]: entry["resource"] for entry in found}
    (basis,) = risk["basis"]
    observation = by_url[basis["reference"]]
    assert observation["code"]["coding"][0]["code"] == "NTM-DISEASE"
    assert observation["valueQuantity"]["value"] == 0.7312
    assert by_url[risk["performer"]["reference"]]["modelNumber"] == "ct_ntm"
    assert risk["method"]["text"] == "ct_ntm@0.1.0, policy screening"
    assert risk["subject"] == observation["subject"]
    (prediction,) = risk["prediction"]
    assert prediction["outcome"]["coding"][0]["code"] == "NTM-DISEASE"
    assert prediction["probabilityDecimal"] == 73.12
    assert prediction["rationale"] == "73.1 %. Suspected."
    notes = [note["text"] for note in risk["note"]]
    assert {DISCLAIMER, "UNVALIDATED MODEL", SYNTHETIC, "Of disease, not infection."} < set(notes)
    assert any(note.startswith("Clinical data missing") for note in notes)
    (provenance,) = of_kind("Provenance", found)
    names = {url for url, one in by_url.items() if one["resourceType"] == "RiskAssessment"}
    assert names < {target["reference"] for target in provenance["target"]}


def test_a_new_run_is_a_new_version_of_the_same_risk_assessment() -> None:
    """Its number is that of its Observation, in a system of its own, over all runs."""
    found = entries(likelihood()), entries(likelihood(0.2), run=request(run_key="rn_" + "2" * 32, revision=2))
    (first,), (later,) = (of_kind("RiskAssessment", one) for one in found)
    assert first["identifier"][0] == later["identifier"][0]
    assert first["identifier"][1] != later["identifier"][1]
    observation = of_kind("Observation", found[0])[0]["identifier"][0]
    assert first["identifier"][0]["value"] == observation["value"]
    assert first["identifier"][0]["system"] != observation["system"]
    (request_,) = (e["request"] for e in found[0] if e["resource"]["resourceType"] == "RiskAssessment")
    assert request_["method"] == "PUT"
    assert request_["url"].startswith("RiskAssessment?identifier=")


def not_assessed() -> Findings:
    (only,) = likelihood().findings
    bare = dataclasses.replace(only, decision=Decision.NOT_ASSESSED, probability=None)
    return dataclasses.replace(likelihood(), findings=(bare,))


@pytest.mark.parametrize(
    ("findings", "more"),
    [
        (analysed(), {}),
        (refused(), {}),
        (not_assessed(), {}),
        (likelihood(), {"patient_id": Phi("")}),  # R4 wants a subject
        (likelihood(), {"settings": ResultsSettings(fhir=FhirSettings(risk_assessment=False))}),
    ],
)
def test_there_is_none_without_a_likelihood_a_patient_or_the_sites_will(findings: Findings, more: Json) -> None:
    assert of_kind("RiskAssessment", entries(findings, **more)) == []


def test_the_shipped_model_of_ntm_disease_gives_one() -> None:
    """The bundle's own code is the one that is known for a likelihood of disease."""
    for manifest in BUNDLES.glob("ct_ntm/*/bundle.yaml"):
        (output,) = yaml.safe_load(manifest.read_text())["outputs"]
        assert Code(*output["code"]) in codes.LIKELIHOODS_OF_DISEASE


def test_a_withdrawn_risk_assessment_is_entered_in_error_and_valid() -> None:
    """It has no time of issue in R4; the words on the likelihood are gone, the number stays for whoever has to explain it."""
    sent = diagnostic_report.build(context(likelihood()), "")
    at = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
    (note,) = build_withdrawal(Withdrawal(sent.run_key, Cause.WRONG_PATIENT, at, (sent,), ResultsSettings())).artifacts
    made = json.loads(note.data)
    Bundle.model_validate(made)
    (risk,) = of_kind("RiskAssessment", made["entry"])
    assert risk["status"] == "entered-in-error"
    assert risk["note"][0]["text"].startswith("WITHDRAWN. ")
    assert "rationale" not in risk["prediction"][0]
    assert "issued" not in risk
