"""FHIR transactions over HTTP on loopback."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from dicom_node.core.artifact import FHIR, Artifact
from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import HttpFailure, PeerError, PeerTimeout, TlsFailure
from dicom_node.core.withdrawal import Cause
from dicom_node.delivery.destinations import fhir_rest
from dicom_node.network import https
from dicom_node.results.message_settings import FhirSettings
from dicom_node.results.outputs import diagnostic_report
from dicom_node.results.settings import ResultsSettings
from dicom_node.results.withdrawals.take_back import build_withdrawal
from dicom_node.results.withdrawals.withdrawal import Withdrawal
from tests.factories.certificates import certificates
from tests.factories.deliverables import context, likelihood, refused, request
from tests.factories.quirky_peers import http_peer
from tests.factories.token_server import SECRET, token_server

EMPTY = {"resourceType": "Bundle", "type": "searchset"}


def _load(name: str) -> ModuleType:
    path = Path(__file__).parents[3] / "deploy" / "dev" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server() -> Iterator[Any]:
    """The recording FHIR peer: (settings, memory)."""
    made, memory = _load("fhir_recorder").make_server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield fhir_rest.Settings(kind="fhir_rest", base_url=f"http://127.0.0.1:{made.server_address[1]}", timeout_seconds=5), memory
    made.shutdown()
    made.server_close()


@functools.cache
def report(revision: int = 1) -> Artifact:
    run = request(run_key="rn_" + str(revision) * 32, revision=revision)
    return diagnostic_report.build(context(run=run), "")


def refusal(revision: int) -> Artifact:
    run = request(run_key="rn_" + str(revision) * 32, revision=revision)
    return diagnostic_report.build(context(findings=refused(), run=run), "")


def settings(url: str, **changes: Any) -> fhir_rest.Settings:
    return fhir_rest.Settings(kind="fhir_rest", base_url=url, timeout_seconds=0.5, **changes)


def test_a_second_run_is_a_new_version_of_the_same_resources(server: Any) -> None:
    """Two runs leave one report and one Observation a class; the second version is the newer run's."""
    place, memory = server
    assert fhir_rest.send(report(1), place).outcome is Outcome.DELIVERED
    assert fhir_rest.send(report(2), place).outcome is Outcome.DELIVERED
    (stored,) = memory.resources["DiagnosticReport"].values()
    assert stored["meta"]["versionId"] == "2"
    assert stored["identifier"][1]["value"] == "rn_" + "2" * 32
    assert len(memory.resources["Observation"]) == 3
    assert len(memory.resources["Provenance"]) == 2
    assert {len(memory.resources[kind]) for kind in ("Device", "ImagingStudy")} == {2, 1}


def test_the_same_report_again_writes_nothing(server: Any) -> None:
    """An attempt repeated after a lost answer leaves one version."""
    place, memory = server
    fhir_rest.send(report(), place)
    fhir_rest.send(report(), place)
    assert len(memory.transactions) == 1


def test_updates_say_which_version_they_replace(server: Any) -> None:
    """Every update of a known resource carries If-Match, and a refusal leaves no value of the earlier run standing."""
    place, memory = server
    fhir_rest.send(report(1), place)
    gone = next(
        key for key, held in memory.resources["Observation"].items() if held["code"]["coding"][0]["display"] == "Tuberculosis"
    )
    del memory.resources["Observation"][gone]  # a deleted one is nobody's trouble
    fhir_rest.send(refusal(2), place)
    values = {o["code"]["coding"][0]["display"]: o["status"] for o in memory.resources["Observation"].values()}
    assert values.pop("Abnormal") == "entered-in-error"
    assert list(values.values()) == ["preliminary"]
    updates = [
        e["request"]
        for e in memory.transactions[1]["entry"]
        if e["resource"]["resourceType"] in ("DiagnosticReport", "Observation")
    ]
    assert {update["method"] for update in updates} == {"PUT"}
    assert all(update["ifMatch"].startswith('W/"') for update in updates)


def test_a_refusal_withdraws_the_risk_assessment_of_an_earlier_run(server: Any) -> None:
    """It stands on an Observation that the newest result does not hold; a server that keeps none is no failure."""
    place, memory = server
    likely = diagnostic_report.build(context(likelihood()), "")
    refusal = diagnostic_report.build(
        context(dataclasses.replace(refused(), pipeline="ct_ntm"), request(run_key="rn_" + "2" * 32, revision=2)), ""
    )
    fhir_rest.send(likely, place)
    (risk,) = memory.resources["RiskAssessment"].values()
    assert risk["status"] == "preliminary"
    (basis,) = risk["basis"]
    assert memory.resources["Observation"][basis["reference"].partition("/")[2]]["valueQuantity"]["value"] == 0.7312
    fhir_rest.send(refusal, place)
    (risk,) = memory.resources["RiskAssessment"].values()
    assert risk["status"] == "entered-in-error"
    assert risk["meta"]["versionId"] == "2"


