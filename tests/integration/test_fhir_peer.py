"""The FHIR transaction against two validators and an R4 server (Node.js, npm packages locked in deploy/dev/fhir_peer)."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dicom_node.core.artifact import Artifact
from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import HttpFailure
from dicom_node.core.findings import Zone
from dicom_node.core.phi import Phi
from dicom_node.core.withdrawal import Cause
from dicom_node.delivery.destinations import fhir_rest
from dicom_node.results.message_settings import FhirSettings
from dicom_node.results.outputs import diagnostic_report
from dicom_node.results.settings import ResultsSettings
from dicom_node.results.withdrawals.take_back import build_withdrawal
from dicom_node.results.withdrawals.withdrawal import Withdrawal
from tests.factories.deliverables import analysed, context, likelihood, refused, request

PEER = Path(__file__).parents[2] / "deploy" / "dev" / "fhir_peer"
CREATING = ResultsSettings(fhir=FhirSettings(patient="create", patient_system="urn:oid:1.2.3", accession_system="urn:oid:1.2.4"))
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "suspected": ({}, ""),
    "gray": ({"findings": analysed(Zone.GRAY, 0.5)}, "preliminary"),
    "refused": ({"findings": refused()}, ""),
    "two accessions": ({"requested_accessions": (Phi("ACC-1"), Phi("ACC-2"))}, ""),
    "created patient": ({"settings": CREATING}, ""),
    "likelihood of disease": ({"findings": likelihood()}, ""),
    "no patient": ({"patient_id": Phi(""), "accession_number": Phi(""), "study_date": "", "acquisition_datetime": ""}, ""),
}


@pytest.fixture(scope="module")
def peer() -> Path:
    """The folder of the peer with its packages installed."""
    assert shutil.which("node"), "Node.js is not installed: run `make setup` (apt package nodejs)"
    if not (PEER / "node_modules" / "@medplum").is_dir():
        subprocess.run(["npm", "ci", "--legacy-peer-deps", "--no-audit", "--no-fund"], cwd=PEER, check=True, capture_output=True)
    return PEER


@pytest.fixture
def server(peer: Path) -> Iterator[str]:
    """The base URL of an empty R4 server."""
    process = subprocess.Popen(["node", "server.mjs", "0"], cwd=peer, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['listening']}"
    process.terminate()
    process.wait(10)


def validated(peer: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", "validate.mjs", *map(str, files)], cwd=peer, capture_output=True, text=True, check=False)


def report(revision: int = 1, **made: Any) -> Artifact:
    return diagnostic_report.build(context(run=request(run_key="rn_" + str(revision) * 32, revision=revision), **made), "")


def held(server: str, kind: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server}/{kind}", trust_env=False).json()
    return [entry["resource"] for entry in answer.get("entry", ())]


def test_every_kind_of_report_is_valid_r4_for_both_validators(peer: Path, tmp_path: Path) -> None:
    """Results, refusals, grouped procedures and odd patients give no error."""
    files = []
    for name, (made, variant) in CASES.items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_bytes(diagnostic_report.build(context(**made), variant).data)
    done = validated(peer, *files)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_the_validators_notice_a_wrong_status_and_a_missing_code(peer: Path, tmp_path: Path) -> None:
    """The gate can fail: each validator catches what the other may miss."""
    bundle = json.loads(report().data)
    observations = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"]
    observations[0]["status"] = "prelim"
    observations[1].pop("code")
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(bundle), encoding="utf-8")
    done = validated(peer, path)
    assert done.returncode == 1
    assert "prelim" in done.stdout
    assert "code" in done.stdout


def test_a_server_keeps_one_report_over_runs_and_never_loses_a_persons_change(server: str) -> None:
    """Run, retry, refusal and re-run are versions of one report; after a person's change nothing is written any more."""
    settings = fhir_rest.Settings(kind="fhir_rest", base_url=server, timeout_seconds=20)
    assert fhir_rest.check(settings, ()) == []
    final = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "Chest"}, "conclusion": "Clear."}
    ris = httpx.post(f"{server}/DiagnosticReport", json=final, trust_env=False).json()

    statuses = []
    for artifact in (report(1), report(1), report(2, findings=refused()), report(3)):
        assert fhir_rest.send(artifact, settings).outcome is Outcome.DELIVERED
        statuses.append(sorted(o["status"] for o in held(server, "Observation")))
    first = ["preliminary"] * 3
    assert statuses == [first, first, ["entered-in-error"] * 2 + ["preliminary"], first]
    (ours,) = [r for r in held(server, "DiagnosticReport") if r["id"] != ris["id"]]
    assert ours["status"] == "partial"
    assert ours["identifier"][1]["value"] == "rn_" + "3" * 32
    assert len(ours["result"]) == 3
    assert all(reference["reference"].startswith("Observation/") for reference in ours["result"])
    assert len(held(server, "Observation")) == 3
    assert len(held(server, "ImagingStudy")) == 1
    history = httpx.get(f"{server}/DiagnosticReport/{ours['id']}/_history", trust_env=False).json()
    assert len(history["entry"]) == 3

    edited = {**ours, "status": "final", "resultsInterpreter": [{"display": "A reader"}]}
    httpx.put(f"{server}/DiagnosticReport/{ours['id']}", json=edited, trust_env=False).raise_for_status()
    with pytest.raises(HttpFailure, match="changed by somebody else") as caught:
        fhir_rest.send(report(4), settings)
    assert not caught.value.temporary
    reports = {r["id"]: r for r in held(server, "DiagnosticReport")}
    assert reports[ours["id"]]["status"] == "final"
    assert reports[ris["id"]] == ris


