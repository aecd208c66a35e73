"""Observations of a laboratory by FHIR, at an R4 server and by the hook: of the right patient alone, taken back, never guessed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dicom_node.orders import step as orders
from dicom_node.stages.answers.fhir_hooks import fhir_hooks
from dicom_node.stages.fhir_laboratory import AskedObservations
from dicom_node.web.app import make_app
from dicom_node.web.server import HttpPort
from models.phantoms.ct import thorax
from models.phantoms.ct_dicom import as_series
from tests.factories.hl7_messages import lab
from tests.integration.test_fhir_peer import peer  # noqa: F401  (a fixture)
from tests.integration.test_waiting_for_labs import Waiting

Json = dict[str, Any]
SYSTEM, OTHER = "urn:oid:1.2.3", "urn:oid:9.9.9"
WHEN = "2026-11-01T08:00:00Z"


class Ehr:
    """A hospital's FHIR server."""

    def __init__(self, base: str) -> None:
        self.base = base

    def put(self, resource: Json) -> Json:
        made = httpx.post(f"{self.base}/{resource['resourceType']}", json=resource, trust_env=False)
        if "id" in resource:
            made = httpx.put(f"{self.base}/{resource['resourceType']}/{resource['id']}", json=resource, trust_env=False)
        made.raise_for_status()
        return dict(made.json())

    def patient(self, number: str, system: str = SYSTEM) -> str:
        made = self.put({"resourceType": "Patient", "identifier": [{"system": system, "value": number}]})
        return f"Patient/{made['id']}"


def observation(code: str, value: str, about: str = "", **elements: Any) -> Json:
    made: Json = {"resourceType": "Observation", "status": "final", "effectiveDateTime": WHEN, "valueString": value}
    made["code"] = {"coding": [{"system": "http://loinc.org", "code": code}]}
    return {**made, **({"subject": {"reference": about}} if about else {}), **elements}