def test_a_server_without_risk_assessments_takes_the_refusal(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place, memory = server
    off = ResultsSettings(fhir=FhirSettings(risk_assessment=False))
    fhir_rest.send(diagnostic_report.build(context(likelihood(), settings=off), ""), place)
    assert "RiskAssessment" not in memory.resources
    search = memory.find

    def find(kind: str, query: str) -> Any:
        if kind == "RiskAssessment":
            raise HttpFailure("The FHIR server answered HTTP 404.", status=404, temporary=False)
        return search(kind, query)

    monkeypatch.setattr(fhir_rest, "_search", lambda _client, url: find(*url.split("?")))
    refusal = context(dataclasses.replace(refused(), pipeline="ct_ntm"), request(run_key="rn_" + "2" * 32, revision=2))
    assert fhir_rest.send(diagnostic_report.build(refusal, ""), place).outcome is Outcome.DELIVERED
    assert "entered-in-error" in {one["status"] for one in memory.resources["Observation"].values()}


def likely(revision: int = 1) -> Artifact:
    """A result with a likelihood of disease: it has a RiskAssessment too."""
    return diagnostic_report.build(context(likelihood(), request(run_key="rn_" + str(revision) * 32, revision=revision)), "")


def withdrawal_of(sent: Artifact) -> Artifact:
    at = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
    (made,) = build_withdrawal(Withdrawal(sent.run_key, Cause.WRONG_PATIENT, at, (sent,), ResultsSettings())).artifacts
    return made


@pytest.mark.parametrize("cure", ["deleted", "restored"])
def test_a_risk_assessment_that_a_person_changed_keeps_the_next_version_out_until_one_of_the_two_is_gone(
    server: Any, cure: str
) -> None:
    """The refusal names the cure, and the cure works: deleted there, or our version restored, the next version is taken."""
    place, memory = server
    fhir_rest.send(likely(1), place)
    (ours,) = memory.resources["RiskAssessment"].values()
    memory.put({**ours, "status": "final", "mitigation": "Seen by a person."}, ours["id"])
    before = json.dumps(memory.resources, sort_keys=True)
    with pytest.raises(HttpFailure, match="RiskAssessment was changed by somebody else") as caught:
        fhir_rest.send(likely(2), place)
    assert not caught.value.temporary
    assert "dicom-node deliveries leave" in str(caught.value)
    assert "delete it on the server or restore the version" in str(caught.value)
    assert json.dumps(memory.resources, sort_keys=True) == before
    if cure == "deleted":
        memory.resources["RiskAssessment"].clear()
    else:
        memory.put(ours, ours["id"])
    assert fhir_rest.send(likely(2), place).outcome is Outcome.DELIVERED
    (report,) = memory.resources["DiagnosticReport"].values()
    (risk,) = memory.resources["RiskAssessment"].values()
    assert report["identifier"][1]["value"] == "rn_" + "2" * 32
    assert "mitigation" not in risk


def test_what_a_person_changed_keeps_nobody_from_taking_the_rest_back(server: Any) -> None:
    """Report and Observations go, the person's RiskAssessment stays; it is parked until a person has dealt with that."""
    place, memory = server
    fhir_rest.send(likely(), place)
    (ours,) = memory.resources["RiskAssessment"].values()
    theirs = memory.put({**ours, "status": "final", "mitigation": "Seen by a person."}, ours["id"])
    note = withdrawal_of(likely())
    for _ in range(2):
        receipt = fhir_rest.send(note, place)
        assert receipt.outcome is Outcome.REJECT
        assert receipt.detail.startswith("The server's RiskAssessment was changed by somebody else and still stands; the rest is ")
        assert "dicom-node deliveries leave" in receipt.detail
        assert {one["status"] for one in memory.resources["Observation"].values()} == {"entered-in-error"}
        assert [one["status"] for one in memory.resources["DiagnosticReport"].values()] == ["entered-in-error"]
        assert memory.resources["RiskAssessment"][ours["id"]] == theirs
    assert len(memory.transactions) == 2
    memory.put({**theirs, "status": "entered-in-error"}, ours["id"])
    assert fhir_rest.send(note, place).outcome is Outcome.DELIVERED


def test_an_observation_that_a_person_changed_and_the_newest_result_does_not_hold_is_told(server: Any) -> None:
    """It is left as it is, and the delivery is no plain success."""
    place, memory = server
    fhir_rest.send(report(1), place)
    seen = next(one for one in memory.resources["Observation"].values() if one["code"]["coding"][0]["display"] == "Abnormal")
    memory.put({**seen, "status": "final"}, seen["id"])
    receipt = fhir_rest.send(refusal(2), place)
    assert receipt.outcome is Outcome.WARNING
    assert "Observation was changed by somebody else and is left as it is" in receipt.detail
    assert memory.resources["Observation"][seen["id"]]["status"] == "final"


@pytest.mark.parametrize("kind", ["DiagnosticReport", "Observation"])
def test_a_report_that_a_person_changed_is_not_overwritten(server: Any, kind: str) -> None:
    """A version that we did not write last is feedback: the sending is parked and the server unchanged."""
    place, memory = server
    fhir_rest.send(report(1), place)
    changed = next(iter(memory.resources[kind].values()))
    memory.put({**changed, "status": "final"}, changed["id"])
    before = json.dumps(memory.resources, sort_keys=True)
    with pytest.raises(HttpFailure, match="changed by somebody else") as caught:
        fhir_rest.send(report(2), place)
    assert not caught.value.temporary
    assert json.dumps(memory.resources, sort_keys=True) == before


def test_the_radiologists_final_report_on_the_accession_is_unchanged_after_run_and_rerun(server: Any) -> None:
    """A RIS that holds the final report of the same order keeps it as it is."""
    place, memory = server
    order = {"type": "ServiceRequest", "identifier": {"value": "ACC-77001"}}
    final = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "basedOn": [order],
        "identifier": [{"system": "urn:ris", "value": "R1"}],
    }
    held = json.dumps(memory.put(final, "ris1"), sort_keys=True)
    fhir_rest.send(report(1), place)
    fhir_rest.send(report(2), place)
    assert json.dumps(memory.resources["DiagnosticReport"]["ris1"], sort_keys=True) == held
    assert len(memory.resources["DiagnosticReport"]) == 2


