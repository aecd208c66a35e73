"""Answers by FHIR: people change what we wrote on an R4 server; the node hears of it by polling and by its hook."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from dicom_node.core.fhir_names import CODE_SYSTEMS, REPORT_SYSTEM
from dicom_node.feedback import standing
from dicom_node.stages.answers.fhir_hooks import fhir_hooks
from dicom_node.stages.answers.fhir_polling import FhirPolling
from dicom_node.store import tables
from dicom_node.web.app import make_app
from dicom_node.web.server import HttpPort
from tests.integration.in_process import InProcessNode
from tests.integration.test_fhir_peer import peer  # noqa: F401  (a fixture)
from tests.integration.test_safety import chest

Json = dict[str, Any]
RAO = {"reference": "Practitioner/17", "display": "Dr. Rao"}
OTHER = {"reference": "Practitioner/99", "display": "Dr. Lee"}
READERS = [{"name": "Rao^Asha^^Dr.", "role": "radiologist", "fhir_references": ["Practitioner/17"]}]
OURS = CODE_SYSTEMS["99PACSAI"]


class Site:
    """A node that writes to an R4 server, asks it, and has a hook."""

    def __init__(self, folder: Path, base: str) -> None:
        self.base = base
        token, secret = folder / "token", folder / "hook"
        token.write_text("a-token")
        secret.write_text("hook-token\n")
        server = {"kind": "fhir_rest", "base_url": base, "token_file": str(token), "outputs": ["diagnostic_report"]}
        self.node = InProcessNode(
            folder,
            readers=READERS,
            destinations={"pacs": {**server, "allow_unvalidated": True}},
            feedback={"fhir": {"poll": ["pacs"], "poll_seconds": 1, "hook_token_file": str(secret)}},
        )
        rooms = self.node.rooms
        self.polling = FhirPolling(rooms.home, rooms.settings, rooms.database)
        hooks = fhir_hooks(rooms.home, rooms.settings, rooms.database)
        self.hook = HttpPort(make_app(rooms.database, "T", dict, 10, routers=hooks), name="web", host="127.0.0.1", port=0).start()

    def close(self) -> None:
        self.hook.stop()
        self.node.rooms.database.dispose()

    def poll(self) -> int:
        """Ask the server, as the timer does once the pace is over."""
        self.polling._seconds = 0
        return self.polling.look()

    def call(self, body: Json | None, token: str = "hook-token", path: str = "") -> httpx.Response:
        """Call the hook as a server does."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
        url = f"http://127.0.0.1:{self.hook.port}/fhir-hook{path}"
        return httpx.request("PUT" if path else "POST", url, json=body, headers=headers, trust_env=False)

    def all(self, table: sa.Table) -> list[Any]:
        with self.node.rooms.database.connect() as connection:
            return list(connection.execute(sa.select(table)))


