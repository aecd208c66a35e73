"""What versions of our FHIR resources, and Tasks about them, say: every status, with and without a person."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from dicom_node.core.feedback import Statement, Verdict
from dicom_node.core.fhir_names import CODE_SYSTEMS, DIGEST_SYSTEM, content_digest
from dicom_node.feedback.channels import fhir
from dicom_node.feedback.messages.fhir_people import Someone, people_of
from dicom_node.feedback.reports.assessment_codes import table
from dicom_node.feedback.settings import AssessmentCode
from dicom_node.results.outputs.diagnostic_report import transaction
from tests.factories.deliverables import context

Json = dict[str, Any]
ACCEPTED, AMENDED, REJECTED, WITHDRAWN = Verdict.ACCEPTED, Verdict.AMENDED, Verdict.REJECTED, Verdict.WITHDRAWN
RAO = {"reference": "Practitioner/17", "display": "Dr. Rao"}
OURS = CODE_SYSTEMS["99PACSAI"]
BUNDLE = transaction(context(), "partial")
RESOURCES = [entry["resource"] for entry in BUNDLE["entry"]]
(REPORT,) = [one for one in RESOURCES if one["resourceType"] == "DiagnosticReport"]
ABNORMAL, TUBERCULOSIS, WHOLE = [one for one in RESOURCES if one["resourceType"] == "Observation"]
SENT = fhir.Sent("rn_1", {"abnormal": [ABNORMAL], "tuberculosis": [TUBERCULOSIS], "": [WHOLE]}, [REPORT])


def version(resource: Json, number: int = 2, **changes: Any) -> Json:
    """Return a version that somebody else wrote."""
    made = {**copy.deepcopy(resource), "id": "1", **changes}
    made["meta"] = {"versionId": str(number), "lastUpdated": "2026-11-20T10:00:00Z"}
    return made


def report(status: str, **changes: Any) -> Json:
    return version(REPORT, status=status, **{"resultsInterpreter": [RAO], **changes})


def observation(resource: Json, status: str, **changes: Any) -> Json:
    return version(resource, status=status, **{"performer": [RAO], **changes})


def said(heard: Any) -> list[Statement]:
    return [one for claim in heard.claims for one in claim.statements]


def hear(resource: Json, *observations: Json, provenances: tuple[Json, ...] = ()) -> Any:
    if resource["resourceType"] == "DiagnosticReport":
        return fhir.hear_report(resource, observations, SENT, provenances, vouched=True)
    return fhir.hear_observation(resource, SENT, provenances, vouched=True)


def test_a_version_that_we_wrote_is_nothing() -> None:
    """Whatever its status and whoever is named: the tag tells its content."""
    made = report("final")
    made["meta"]["tag"] = [{"system": DIGEST_SYSTEM, "code": content_digest(made)}]
    assert (hear(made).claims, hear(made).text) == ((), fhir.OURS)
    made["conclusion"] = "Somebody's words."
    assert hear(made).text != fhir.OURS


@pytest.mark.parametrize("status", ["registered", "partial", "preliminary", "unknown", ""])
def test_other_statuses_say_nothing(status: str) -> None:
    """Also with a named person."""
    for heard in (hear(report(status)), hear(observation(ABNORMAL, status))):
        assert (heard.claims, heard.state, heard.text) == ((), "nothing", fhir.PRELIMINARY)


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended", "cancelled", "entered-in-error"])
def test_without_a_named_person_nothing_counts(status: str) -> None:
    """Nobody; an organisation; a device; our own performer."""
    for named in ([], [{"reference": "Organization/1", "display": "Radiology"}], [{"reference": "Device/1"}]):
        assert hear(report(status, resultsInterpreter=named)).text == fhir.NOBODY
    assert hear(observation(ABNORMAL, status, performer=ABNORMAL["performer"])).text == fhir.NOBODY


def test_final_and_unchanged_is_accepted() -> None:
    """Of a report the whole, of an Observation its finding; what we did not assess has nothing to accept."""
    assert said(hear(report("final"))) == [Statement(ACCEPTED)]
    assert said(hear(observation(ABNORMAL, "final"))) == [Statement(ACCEPTED, "abnormal")]
    assert said(hear(observation(WHOLE, "final"))) == [Statement(ACCEPTED)]
    assert said(hear(observation(TUBERCULOSIS, "final"))) == []


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
def test_taken_back_is_withdrawn(status: str) -> None:
    """No opinion."""
    assert said(hear(report(status))) == [Statement(WITHDRAWN)]
    assert said(hear(observation(ABNORMAL, status))) == [Statement(WITHDRAWN, "abnormal")]


def coded(code: str, system: str = OURS) -> Json:
    return {"coding": [{"system": system, "code": code}]}


@pytest.mark.parametrize(
    ("value", "label", "assessment"),
    [
        ({"valueQuantity": {"value": 0}}, "absent", 0.0),
        ({"valueQuantity": {"value": 1}}, "present", 1.0),
        ({"valueQuantity": {"value": 0.25}}, "", 0.25),
        ({"valueBoolean": False}, "absent", None),
        ({"valueCodeableConcept": coded("2667000", "http://snomed.info/sct")}, "absent", None),
        ({"valueCodeableConcept": coded("233604007", "http://snomed.info/sct")}, "233604007^SCT", None),
        ({"valueString": "see report"}, "", None),
    ],
)
def test_another_value_is_an_amendment(value: Json, label: str, assessment: float | None) -> None:
    """By its own performer, or by the report's interpreter where the Observation names nobody."""
    plain = {name: inner for name, inner in ABNORMAL.items() if name != "valueQuantity"}
    wanted = Statement(AMENDED, "abnormal", label_after=label, assessment=assessment)
    for status in ("final", "amended", "corrected"):
        assert said(hear(observation(plain, status, **value))) == [wanted]
    anonymous = observation(plain, "amended", performer=[], **value)
    assert said(hear(report("amended"), anonymous)) == [wanted]