@pytest.mark.parametrize(
    ("status", "temporary"),
    [(500, True), (503, True), (409, True), (412, True), (429, True), (400, False), (401, False), (404, False), (422, False)],
)
def test_http_statuses_say_whether_to_try_again(status: int, temporary: bool) -> None:
    """Server trouble and conflicts are temporary, other refusals permanent; the answer's text is not repeated."""
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "processing", "diagnostics": "Doe^Jane"}],
    }

    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        return (200, EMPTY) if method == "GET" else (status, outcome)

    with http_peer(answer) as peer, pytest.raises(HttpFailure, match="processing") as caught:
        fhir_rest.send(report(), settings(peer.url))
    assert (caught.value.status, caught.value.temporary) == (status, temporary)
    assert "Doe" not in str(caught.value)


def test_an_entry_that_failed_inside_a_successful_answer_is_tried_again() -> None:
    """HTTP 200 for the whole is not success for every entry."""

    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        if method == "GET":
            return 200, EMPTY
        statuses = ["201" for _ in json.loads(body)["entry"]]
        statuses[-2] = "412"
        return 200, {"resourceType": "Bundle", "entry": [{"response": {"status": status}} for status in statuses]}

    with http_peer(answer) as peer, pytest.raises(PeerError, match="DiagnosticReport: status 412") as caught:
        fhir_rest.send(report(), settings(peer.url))
    assert caught.value.temporary


@pytest.mark.parametrize("told", [None, b"<html>", b"[]"])
def test_no_answer_or_garbage_is_tried_again(told: Any) -> None:
    """A closed connection and an answer that is no resource are temporary."""
    with http_peer(lambda method, path, body: (200, told)) as peer, pytest.raises(PeerError) as caught:
        fhir_rest.send(report(), settings(peer.url))
    assert caught.value.temporary


def test_a_server_that_is_down_or_slow_is_tried_again() -> None:
    """Refused connections and silence are temporary."""

    def slow(method: str, path: str, body: bytes) -> tuple[int, Any]:
        time.sleep(1)
        return 200, EMPTY

    with http_peer(slow) as peer, pytest.raises(PeerTimeout, match="in time"):
        fhir_rest.send(report(), settings(peer.url))
    with pytest.raises(PeerTimeout, match="cannot be reached"):
        fhir_rest.send(report(), settings(peer.url))