class Case:
    """One answered study and what the server has of it."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.mark = len(site.all(tables.answer_message))
        dataset = chest(name, PatientID=f"P-{name}", AccessionNumber=f"ACC-{name}")
        self.story = site.node.answer(dataset)
        self.dataset = dataset
        self.run_key = self.story["runs"][-1]["run_key"]
        assert {one["state"] for one in self.story["deliveries"]} == {"done"}

    def held(self, kind: str) -> list[Json]:
        answer = httpx.get(f"{self.site.base}/{kind}?_count=1000", trust_env=False).json()
        found = [entry["resource"] for entry in answer.get("entry", ())]
        return [one for one in found if any(i["value"] == self.run_key for i in one.get("identifier", ()))]

    @property
    def report(self) -> Json:
        (found,) = self.held("DiagnosticReport")
        return found

    def observation(self, code: str) -> Json:
        (found,) = [one for one in self.held("Observation") if one["code"]["coding"][0]["code"] == code]
        return found

    def put(self, resource: Json, **changes: Any) -> Json:
        """Write a version of a resource as a person's system does."""
        changed = {**copy.deepcopy(resource), **changes}
        answer = httpx.put(f"{self.site.base}/{resource['resourceType']}/{resource['id']}", json=changed, trust_env=False)
        answer.raise_for_status()
        return dict(answer.json())

    def post(self, resource: Json) -> Json:
        answer = httpx.post(f"{self.site.base}/{resource['resourceType']}", json=resource, trust_env=False)
        answer.raise_for_status()
        return dict(answer.json())

    def task(self, status: str, code: str = "", focus: Json | None = None, **more: Any) -> Json:
        made: Json = {"resourceType": "Task", "status": status, "intent": "order", "owner": RAO, **more}
        made["focus"] = focus or {"reference": f"DiagnosticReport/{self.report['id']}"}
        if code:
            value = {"coding": [{"system": OURS, "code": code}]}
            made["output"] = [{"type": {"text": "answer"}, "valueCodeableConcept": value}]
        return made

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the log of this result: finding, verdict, strength, label."""
        mine = [row for row in self.site.all(tables.verdict) if row.run_key == self.run_key]
        return [(row.finding, row.verdict, row.strength, row.label_after) for row in mine]

    def states(self) -> list[str]:
        return [row.state for row in self.site.all(tables.answer_message)[self.mark :]]


@pytest.fixture(scope="module")
def site(peer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:  # noqa: F811
    process = subprocess.Popen(["node", "server.mjs", "0"], cwd=peer, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    made = Site(tmp_path_factory.mktemp("fhir"), f"http://127.0.0.1:{json.loads(process.stdout.readline())['listening']}")
    yield made
    made.close()
    process.terminate()
    process.wait(10)


@pytest.fixture
def case(site: Site, request: pytest.FixtureRequest) -> Case:
    return Case(site, str(zlib.crc32(request.node.name.encode())))


def test_our_own_writes_are_nothing(case: Case) -> None:
    """Neither found by polling nor brought to the hook."""
    assert case.site.poll() == 0
    assert case.site.call(case.report).json() == {"taken": 0}
    assert (case.rows(), case.states()) == ([], [])


def test_a_signed_report_is_one_strong_acceptance_whichever_way_it_is_heard(case: Case) -> None:
    """Final with a named interpreter: polled twice, brought to the hook, once more in a newer version: one row."""
    signed = case.put(case.report, status="final", resultsInterpreter=[RAO])
    assert case.site.poll() == 1
    assert case.site.poll() == 0
    assert case.site.call(signed).json() == {"taken": 1}
    again = case.put(signed, issued="2026-11-21T10:00:00Z")
    case.site.call({"resourceType": "Bundle", "type": "history", "entry": [{"resource": again}]})
    case.site.poll()
    assert case.rows() == [("", "accepted", "strong", "")]


def test_everything_signed_at_once_is_one_row(case: Case) -> None:
    """The report and each Observation final by the same person: the whole is accepted."""
    for observation in case.held("Observation"):
        case.put(observation, status="final", performer=[RAO])
    case.put(case.report, status="final", resultsInterpreter=[RAO])
    case.site.poll()
    assert case.rows() == [("", "accepted", "strong", "")]


def test_a_corrected_observation_amends_its_finding(case: Case) -> None:
    """By its own performer; heard by the hook under the resource's own path."""
    value = {"value": 0, "unit": "probability", "system": "http://unitsofmeasure.org", "code": "1"}
    changed = case.put(case.observation("263654008"), status="corrected", performer=[RAO], valueQuantity=value)
    answer = case.site.call(changed, path=f"/Observation/{changed['id']}")
    assert answer.json() == {"taken": 1}
    case.site.poll()
    assert case.rows() == [("abnormal", "amended", "strong", "absent")]


def test_an_amended_conclusion_then_accepted_again(case: Case) -> None:
    """By difference: the conclusion's code. The last word stands."""
    ours = case.report["conclusionCode"]
    below = [{"coding": [{"system": OURS, "code": "NEG", "display": "Below operating threshold"}]}]
    case.put(case.report, status="amended", resultsInterpreter=[RAO], conclusionCode=below)
    case.site.poll()
    case.put(case.report, status="corrected", conclusionCode=ours)
    case.site.poll()
    assert case.rows() == [("", "amended", "strong", "absent"), ("", "accepted", "strong", "")]


