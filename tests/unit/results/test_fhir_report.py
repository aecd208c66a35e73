"""The FHIR transaction: what it says, and what it must not say."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from pydantic import ValidationError

from dicom_node.core.artifact import FHIR
from dicom_node.core.findings import Zone
from dicom_node.core.phi import Phi
from dicom_node.core.product import DISCLAIMER
from dicom_node.results.message_settings import FhirSettings
from dicom_node.results.outputs import diagnostic_report
from dicom_node.results.settings import ResultsSettings
from tests.factories.deliverables import WHEN, analysed, context, refused, request

Json = dict[str, Any]
TWO = (Phi("ACC-1"), Phi("ACC-2"))


def resources(kind: str, variant: str = "", **made: Any) -> list[Json]:
    bundle = json.loads(diagnostic_report.build(context(**made), variant).data)
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def value_of(resource: Json) -> Any:
    return resource.get("valueQuantity", {}).get("value")


def test_the_report_is_partial_and_never_final() -> None:
    """DiagnosticReport is partial, or preliminary where a destination asks; Observations are preliminary."""
    assert [r["status"] for r in resources("DiagnosticReport")] == ["partial"]
    assert [r["status"] for r in resources("DiagnosticReport", "preliminary")] == ["preliminary"]
    assert {r["status"] for r in resources("Observation")} == {"preliminary"}
    text = diagnostic_report.build(context(), "").data.decode()
    assert '"final"' not in text
    assert '"amended"' not in text


def test_every_statement_is_marked_as_made_by_a_machine() -> None:
    """Report and observations carry AIAST, the disclaimer and the device; the Provenance names who assembled them."""
    for resource in [*resources("DiagnosticReport"), *resources("Observation")]:
        assert [label["code"] for label in resource["meta"]["security"]] == ["AIAST"]
        assert DISCLAIMER in json.dumps(resource)
        assert "UNVALIDATED MODEL" in json.dumps(resource)
    for observation in resources("Observation"):  # a sentence: "Sensitivity at least 0.9" alone does not say of what
        assert 'Policy "screening": Sensitivity at least 0.9.' in [note["text"] for note in observation["note"]]
    (provenance,) = resources("Provenance")
    assert provenance["agent"][0]["type"]["coding"][0]["code"] == "assembler"


def test_a_class_that_is_not_assessed_has_no_probability() -> None:
    """The assessed class has value, threshold and interpretation; the other says "unsupported" and why."""
    assessed, other, whole = resources("Observation")
    assert value_of(assessed) == 0.87
    assert assessed["referenceRange"][0]["high"]["value"] == 0.62
    assert assessed["interpretation"][0]["coding"][0]["code"] == "POS"
    assert value_of(other) is None
    assert other["dataAbsentReason"]["coding"][0]["code"] == "unsupported"
    assert "Too few adults" in other["dataAbsentReason"]["text"]
    assert whole["valueCodeableConcept"]["coding"][0]["code"] == "POS"
    assert len(whole["hasMember"]) == 2


def test_a_value_below_its_threshold_in_the_gray_zone_is_not_called_negative() -> None:
    """In the gray zone the interpretation is indeterminate and the decision is "needs human review"."""
    assessed, _, whole = resources("Observation", findings=analysed(Zone.GRAY, 0.5))
    assert assessed["interpretation"][0]["coding"][0]["code"] == "IND"
    assert whole["valueCodeableConcept"]["coding"][0]["code"] == "REFER"


def test_a_refusal_is_coded_and_has_no_value() -> None:
    """A refusal is one Observation "not performed" with the reason's code, and a report that says so."""
    artifact = diagnostic_report.build(context(findings=refused()), "")
    assert artifact.refusal
    (only,) = resources("Observation", findings=refused())
    assert [c["code"] for c in only["dataAbsentReason"]["coding"]] == ["not-performed", "NOT-FRONTAL"]
    assert "valueCodeableConcept" not in only
    (report,) = resources("DiagnosticReport", findings=refused())
    assert "Not analysed" in report["conclusion"]
    assert report["status"] == "partial"


