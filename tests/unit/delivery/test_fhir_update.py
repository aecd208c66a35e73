"""What a transaction becomes on a server that may hold earlier versions."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.core.fhir_names import RUN_SYSTEM
from dicom_node.delivery.fhir_update import (
    ChangedBySomebodyElse,
    SeveralHaveOurIdentifier,
    answered,
    changed_beside,
    fitted,
    not_written,
    searches,
    still_standing,
    withdrawn,
    written_by_us,
)

Json = dict[str, Any]


def bundle(status: str = "partial") -> Json:
    report = {
        "resourceType": "DiagnosticReport",
        "status": status,
        "subject": {"reference": "urn:uuid:1"},
        "result": [{"reference": "urn:uuid:2"}],
    }
    return {
        "entry": [
            {"fullUrl": "urn:uuid:3", "resource": report, "request": {"method": "PUT", "url": "DiagnosticReport?identifier=a|b"}}
        ]
    }


def stored(sent: Json, version: str = "7", **changes: Any) -> Json:
    """Return what a server makes of the first entry: id, version, narrative, rewritten references."""
    resource = sent["entry"][0]["resource"]
    meta = {**resource["meta"], "versionId": version}
    linked = {"subject": {"reference": "Patient/1"}, "result": [{"reference": "Observation/5"}], "text": {"status": "generated"}}
    return {**resource, **linked, "id": "42", "meta": meta, **changes}


def first(made: Json | None) -> Json:
    assert made is not None
    entry: Json = made["entry"][0]
    return entry


def test_a_resource_that_is_new_to_the_server_is_created_only_if_nobody_was_faster() -> None:
    """A new resource is a conditional create, which never overwrites."""
    assert searches(bundle()) == {0: "DiagnosticReport?identifier=a|b"}
    assert first(fitted(bundle(), {0: []}))["request"] == {
        "method": "POST",
        "url": "DiagnosticReport",
        "ifNoneExist": "identifier=a|b",
    }


def test_our_own_version_is_updated_with_if_match() -> None:
    """A known resource is updated under its id, and only if it is still the version that was read."""
    there = stored(fitted(bundle(), {0: []}) or {})
    assert written_by_us(there)
    entry = first(fitted(bundle("preliminary"), {0: [there]}))
    assert entry["request"] == {"method": "PUT", "url": "DiagnosticReport/42", "ifMatch": 'W/"7"'}
    assert entry["resource"]["id"] == "42"


@pytest.mark.parametrize("change", [{"status": "final"}, {"resultsInterpreter": [{"display": "Dr. X"}]}, {"result": []}])
def test_a_version_that_somebody_else_changed_is_never_overwritten(change: Json) -> None:
    """Any change of content by another hand is feedback, even if it left our tag in place."""
    there = stored(fitted(bundle(), {0: []}) or {}, **change)
    with pytest.raises(ChangedBySomebodyElse):
        fitted(bundle("preliminary"), {0: [there]})


def test_a_resource_without_our_tag_is_never_overwritten() -> None:
    """Somebody else's resource under our identifier is left alone."""
    there = stored(fitted(bundle(), {0: []}) or {})
    there["meta"].pop("tag")
    with pytest.raises(ChangedBySomebodyElse):
        fitted(bundle(), {0: [there]})


def test_a_lost_answer_makes_no_second_version() -> None:
    """When the server already holds this content nothing is written again."""
    there = stored(fitted(bundle(), {0: []}) or {})
    assert fitted(bundle(), {0: [there]}) is None


def test_two_resources_with_our_identifier_stop_the_sending() -> None:
    """It is not guessed which one is meant."""
    there = stored(fitted(bundle(), {0: []}) or {})
    with pytest.raises(SeveralHaveOurIdentifier):
        fitted(bundle(), {0: [there, there]})