def test_an_observation_that_speaks_for_itself_is_not_said_twice() -> None:
    """But the report is then not accepted as a whole."""
    changed = observation(ABNORMAL, "amended", valueQuantity={"value": 0})
    heard = hear(report("final"), changed)
    assert (heard.claims, heard.state) == ((), "nothing")


def test_flags_are_no_opinion() -> None:
    """Interpretation is set by tables of the receiver."""
    flagged = observation(ABNORMAL, "final", interpretation=[coded("NEG", "http://x")])
    assert said(hear(flagged)) == [Statement(ACCEPTED, "abnormal")]


def test_the_conclusions_code_changed() -> None:
    """Amended, with what the code says; taken away it says nothing that could be told."""
    for status in ("final", "amended", "corrected", "appended"):
        heard = hear(report(status, conclusionCode=[coded("NEG")]))
        assert said(heard) == [Statement(AMENDED, label_after="absent")]
    gone = hear(report("final", conclusionCode=[]))
    assert (said(gone), gone.state) == ([], "unclear")


@pytest.mark.parametrize(("status", "wanted"), [("final", []), ("appended", []), ("amended", [Statement(AMENDED)])])
def test_own_words_are_evidence(status: str, wanted: list[Statement]) -> None:
    """Kept, never read; beside unchanged codes ``final`` is unclear."""
    heard = hear(report(status, conclusion="No active disease."))
    assert said(heard) == wanted
    assert [one.evidence["report_text"] for one in heard.claims] == ["No active disease."]
    assert heard.state == ("unclear" if not wanted else "nothing")


def provenance(version_id: str, kind: str = "verifier", who: Json = RAO) -> Json:
    agent = {"type": coded(kind, "http://terminology.hl7.org/CodeSystem/provenance-participant-type"), "who": who}
    return {"resourceType": "Provenance", "target": [{"reference": f"DiagnosticReport/1/_history/{version_id}"}], "agent": [agent]}


def test_a_provenance_names_who_verified_exactly_this_version() -> None:
    """Another version's, an assembler, a device: nobody."""
    anonymous = report("final", resultsInterpreter=[])
    (claim,) = hear(anonymous, provenances=(provenance("2"),)).claims
    assert (claim.reader.identity, claim.reader.authenticated) == ("Practitioner/17", True)
    for other in (provenance("1"), provenance("2", "assembler"), provenance("2", who={"reference": "Device/1"})):
        assert hear(anonymous, provenances=(other,)).text == fhir.NOBODY