def test_each_requested_procedure_has_its_own_report_on_the_same_observations() -> None:
    """Two accessions of one study give two reports with their own identifiers."""
    first, second = resources("DiagnosticReport", requested_accessions=TWO)
    assert [r["basedOn"][0]["identifier"]["value"] for r in (first, second)] == ["ACC-1", "ACC-2"]
    assert first["identifier"][0] != second["identifier"][0]
    assert first["result"] == second["result"]


def test_a_new_run_is_a_new_version_of_the_same_resources() -> None:
    """Identifiers are stable over runs; the run's key stands beside them; a repeated run is the same bytes."""
    later = request(run_key="rn_" + "2" * 32, revision=2)
    for kind in ("DiagnosticReport", "Observation"):
        before = [r["identifier"] for r in resources(kind)]
        after = [r["identifier"] for r in resources(kind, run=later)]
        assert [i[0] for i in before] == [i[0] for i in after]
        assert {i[1]["value"] for i in after} == {later.run_key}
    assert resources("Provenance")[0]["id"] != resources("Provenance", run=later)[0]["id"]
    assert diagnostic_report.build(context(), "").data == diagnostic_report.build(context(), "").data


def test_date_times_carry_the_sources_zone() -> None:
    """The acquisition time keeps its offset, and the report is not issued before it."""
    (report,) = resources("DiagnosticReport")
    assert report["effectiveDateTime"] == "2026-11-01T10:15:00+05:30"
    assert report["issued"] == WHEN.astimezone(context().zone).isoformat(timespec="seconds")


def test_the_attached_page_is_what_its_size_and_hash_say_and_escapes_text() -> None:
    """The HTML form has size and SHA-1 of its bytes, and no text of a model card becomes markup."""
    (report,) = resources("DiagnosticReport")
    (form,) = report["presentedForm"]
    page = base64.b64decode(form["data"])
    assert form["size"] == len(page)
    assert base64.b64decode(form["hash"]) == hashlib.sha1(page, usedforsecurity=False).digest()
    assert b"f&lt;g&gt;" in page


def test_the_patient_is_named_by_identifier_unless_the_site_says_create() -> None:
    """By default no Patient is created; with ``create`` one is, with every group of the name."""
    assert resources("Patient") == []
    assert resources("DiagnosticReport")[0]["subject"] == {
        "type": "Patient",
        "identifier": {"value": "PID-0042", "assigner": {"display": "HOSP1"}},
    }
    settings = ResultsSettings(fhir=FhirSettings(patient="create", patient_system="urn:oid:1.2.3"))
    (person,) = resources("Patient", settings=settings)
    assert [name["family"] for name in person["name"]] == ["Yamada", "山田", "やまだ"]
    assert (person["gender"], person["birthDate"]) == ("female", "1980-03-05")


def test_create_without_a_system_is_refused() -> None:
    """Numbers of two hospitals must not meet in one Patient."""
    with pytest.raises(ValidationError, match="patient_system"):
        FhirSettings(patient="create")


@pytest.mark.parametrize(
    "header",
    [
        {"patient_id": Phi("")},
        {"birth_date": Phi("1980"), "patient_sex": "X", "study_date": "never", "acquisition_datetime": ""},
        {"accession_number": Phi(""), "series_number": "one", "modality": ""},
        {"patient_name": Phi("^^^="), "acquisition_datetime": "20261301"},
    ],
)
def test_odd_headers_give_valid_resources(header: Json) -> None:
    """Missing and broken values are left out; the bundle stays valid R4."""
    settings = ResultsSettings(fhir=FhirSettings(patient="create", patient_system="urn:oid:1.2.3"))
    assert diagnostic_report.build(context(settings=settings, **header), "").media_type == FHIR