def test_the_base_path_and_the_token_go_with_every_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token comes from a file or the environment, is read at every attempt, and appears in no message."""
    token = tmp_path / "token"
    token.write_text("secret-1\n", encoding="utf-8")
    with http_peer(lambda method, path, body: (200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"})) as peer:
        place = settings(peer.url, token_file=token)
        assert fhir_rest.check(place, ()) == []
        token.write_text("secret-2", encoding="utf-8")
        fhir_rest.check(place, ())
        monkeypatch.setenv("FHIR_TOKEN", "secret-3")
        fhir_rest.check(settings(peer.url, token_env="FHIR_TOKEN"), ())
    assert [headers["Authorization"] for _, _, headers, _ in peer.requests] == [
        "Bearer secret-1",
        "Bearer secret-2",
        "Bearer secret-3",
    ]
    assert {path for _, path, _, _ in peer.requests} == {"/fhir/metadata"}
    assert "secret" not in fhir_rest.describe(place) + repr(place)
    token.unlink()
    (problem,) = fhir_rest.check(place, ())
    assert "token file cannot be read" in problem


def test_searches_name_identifiers_and_nothing_else(server: Any) -> None:
    """What is asked before writing are our own identifiers: no patient, no accession number stands in a URL."""
    searched = fhir_rest.searches(json.loads(report().data)).values()
    assert all(url.partition("?")[2].startswith("identifier=urn:oid:2.25.") for url in searched)
    assert not any(hidden in "".join(searched) for hidden in ("PID-0042", "ACC-77001"))


@pytest.mark.parametrize("url", ["ftp://a", "https://user:pass@host/r4", "host/r4", "https://host/r4?token=1"])
def test_a_base_url_with_secrets_or_without_a_host_is_refused(url: str) -> None:
    """Credentials never stand in the configuration."""
    with pytest.raises(ValidationError):
        settings(url)


def test_check_tells_another_fhir_version() -> None:
    """A server of R5 is named before anything is sent."""
    with http_peer(lambda method, path, body: (200, {"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"})) as peer:
        assert fhir_rest.check(settings(peer.url), ()) == ["The server speaks FHIR 5.0.0; this node sends R4 (4.0.1)."]


def test_an_artifact_is_a_fhir_transaction() -> None:
    """What is sent has the media type that the destination carries."""
    assert report().media_type == FHIR
    assert fhir_rest.MEDIA_TYPES == (FHIR,)


def test_a_report_goes_by_https_with_a_fetched_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mutual TLS with the FHIR server, a token of the authorization server, and another one when it is not taken any more."""
    monkeypatch.setattr(https, "_tokens", https._Tokens())
    pki = certificates(tmp_path)
    (tmp_path / "secret").write_text(SECRET)
    made, memory = _load("fhir_recorder").make_server()
    seen: list[str] = []
    plain = made.RequestHandlerClass

    class Guarded(plain):  # type: ignore[misc, valid-type]
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            seen.append(self.headers.get("Authorization", ""))
            if seen[-1].removeprefix("Bearer ") in tokens.good_tokens:
                return True
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_error(401)
            return False

    made.RequestHandlerClass = Guarded
    made.handle_error = lambda *_: None
    made.socket = pki.listener().wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        with token_server(pki.listener()) as tokens:
            place = fhir_rest.Settings(
                kind="fhir_rest",
                base_url=f"https://localhost:{made.server_address[1]}",
                timeout_seconds=5,
                tls={"ca": pki.pem("ca"), "certificate": pki.pem("node"), "private_key": pki.key("node")},
                oauth2={"token_url": f"{tokens.url}/token", "client_id": "node", "client_secret_file": tmp_path / "secret"},
            )
            assert fhir_rest.check(place, ()) == []
            assert fhir_rest.send(report(), place).outcome is Outcome.DELIVERED
            tokens.good_tokens.clear()
            assert fhir_rest.send(report(2), place).outcome is Outcome.DELIVERED
            assert tokens.tokens_given == ["token-0", "token-1"]
            tokens.token_answer = (401, {"error": "invalid_client"})
            tokens.good_tokens.clear()
            with pytest.raises(HttpFailure, match="gave no token") as caught:
                fhir_rest.send(report(3), place)
            assert caught.value.temporary
    finally:
        made.shutdown()
        made.server_close()
    assert len(memory.transactions) == 2
    assert all(header.startswith("Bearer token-") for header in seen)
    assert SECRET not in capsys.readouterr().out


def test_a_server_with_another_name_or_authority_gets_no_report(tmp_path: Path) -> None:
    """The name in the URL must be in the certificate; without a private authority the machine's own decide."""
    pki = certificates(tmp_path)
    pki.issue("other_name")
    with token_server(pki.listener("other_name", wants_certificate=False)) as server:
        place = fhir_rest.Settings(kind="fhir_rest", base_url=server.url, timeout_seconds=5, tls={"ca": pki.pem("ca")})
        with pytest.raises(TlsFailure, match="another name"):
            fhir_rest.send(report(), place)
        with pytest.raises(TlsFailure, match="not trusted here"):
            fhir_rest.send(report(), fhir_rest.Settings(kind="fhir_rest", base_url=server.url, timeout_seconds=5))
    assert server.authorizations == []