def test_a_change_between_reading_and_writing_is_not_overwritten(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If-Match holds in a transaction: the whole is refused, tried again, and the person's version stays."""
    settings = fhir_rest.Settings(kind="fhir_rest", base_url=server, timeout_seconds=20)
    fhir_rest.send(report(1), settings)
    plain = fhir_rest.fitted

    def meanwhile(bundle: Any, found: Any, dropped: Any) -> Any:
        (ours,) = held(server, "DiagnosticReport")
        httpx.put(
            f"{server}/DiagnosticReport/{ours['id']}", json={**ours, "conclusion": "Mine."}, trust_env=False
        ).raise_for_status()
        return plain(bundle, found, dropped)

    monkeypatch.setattr(fhir_rest, "fitted", meanwhile)
    with pytest.raises(HttpFailure) as caught:
        fhir_rest.send(report(2), settings)
    assert (caught.value.status, caught.value.temporary) == (412, True)
    assert [r["conclusion"] for r in held(server, "DiagnosticReport")] == ["Mine."]
    assert {o["identifier"][1]["value"] for o in held(server, "Observation")} == {"rn_" + "1" * 32}


def withdrawal_of(sent: Artifact) -> Artifact:
    at = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
    (made,) = build_withdrawal(Withdrawal(sent.run_key, Cause.WRONG_PATIENT, at, (sent,), ResultsSettings())).artifacts
    return made


def test_a_withdrawn_report_is_valid_r4_for_both_validators(peer: Path, tmp_path: Path) -> None:
    """Of every kind of report."""
    files = []
    for name, (made, variant) in CASES.items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_bytes(withdrawal_of(diagnostic_report.build(context(**made), variant)).data)
    done = validated(peer, *files)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_a_withdrawal_marks_what_the_server_has_and_nothing_else(server: str) -> None:
    """Report and observations become entered-in-error in place, once; the radiologist's report stays; nothing is created."""
    settings = fhir_rest.Settings(kind="fhir_rest", base_url=server, timeout_seconds=20)
    final = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "Chest"}, "conclusion": "Clear."}
    ris = httpx.post(f"{server}/DiagnosticReport", json=final, trust_env=False).json()
    note = withdrawal_of(report())
    assert fhir_rest.send(note, settings).outcome is Outcome.DELIVERED
    assert (held(server, "Observation"), held(server, "DiagnosticReport")) == ([], [ris])

    fhir_rest.send(report(), settings)
    for _ in range(2):
        assert fhir_rest.send(note, settings).outcome is Outcome.DELIVERED
    reports = {r["id"]: r for r in held(server, "DiagnosticReport")}
    assert reports.pop(ris["id"]) == ris
    ((uid, ours),) = reports.items()
    assert ours["status"] == "entered-in-error"
    assert ours["conclusion"].startswith("WITHDRAWN. A person found")
    assert not {"conclusionCode", "presentedForm"}.intersection(ours)
    assert {o["status"] for o in held(server, "Observation")} == {"entered-in-error"}
    assert len(held(server, "Observation")) == 3
    history = httpx.get(f"{server}/DiagnosticReport/{uid}/_history", trust_env=False).json()
    assert len(history["entry"]) == 2


def test_a_report_that_a_person_took_over_is_not_taken_back(server: str) -> None:
    """Somebody signed it: the withdrawal is refused for good, so that a person is told, and nothing is overwritten."""
    settings = fhir_rest.Settings(kind="fhir_rest", base_url=server, timeout_seconds=20)
    fhir_rest.send(report(), settings)
    (ours,) = held(server, "DiagnosticReport")
    signed = {**ours, "status": "final", "resultsInterpreter": [{"display": "A reader"}]}
    httpx.put(f"{server}/DiagnosticReport/{ours['id']}", json=signed, trust_env=False).raise_for_status()
    with pytest.raises(HttpFailure, match="changed by somebody else"):
        fhir_rest.send(withdrawal_of(report()), settings)
    assert [r["status"] for r in held(server, "DiagnosticReport")] == ["final"]
    assert {o["status"] for o in held(server, "Observation")} == {"preliminary"}