@pytest.mark.parametrize(
    ("statuses", "problems"),
    [(["201"], 0), (["201 Created"], 0), (["412"], 1), (["200"], 1), ([], 1)],
    ids=lambda value: str(value),
)
def test_a_failed_entry_inside_a_successful_answer_is_noticed(statuses: list[str], problems: int) -> None:
    """Success is what every entry says; a create that found somebody else's resource is none."""
    sent = fitted(bundle(), {0: []}) or {}
    assert len(not_written(sent, {"entry": [{"response": {"status": status}} for status in statuses]})) == problems


def test_a_withdrawal_creates_nothing() -> None:
    """A server that holds nothing of the result is left alone."""
    assert withdrawn(bundle("entered-in-error"), {0: []}) is None


def test_a_withdrawal_leaves_out_what_the_server_does_not_hold() -> None:
    """An observation that somebody deleted is neither made again nor referred to."""
    sent = fitted(bundle(), {0: []})
    assert sent is not None
    note = bundle("entered-in-error")
    gone = {"resourceType": "Observation", "status": "entered-in-error"}
    note["entry"].append(
        {"fullUrl": "urn:uuid:2", "resource": gone, "request": {"method": "PUT", "url": "Observation?identifier=c|d"}}
    )
    made = withdrawn(note, {0: [stored(sent)], 1: []})
    assert made is not None
    (entry,) = made["entry"]
    assert entry["request"] == {"method": "PUT", "url": "DiagnosticReport/42", "ifMatch": 'W/"7"'}
    assert entry["resource"]["status"] == "entered-in-error"
    assert "result" not in entry["resource"]


def test_a_withdrawal_leaves_what_somebody_else_changed_beside_the_report_and_still_refers_to_it() -> None:
    note = bundle("entered-in-error")
    seen = {"resourceType": "Observation", "status": "entered-in-error"}
    note["entry"].append(
        {"fullUrl": "urn:uuid:2", "resource": seen, "request": {"method": "PUT", "url": "Observation?identifier=c|d"}}
    )
    theirs = {"resourceType": "Observation", "id": "5", "status": "final"}
    held = {0: [stored(fitted(bundle(), {0: []}) or {})], 1: [theirs]}
    with pytest.raises(ChangedBySomebodyElse):
        withdrawn(note, held)
    assert changed_beside(note, held) == {1: theirs}
    made = withdrawn(note, held, (), changed_beside(note, held))
    assert made is not None
    (entry,) = made["entry"]
    assert entry["resource"]["result"] == [{"reference": "Observation/5"}]
    assert still_standing([theirs]) == ["Observation"]
    assert still_standing([{**theirs, "status": "cancelled"}]) == []


def test_a_withdrawal_never_overwrites_a_persons_version() -> None:
    """It is feedback first."""
    sent = fitted(bundle(), {0: []})
    assert sent is not None
    with pytest.raises(ChangedBySomebodyElse):
        withdrawn(bundle("entered-in-error"), {0: [stored(sent, status="final")]})


def of_run(run_key: str, **said: Any) -> Json:
    """Return a transaction of one run."""
    made = bundle()
    made["entry"][0]["resource"] |= {"identifier": [{"system": RUN_SYSTEM, "value": run_key}], **said}
    return made


def test_an_answer_updates_the_run_that_it_is_about_and_creates_nothing() -> None:
    """The same run: a new version with If-Match. Nothing there: nothing is made. A later run there, or a person: it stays."""
    told = of_run("rn_1", conclusion="ANSWER")
    there = stored(fitted(of_run("rn_1"), {0: []}) or {})
    assert first(answered(told, {0: [there]}))["request"] == {"method": "PUT", "url": "DiagnosticReport/42", "ifMatch": 'W/"7"'}
    assert answered(told, {0: []}) is None
    for other in (stored(fitted(of_run("rn_2"), {0: []}) or {}), {**there, "status": "final"}):
        with pytest.raises(ChangedBySomebodyElse):
            answered(told, {0: [other]})