def test_a_status_without_a_person_is_nothing_and_a_stranger_is_weak(case: Case) -> None:
    """A Provenance that names the version and its verifier is a named person, too."""
    final = case.put(case.report, status="final")
    case.site.poll()
    assert (case.rows(), case.states()) == ([], ["nothing"])
    case.put(case.observation("263654008"), status="final", performer=[OTHER])
    case.site.poll()
    assert case.rows() == [("abnormal", "accepted", "weak", "")]
    verifier = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type", "code": "verifier"}]}
    version = f"DiagnosticReport/{final['id']}/_history/{final['meta']['versionId']}"
    provenance = {"resourceType": "Provenance", "target": [{"reference": version}], "recorded": "2026-11-21T10:00:00Z"}
    case.post({**provenance, "agent": [{"type": verifier, "who": RAO}]})
    case.site.poll()
    assert case.rows()[1:] == [("", "accepted", "strong", "")]


@pytest.mark.parametrize("named", ["number", "reference"])
def test_a_resource_about_another_patient_is_no_answer(case: Case, named: str) -> None:
    """Our identifiers, signed, and somebody else as the subject: report, Observation and Task are shown, and never recorded."""
    subject: Json = {"identifier": {"value": "SOMEBODY-ELSE"}}
    if named == "reference":
        other = case.post({"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "SOMEBODY-ELSE"}]})
        subject = {"reference": f"Patient/{other['id']}"}
    mine = case.post({"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": str(case.dataset.PatientID)}]})
    case.put(case.report, status="final", resultsInterpreter=[RAO], subject=subject)
    case.put(case.observation("263654008"), status="final", performer=[RAO], subject=subject)
    case.post(case.task("completed", "ACCEPT", **{"for": subject}))
    case.site.poll()
    assert (case.rows(), case.states()) == ([], ["unclear"] * 3)
    case.put(case.report, status="final", resultsInterpreter=[RAO], subject={"reference": f"Patient/{mine['id']}"})
    case.site.poll()
    assert case.rows() == [("", "accepted", "strong", "")]


def test_own_words_beside_our_codes_are_evidence(case: Case) -> None:
    """A final report whose text was rewritten and whose codes were not says nothing that could be relied on."""
    case.put(case.report, status="final", resultsInterpreter=[RAO], conclusion="No active disease.")
    case.site.poll()
    assert (case.rows(), case.states()) == ([], ["unclear"])
    kept = [row.content.get("evidence") for row in case.site.all(tables.verdict_private)]
    assert {"report_text": "No active disease.", "report_status": "final"} in kept


def test_entered_in_error_withdraws_and_is_no_opinion(case: Case) -> None:
    """With nothing to withdraw it leaves no row; after an answer it takes that answer back."""
    case.put(case.observation("263654008"), status="entered-in-error", performer=[RAO])
    case.site.poll()
    assert case.rows() == []
    case.put(case.report, status="final", resultsInterpreter=[RAO])
    case.site.poll()
    case.put(case.report, status="entered-in-error")
    case.site.poll()
    assert [row[1] for row in case.rows()] == ["accepted", "withdrawn"]
    with case.site.node.rooms.database.connect() as connection:
        assert standing.current(connection, case.run_key) == {}


@pytest.mark.parametrize("status", ["accepted", "completed", "rejected"])
def test_a_tasks_status_is_never_an_answer(case: Case, status: str) -> None:
    """``accepted`` means: agreed to do it."""
    case.post(case.task(status))
    case.site.poll()
    case.site.call(case.task(status))
    assert case.rows() == []


def test_a_task_with_a_coded_outcome_is_an_answer(case: Case) -> None:
    """By polling, resolved through its focus; a task about something unknown is quarantined; about another report, nothing."""
    case.post(case.task("completed", "REJECT"))
    case.site.poll()
    assert case.rows() == [("", "rejected", "strong", "")]
    case.site.call(case.task("completed", "REJECT", {"reference": "DiagnosticReport/unknown"}))
    assert case.states()[-1] == "quarantined"
    number = next(i["value"] for i in case.report["identifier"] if i["system"] == REPORT_SYSTEM)
    case.site.call(case.task("completed", "ACCEPT", {"identifier": {"system": REPORT_SYSTEM, "value": number}}))
    assert [row[1] for row in case.rows()] == ["rejected", "accepted"]


