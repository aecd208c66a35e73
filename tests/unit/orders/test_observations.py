"""Observations of a laboratory by FHIR: what each says, whose it is, and what keeping several versions leaves."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from dicom_node.core.identifiers import patient_key
from dicom_node.orders.laboratory import Value, keep_values
from dicom_node.orders.observations import (
    code_tokens,
    escaped,
    is_number,
    names_another,
    patients_of,
    subject_within,
    times_of,
    values_of,
)
from dicom_node.orders.step import lab_keys, labs_of
from tests.factories.hl7_messages import adt, lab, merge
from tests.unit.orders.conftest import Desk

LOINC = "http://loinc.org"
SYSTEM = "urn:oid:1.2.3"
ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))
SMEAR = "11545-1^LN"


def observation(**elements: Any) -> dict[str, Any]:
    made = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "11545-1"}]},
        "effectiveDateTime": "2026-11-01T08:00:00+05:30",
        "valueString": "2+",
        **elements,
    }
    return {name: value for name, value in made.items() if value is not None}


def moment(*numbers: int) -> float:
    return dt.datetime(*numbers, tzinfo=ZONE).timestamp()  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("elements", "value"),
    [
        ({"valueString": " 2+ "}, "2+"),
        ({"valueString": None, "valueInteger": 3}, "3"),
        ({"valueString": None, "valueQuantity": {"value": 2.0, "unit": "+"}}, "2"),
        ({"valueString": None, "valueQuantity": {"value": 1, "comparator": "<"}}, "<1"),
        ({"valueString": None, "valueCodeableConcept": {"text": "Mycobacterium kansasii"}}, "^Mycobacterium kansasii"),
        (
            {
                "valueString": None,
                "valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "1", "display": "M. avium"}]},
            },
            "1^M. avium^SCT",
        ),
    ],
)
def test_each_kind_of_value_is_read_as_messages_have_it(elements: dict[str, Any], value: str) -> None:
    (one,) = values_of(observation(**elements), ZONE) or ()
    assert (one.code, one.value, one.status) == (SMEAR, value, "F")
    assert one.observed_utc == moment(2026, 11, 1, 8)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("final", "F"), ("corrected", "C"), ("amended", "C"), ("entered-in-error", "W"), ("cancelled", "W")]
    + [(status, None) for status in ("preliminary", "registered", "unknown", "", "FINAL", None)],
)
def test_only_what_is_final_counts_and_what_is_taken_back_goes(status: str | None, expected: str | None) -> None:
    found = values_of(observation(status=status), ZONE)
    assert (found[0].status if found else found) == expected


def test_a_final_version_without_a_value_says_that_there_is_none() -> None:
    found = values_of(observation(valueString=None, dataAbsentReason={"text": "lost"}), ZONE)
    assert found == (Value("", "", "", "F", None),)


@pytest.mark.parametrize(
    ("elements", "stated", "version"),
    [
        ({}, None, None),
        ({"issued": "2026-11-02T08:00:00+05:30"}, 2, None),
        ({"meta": {"lastUpdated": "2026-11-03T08:00:00+05:30"}}, 3, 3),
        ({"issued": "2026-11-02T08:00:00+05:30", "meta": {"lastUpdated": "2026-11-03T08:00:00+05:30"}}, 2, 3),
        ({"issued": "2026-11-02T08:00:00+05:30", "status": "entered-in-error"}, None, None),
        ({"issued": "2026-11-02", "meta": {"lastUpdated": "2026-11-03T08:00:00+05:30"}, "status": "cancelled"}, 3, 3),
        ({"issued": "lately", "meta": {"lastUpdated": 17}}, None, None),
        ({"meta": "lost"}, None, None),
    ],
)
def test_when_it_was_said_and_which_version_it_is(elements: dict[str, Any], stated: int | None, version: int | None) -> None:
    """What was issued may be the value that is taken back."""
    found = times_of(observation(**elements), ZONE)
    assert found == tuple(None if day is None else moment(2026, 11, day, 8) for day in (stated, version))


@pytest.mark.parametrize(
    ("elements", "at"),
    [
        ({"effectiveDateTime": "2026-11-01"}, moment(2026, 11, 1, 12)),
        ({"effectiveDateTime": None, "effectivePeriod": {"start": "2026-11-01T08:00:00Z"}}, moment(2026, 11, 1, 13, 30)),
        ({"effectiveDateTime": None, "issued": "2026-11-02T00:00:00.123+05:30"}, moment(2026, 11, 2) + 0.123),
        ({"effectiveDateTime": "2026-11"}, None),
        ({"effectiveDateTime": "yesterday at noon"}, None),
        ({"effectiveDateTime": None}, None),
    ],
)
def test_when_it_was_observed(elements: dict[str, Any], at: float | None) -> None:
    (one,) = values_of(observation(**elements), ZONE) or ()
    assert one.observed_utc == pytest.approx(at)


def test_every_coding_with_a_system_is_a_code() -> None:
    codings = [{"system": LOINC, "code": "11545-1"}, {"system": "http://lab.example/tests", "code": "AFB"}, {"code": "AFB"}, "AFB"]
    found = values_of(observation(code={"coding": codings}), ZONE) or ()
    assert [one.code for one in found] == [SMEAR, "AFB^http://lab.example/tests"]
    assert code_tokens([one.code for one in found]) == f"{LOINC}|11545-1,http://lab.example/tests|AFB"
    assert code_tokens(["AFB^L"]) == ""
    assert escaped("a,b|c$d\\e") == "a\\,b\\|c\\$d\\\\e"


def test_text_that_no_database_keeps_is_refused() -> None:
    for text in ("2+\0", "\ud800"):
        with pytest.raises(ValueError, match=r"NUL|surrogates"):
            values_of(observation(valueString=text), ZONE)


PATIENT = {
    "resourceType": "Patient",
    "id": "9",
    "identifier": [
        {"system": "urn:oid:9.9", "value": "P1"},
        {"system": SYSTEM, "value": "OLD", "use": "old"},
        {"system": SYSTEM, "value": "P7"},
        {"value": "P8"},
    ],
}


def test_a_patient_is_known_by_an_identifier_of_a_named_system_alone() -> None:
    (found,) = patients_of(PATIENT, {SYSTEM: "HOSP"})
    assert found.key == patient_key("P7", "HOSP")
    assert patients_of(PATIENT, {"urn:oid:5": ""}) == ()
    assert patients_of({"identifier": {"system": SYSTEM, "value": "P7"}}, {SYSTEM: ""}) == ()
    assert is_number(PATIENT, SYSTEM, " p7")
    assert not is_number(PATIENT, SYSTEM, "P8")
    assert not is_number(PATIENT, SYSTEM, "P1")


def test_the_subject_is_contained_or_came_along_or_is_an_identifier() -> None:
    contained = observation(subject={"reference": "#p"}, contained=[{**PATIENT, "id": "p"}])
    assert subject_within(contained) is not None
    along = observation(subject={"reference": "http://server/fhir/Patient/9/_history/2"})
    assert subject_within(along) is None
    assert subject_within(along, [PATIENT]) == PATIENT
    assert subject_within(along, [{**PATIENT, "id": "10"}]) is None
    logical = observation(subject={"identifier": {"system": SYSTEM, "value": "P7"}})
    assert patients_of(subject_within(logical) or {}, {SYSTEM: ""})[0].key == patient_key("P7")
    assert subject_within(observation()) is None
    assert subject_within(observation(subject={"reference": "Group/1"})) is None


def test_an_identifier_beside_the_reference_must_not_name_somebody_else() -> None:
    numbers = patients_of(PATIENT, {SYSTEM: ""})
    for value, another in (("P7", False), ("P9", True)):
        told = observation(subject={"reference": "Patient/9", "identifier": {"system": SYSTEM, "value": value}})
        assert names_another(told, numbers, {SYSTEM: ""}) is another


def test_versions_of_one_resource_replace_each_other_whoever_they_are_about(desk: Desk) -> None:
    def keep(patient: str, value: str, status: str = "F") -> list[tuple[str, list[str], list[bool]]]:
        values = [Value(SMEAR, value, "", status, 1.0)]
        with desk.database.begin() as connection:
            key = patient_key(patient)
            found = keep_values(connection, key, values, now_utc=5.0, source="fhir", resource="ehr|Observation/1")
            return [(one.patient, sorted(one.came), [gone.corrected for gone in one.gone]) for one in found]

    def held(patient: str) -> list[tuple[str, str]]:
        return [(one.value, one.source) for one in desk.ask(labs_of, patient)]

    assert keep("P1", "2+") == [("p1|", [SMEAR], [])]
    number = desk.ask(labs_of, "P1")[0].number
    assert keep("P1", "2+") == []
    assert desk.ask(labs_of, "P1")[0].number == number  # the very same adds nothing
    assert keep("P1", "3+", "C") == [("p1|", [], [True])]
    assert held("P1") == [("3+", "fhir")]
    assert keep("P2", "3+", "C") == [("p1|", [], [False]), ("p2|", [SMEAR], [])]  # it had been somebody else's
    assert (held("P1"), held("P2")) == ([], [("3+", "fhir")])
    assert keep("P2", "", "W") == [("p2|", [], [False])]
    assert held("P2") == []
    assert keep("P2", "3+", "C") == []  # an older version that was late, as far as anybody can tell
    assert held("P2") == []


def test_values_of_a_number_that_two_hospitals_gave_are_nobodys(desk: Desk) -> None:
    """As the messages know it: until an issuer tells them apart, or a merge makes them one."""
    for authority in ("HOSP", "OTHER"):
        desk.take(adt("A08", "P1", authority=authority))
    with desk.database.begin() as connection:
        keep_values(connection, patient_key("P1", "OTHER"), [Value(SMEAR, "2+", "", "F", 1.0)], now_utc=1.0)
    assert desk.ask(labs_of, "P1") == []
    assert desk.ask(lab_keys, "P1", "as no message spells it") == set()
    assert [one.value for one in desk.ask(labs_of, "P1", "OTHER")] == ["2+"]
    assert desk.ask(labs_of, "P1", "HOSP") == []
    desk.take(merge("P2", "P3"), lab(SMEAR.replace("^", "^Smear^"), "1+", "F", patient="P2", kind="ST"))
    assert [one.value for one in desk.ask(labs_of, "P3")] == ["1+"]