@pytest.fixture(scope="module")
def ehr(peer: Path) -> Iterator[Ehr]:  # noqa: F811
    process = subprocess.Popen(["node", "server.mjs", "0"], cwd=peer, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    yield Ehr(f"http://127.0.0.1:{json.loads(process.stdout.readline())['listening']}")
    process.terminate()
    process.wait(10)


class Site(Waiting):
    """A node that asks the server while a run waits, and has a hook."""

    def __init__(self, folder: Path, base: str, number: str) -> None:
        secret = folder / "hook"
        secret.write_text("hook-token\n")
        series = list(as_series(thorax(11, slices=64, size=72), seed="fhir", PatientID=number, IssuerOfPatientID="HOSP"))
        super().__init__(
            folder,
            series,
            orders={"fhir": {"patient_systems": {SYSTEM: "HOSP"}, "ask": ["pacs"]}},
            destinations={"pacs": {"kind": "fhir_rest", "base_url": base, "allow_unvalidated": True}},
            feedback={"fhir": {"hook_token_file": str(secret)}},
        )
        rooms = self.node.rooms
        self.number = number
        self.asking = AskedObservations(rooms.database, rooms.settings)
        hooks = fhir_hooks(rooms.home, rooms.settings, rooms.database)
        self.hook = HttpPort(make_app(rooms.database, "T", dict, 10, routers=hooks), name="web", host="127.0.0.1", port=0).start()
        self.node.receive(*series)
        self.node.work()
        assert self.states() == ["waiting"], self.told

    def push(self, *resources: Json) -> Json:
        """Call the hook as a server does."""
        body = resources[0] if len(resources) == 1 else {"resourceType": "Bundle", "entry": [{"resource": r} for r in resources]}
        headers = {"Authorization": "Bearer hook-token"}
        answer = httpx.post(f"http://127.0.0.1:{self.hook.port}/fhir-hook", json=body, headers=headers, trust_env=False)
        answer.raise_for_status()
        return dict(answer.json())

    def ask(self) -> int:
        """Ask, as the timer does once the pace is over."""
        self.asking._asked.clear()
        return self.asking.look()

    def held(self) -> list[tuple[str, str, str]]:
        with self.node.rooms.database.connect() as connection:
            return [(one.code, one.value, one.source) for one in orders.labs_of(connection, self.number, "HOSP")]

    def close(self) -> None:
        self.hook.stop()
        self.node.rooms.database.dispose()


@pytest.fixture
def site(ehr: Ehr, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(tmp_path, ehr.base, f"P-{request.node.name[5:20]}")
    yield made
    made.close()


def test_a_run_that_waits_asks_the_server_and_goes_on_with_what_it_says(site: Site, ehr: Ehr) -> None:
    """Preliminary values, another patient's and the same number of another hospital are not taken; nor anything twice."""
    mine = ehr.patient(site.number)
    assert site.ask() == 0
    for stranger in (ehr.patient(f"{site.number}-2"), ehr.patient(site.number, OTHER)):
        ehr.put(observation("11545-1", "4+", stranger))
        ehr.put(observation("543-9", "M. abscessus", stranger))
    ehr.put(observation("11545-1", "3+", mine, status="preliminary"))
    ehr.put(observation("718-7", "140", mine))
    site.ask()
    assert site.held() == []
    ehr.put(observation("11545-1", "2+", mine))
    concept = {"coding": [{"system": "http://snomed.info/sct", "code": "1", "display": "Mycobacterium kansasii"}]}
    made = ehr.put({**observation("543-9", "", mine, valueCodeableConcept=concept)} | {"valueString": None})
    site.ask()
    assert sorted(site.held()) == [
        ("11545-1^LN", "2+", "fhir"),
        ("543-9^LN", "1^Mycobacterium kansasii^SCT", "fhir"),
    ]
    before = site.held()
    site.ask()
    assert site.held() == before
    ehr.put({**made, "status": "entered-in-error"})
    site.ask()
    assert [code for code, _, _ in site.held()] == ["11545-1^LN"]
    assert site.judge.look() == 0
    ehr.put({**made, "status": "corrected"})
    site.ask()
    assert site.judge.look() == 1
    assert site.states() == ["queued"]
    assert site.ask() == 0  # nobody waits any more


def test_the_hook_keeps_what_is_of_a_patient_that_is_certain(site: Site, ehr: Ehr) -> None:
    """By a Patient that came along, by identifier, or by asking the one server; nobody else's, and nothing is guessed."""
    person = {"resourceType": "Patient", "id": "x", "identifier": [{"system": SYSTEM, "value": site.number}]}
    assert site.push(observation("11545-1", "1+", "Patient/x", id="a"), person) == {"taken": 1}
    assert site.held() == [("11545-1^LN", "1+", "fhir")]
    by_number: Json = {"subject": {"identifier": {"system": SYSTEM, "value": site.number}}}
    site.push(observation("11545-1", "2+", id="a", status="amended", **by_number))
    assert site.held() == [("11545-1^LN", "2+", "fhir")]
    site.push(observation("543-9", "M. avium", ehr.patient(site.number), id="b"))
    assert [value for _, value, _ in site.held()] == ["2+", "M. avium"]
    for unsure in (
        observation("543-9", "M. abscessus", "Patient/nobody", id="c"),
        observation("543-9", "M. abscessus", id="c"),
        observation("543-9", "M. abscessus", id="c", subject={"identifier": {"system": OTHER, "value": site.number}}),
        observation("543-9", "M. abscessus", id="c", subject={"display": "the same name"}),
        observation("543-9", "M. abscessus", id="c", subject={"identifier": {"value": site.number}}),
        observation("543-9", "\0", id="c", **by_number),
        observation("543-9", "M. abscessus", id="c")
        | {"subject": {"reference": ehr.patient(site.number), "identifier": {"system": SYSTEM, "value": "another"}}},
        {**observation("543-9", "M. abscessus", id="c", **by_number), "code": "543-9"},
    ):
        site.push(unsure)
    assert [value for _, value, _ in site.held()] == ["2+", "M. avium"]
    assert site.judge.look() == 1
    site.push(observation("543-9", "", id="b", status="cancelled", **by_number))
    assert [value for _, value, _ in site.held()] == ["2+"]


def test_versions_that_are_pushed_out_of_order_and_a_message_about_the_same_test(site: Site) -> None:
    """What the server says of its versions decides, not when they came nor their numbers; HL7 speaks of the same test."""
    by_number: Json = {"subject": {"identifier": {"system": SYSTEM, "value": site.number}}}

    def push(value: str, status: str, version: str, hour: int) -> list[str]:
        meta = {"versionId": version, "lastUpdated": f"2026-11-02T{hour:02d}:00:00Z"}
        site.push(observation("11545-1", value, id="v", status=status, meta=meta, **by_number))
        return [held for _, held, _ in site.held()]

    assert push("3+", "corrected", "7", 10) == ["3+"]
    assert push("2+", "final", "9", 9) == ["3+"]
    site.hear(lab("11545-1^Smear^LN", "1+", "F", patient=site.number, at="20261101080000", kind="ST"))
    assert site.held() == [("11545-1^LN", "3+", "fhir")]
    assert push("3+", "entered-in-error", "3", 11) == []
    assert push("3+", "corrected", "7", 10) == []
    site.hear(lab("11545-1^Smear^LN", "4+", "C", patient=site.number, at="20261101080000", kind="ST"))
    assert site.held() == []  # said before FHIR took the test back
    assert push("2+", "corrected", "1", 12) == ["2+"]


def test_a_server_that_is_away_is_told_once_and_the_run_goes_on_at_its_deadline(site: Site, monkeypatch: Any) -> None:
    settings = site.node.rooms.settings.destinations["pacs"]
    monkeypatch.setattr(type(settings), "base_url", property(lambda _: "http://127.0.0.1:9"), raising=False)
    for _ in range(2):
        site.ask()
    text = 'The FHIR server "pacs" could not be asked for laboratory values; it is asked again while the run waits.'
    assert site.told.count(text) == 1
    site.ahead = 1801.0
    assert site.judge.look() == 1