def test_opening_is_exposure_and_no_answer(case: Case) -> None:
    """An AuditEvent of reading, brought with its report."""
    event = {"resourceType": "AuditEvent", "id": "e1", "action": "R", "agent": [{"requestor": True, "who": RAO}]}
    event["entity"] = [{"what": {"reference": f"DiagnosticReport/{case.report['id']}"}}]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": event}, {"resource": case.report}]}
    for _ in range(2):
        assert case.site.call(bundle).status_code == 200
    assert case.rows() == []
    assert len([row for row in case.site.all(tables.exposure) if row.run_key == case.run_key]) == 1


def test_a_foreign_report_is_none_of_our_business_and_a_foreign_number_is_quarantined(case: Case) -> None:
    """The RIS' own reports pass by; a number of our system that we never gave is shown."""
    foreign = {"resourceType": "DiagnosticReport", "id": "f", "status": "final", "code": {"text": "Chest"}}
    assert case.site.call({**foreign, "resultsInterpreter": [RAO]}).json() == {"taken": 0}
    numbered = {**foreign, "resultsInterpreter": [RAO], "identifier": [{"system": REPORT_SYSTEM, "value": "AI-NEVER-GIVEN"}]}
    assert case.site.call(numbered).json() == {"taken": 1}
    assert case.states() == ["quarantined"]


def test_the_hook_lets_nobody_in_without_a_token(case: Case) -> None:
    """Nor too much, nor what is no resource; what is not as the standard has it is shown and takes nothing with it."""
    signed = {**case.report, "status": "final", "resultsInterpreter": [RAO]}
    assert case.site.call(signed, token="wrong").status_code == 401
    assert case.site.call({"resourceType": "Binary", "data": "x" * 1_100_000}).status_code == 413
    assert case.site.call({"no": "resource"}).status_code == 400
    assert case.rows() == []
    odd = {**case.report, "id": "odd", "status": "final", "resultsInterpreter": [RAO], "meta": "none"}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": odd}, {"resource": signed}]}
    assert case.site.call(bundle).status_code == 200
    assert case.rows() == [("", "accepted", "strong", "")]
    assert sorted(case.states()) == ["read", "unclear"]


def test_an_empty_notification_has_the_server_asked(case: Case) -> None:
    """Before its pace is over."""
    case.site.poll()
    case.put(case.report, status="final", resultsInterpreter=[RAO])
    case.site.polling._seconds = 1000
    assert case.site.polling.look() == 0
    notification = {"resourceType": "Bundle", "type": "history", "entry": [{"resource": {"resourceType": "Parameters"}}]}
    assert case.site.call(notification).status_code == 202
    assert case.site.polling.look() == 1
    assert case.site.polling.look() == 0
    assert case.rows() == [("", "accepted", "strong", "")]


def test_a_version_that_kept_our_update_out_is_read(case: Case) -> None:
    """Nobody polls and nobody calls: the delivery that was refused is the sign. Nothing of the person's version is overwritten."""
    case.put(case.report, status="final", resultsInterpreter=[RAO])
    polled, case.site.polling._polled = case.site.polling._polled, ()
    try:
        with case.site.node.rooms.database.begin() as connection:
            d = tables.delivery.c
            text = "The server's DiagnosticReport was changed by somebody else: it is read as feedback, not overwritten."
            connection.execute(sa.update(tables.delivery).where(d.run_key == case.run_key).values(state="dead", detail=text))
        assert case.site.poll() == 1
        assert case.site.poll() == 0
    finally:
        case.site.polling._polled = polled
    assert case.rows() == [("", "accepted", "strong", "")]
    assert case.report["status"] == "final"


def test_a_server_that_is_away_is_told_once(
    case: Case, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And asked again; what it could not say then is heard later."""
    case.put(case.report, status="final", resultsInterpreter=[RAO])
    settings = case.site.polling._servers["pacs"]
    away = settings.model_copy(update={"base_url": "http://127.0.0.1:9"})
    with monkeypatch.context() as patch:
        patch.setitem(case.site.polling._servers, "pacs", away)
        capsys.readouterr()
        for _ in range(3):
            assert case.site.poll() == 0
        assert capsys.readouterr().out.count("fhir.not_asked") == 1
    assert case.site.poll() == 1