def test_who_is_believed() -> None:
    """The server's word, if it is authenticated; of two interpreters nobody is told apart."""
    (claim,) = fhir.hear_report(report("final"), (), SENT, vouched=False).claims
    assert (claim.reader.identity, claim.reader.authenticated) == ("Practitioner/17", False)
    (claim,) = hear(report("final", resultsInterpreter=[RAO, {"reference": "Practitioner/9"}])).claims
    assert (claim.reader.identity, claim.reader.authenticated) == ("", False)
    (claim,) = hear(report("final", resultsInterpreter=[{"display": "A reader"}])).claims
    assert (claim.reader.name, claim.reader.authenticated) == ("A reader", False)


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ({"reference": "https://his.example/r4/Practitioner/17/_history/3"}, Someone("Practitioner/17")),
        ({"reference": "PractitionerRole/4"}, Someone("PractitionerRole/4")),
        ({"identifier": {"system": "urn:hr", "value": "D1"}, "type": "Practitioner"}, Someone("urn:hr|D1")),
        ({"reference": "#p", "display": "Rao"}, Someone("urn:hr|D2", "Rao")),
        ({"reference": "Organization/1"}, None),
        ({"type": "Organization", "display": "Radiology"}, None),
        ({}, None),
    ],
)
def test_how_people_are_named(reference: Json, wanted: Someone | None) -> None:
    """References, identifiers, contained resources; never an organisation."""
    contained = [{"resourceType": "Practitioner", "id": "p", "identifier": [{"system": "urn:hr", "value": "D2"}]}]
    found = people_of({"resultsInterpreter": [reference], "contained": contained}, "resultsInterpreter")
    assert found == (() if wanted is None else (wanted,))


def task(status: str, *codes: str, business: str = "", system: str = OURS) -> Json:
    made: Json = {"resourceType": "Task", "id": "t", "status": status, "owner": RAO, "meta": {"versionId": "1"}}
    made["output"] = [{"valueCodeableConcept": coded(code, system)} for code in codes]
    return {**made, "businessStatus": coded(business)} if business else made


def of_task(made: Json) -> Any:
    codes = table([AssessmentCode(value="AGREE", scheme="urn:site", means="accepted")])
    return fhir.hear_task(made, "", "rn_1", codes, vouched=True)


@pytest.mark.parametrize("status", ["requested", "received", "accepted", "rejected", "in-progress", "completed", "failed"])
def test_a_tasks_status_is_never_a_verdict(status: str) -> None:
    """``accepted`` means: agreed to do it."""
    assert of_task(task(status)).claims == ()
    assert of_task(task(status, "accepted", "rejected", system="http://hl7.org/fhir/task-status")).claims == ()


def test_a_tasks_coded_outcome_is() -> None:
    """From our table and the site's; two that differ are unclear; a task that was not done says nothing."""
    assert said(of_task(task("completed", "ACCEPT"))) == [Statement(ACCEPTED)]
    assert said(of_task(task("in-progress", business="REJECT"))) == [Statement(REJECTED)]
    assert said(of_task(task("completed", "AGREE", system="urn:site"))) == [Statement(ACCEPTED)]
    assert said(of_task(task("completed", "MODIFY", "NEG"))) == [Statement(AMENDED, label_after="absent")]
    assert of_task(task("completed", "ACCEPT", "REJECT")).state == "unclear"
    assert said(of_task(task("entered-in-error", "ACCEPT"))) == [Statement(WITHDRAWN)]
    for status in ("cancelled", "failed", "rejected"):
        assert of_task(task(status, "ACCEPT")).claims == ()


def test_claims_of_one_person_are_put_together() -> None:
    """Who accepts the whole accepts each finding; another person's word is left as it is."""
    whole, finding = hear(report("final")).claims + hear(observation(ABNORMAL, "final")).claims
    assert [one.statements for one in fhir.merged([whole, finding])] == [(Statement(ACCEPTED),)]
    (other,) = hear(observation(ABNORMAL, "final", performer=[{"reference": "Practitioner/9"}])).claims
    assert len(fhir.merged([whole, other])) == 2


def test_which_result_is_meant() -> None:
    """By our identifiers only."""
    targets = fhir.targets_of(json.loads(json.dumps(REPORT)))
    assert targets is not None
    assert targets.run_key == "rn_" + "1" * 32
    assert fhir.targets_of({"resourceType": "DiagnosticReport", "identifier": [{"system": "urn:other", "value": "1"}]}) is None
    assert fhir.targets_of({"resourceType": "Patient", "identifier": REPORT["identifier"]}) is None
