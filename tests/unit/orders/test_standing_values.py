"""Which of several statements about a test hold: whatever the order in which they come, by FHIR and by messages."""

from __future__ import annotations

from itertools import permutations

import pytest

from dicom_node.core.identifiers import patient_key
from dicom_node.orders.laboratory import Changed, Value, keep_values, lab_keys, labs_standing
from dicom_node.orders.standing_values import Statement, Version, is_newer, standing
from dicom_node.orders.step import labs_of, newest_lab
from dicom_node.store.tables import lab_result
from tests.factories.hl7_messages import lab
from tests.unit.orders.conftest import Desk

SMEAR = "11545-1^LN"


@pytest.mark.parametrize(
    ("new", "known", "newer"),
    [
        # what the server says of its own versions counts before anything else
        (Version("F", None, 2.0), Version("W", None, 1.0), True),
        (Version("W", None, 1.0), Version("F", None, 2.0), False),
        (Version("C", 9.0, 1.0), Version("F", 5.0, 2.0), False),
        # equal, or missing on one side: when it was issued
        (Version("F", 6.0, 2.0), Version("C", 5.0, 2.0), True),
        (Version("C", 5.0, None), Version("F", 6.0, 2.0), False),
        # neither: a resource goes from final to corrected to taken back
        (Version("C", None, None), Version("F", 6.0, 2.0), True),
        (Version("F", None, None), Version("C", 6.0, 2.0), False),
        (Version("F", 6.0, 2.0), Version("C", 6.0, 2.0), False),
        (Version("W", None, 2.0), Version("C", 6.0, 2.0), True),
        (Version("C", None, None), Version("W", None, None), False),
        # the same status: the one that came last
        (Version("F", None, None), Version("F", None, None), True),
        (Version("C", 6.0, 2.0), Version("C", 6.0, 2.0), True),
    ],
)
def test_which_version_of_a_resource_counts(new: Version, known: Version, newer: bool) -> None:
    assert is_newer(new, known) is newer


def hl7(value: str, status: str = "F", stated: float | None = 1.0, message: float = 0.0) -> Statement:
    """A message's; ``message`` tells messages apart."""
    return Statement(0, SMEAR, value, "", status, 10.0, stated, message or hash((value, status, stated)), "hl7", "")


def fhir(value: str, status: str = "F", stated: float | None = 1.0) -> Statement:
    return Statement(0, SMEAR, value, "", status, 10.0, stated, 50.0, "fhir", f"ehr|Observation/{value or status}")


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ([hl7("1+"), hl7("2+", stated=2.0)], ["1+", "2+"]),  # of final values the one that was said last comes last
        ([hl7("1+", "C", 2.0), hl7("2+", stated=1.0)], ["1+"]),
        ([hl7("1+", "C", 1.0), hl7("2+", stated=2.0)], ["1+"]),  # a final value changes by a correction alone
        ([hl7("1+", "C", 1.0), hl7("2+", "C", 2.0), hl7("3+", stated=3.0)], ["2+"]),
        ([hl7("1+", "C", None), hl7("2+")], ["1+"]),
        ([hl7("1+", "C", 2.0), fhir("2+", stated=3.0)], ["1+"]),
        ([fhir("1+", "C", None), hl7("2+", stated=3.0)], ["1+"]),
        ([fhir("1+", "C", 4.0), hl7("2+", "C", 3.0)], ["1+"]),
        ([hl7("2+", "C", 5.0), fhir("1+", "C", 4.0)], ["2+"]),
        ([hl7("1+"), hl7("", "W", 2.0)], []),
        ([hl7("1+"), hl7("", "D", 1.0)], []),  # said at the same time: it was taken back
        ([hl7("1+"), hl7("", "W", 2.0), hl7("2+", stated=3.0)], ["2+"]),
        ([hl7("1+", "C"), hl7("", "W", 2.0), hl7("2+", stated=3.0)], ["2+"]),  # nor does what was taken back correct anything
        ([hl7("1+", stated=None), hl7("", "W", 2.0)], []),
        ([fhir("", "W", None), hl7("1+", stated=9.0)], []),  # nobody knows when: what is missing is told, what is wrong is not
        ([fhir("", "W", 2.0), hl7("1+", stated=1.0), hl7("2+", stated=3.0)], ["2+"]),
        # one message may take back and give another, and may have several values
        ([hl7("", "W", 2.0, message=7.0), hl7("2+", "F", 2.0, message=7.0), hl7("1+")], ["2+"]),
        ([hl7("a", "C", 2.0, message=7.0), hl7("b", "C", 2.0, message=7.0), hl7("1+")], ["a", "b"]),
    ],
)
def test_what_holds_does_not_depend_on_the_order_of_arrival(said: list[Statement], values: list[str]) -> None:
    for order in permutations(said):
        numbered = [one._replace(number=number) for number, one in enumerate(order, start=1)]
        found = [one.value for one in standing(numbered)]
        assert (sorted(found) if values == ["a", "b"] else found) == values, order


def test_other_tests_and_other_times_are_left_alone_and_the_newest_comes_last() -> None:
    other = hl7("4+")._replace(code="543-9^LN", observed_utc=30.0, number=1)
    later = hl7("3+")._replace(observed_utc=20.0, number=2)
    found = standing([other, later, hl7("1+")._replace(number=3), hl7("", "W", 9.0)._replace(number=4)])
    assert [one.value for one in found] == ["3+", "4+"]


def test_of_the_same_time_the_correction_that_came_last_counts() -> None:
    pair = [hl7("1+", "C")._replace(number=1), hl7("2+", "C")._replace(number=2)]
    assert [one.value for one in standing(pair)] == ["2+"]
    assert [one.value for one in standing([pair[0]._replace(number=3), pair[1]])] == ["1+"]


def keep(desk: Desk, resource: str, value: str, status: str, version: float | None, patient: str = "P1") -> tuple[Changed, ...]:
    with desk.database.begin() as connection:
        key = patient_key(patient) if patient else ""
        values = [Value(SMEAR, value, "", status, 1.0)]
        return keep_values(connection, key, values, now_utc=5.0, source="fhir", resource=resource, version_utc=version)


def test_an_older_version_never_overwrites_a_newer_one(desk: Desk) -> None:
    """Pushed in any order: the corrected value stays corrected, what was taken back stays away."""
    for number, order in enumerate(permutations([("2+", "F", 1.0), ("3+", "C", 2.0), ("1+", "C", 3.0)])):
        patient = f"C{number}"
        for value, status, version in order:
            keep(desk, f"ehr|Observation/c{number}", value, status, version, patient)
        assert [one.value for one in desk.ask(labs_of, patient)] == ["1+"], order
    for number, order in enumerate(permutations([("2+", "F", 1.0), ("3+", "C", 2.0), ("", "W", 3.0)])):
        patient = f"W{number}"
        for value, status, version in order:
            keep(desk, f"ehr|Observation/w{number}", value, status, version, patient)
        assert desk.ask(labs_of, patient) == [], order


def test_a_version_with_the_same_value_is_remembered_and_changes_nothing(desk: Desk) -> None:
    """Somebody added a comment: an older version that comes after it is older all the same."""
    keep(desk, "ehr|Observation/1", "2+", "F", 1.0)
    assert keep(desk, "ehr|Observation/1", "2+", "F", 3.0) == ()
    assert keep(desk, "ehr|Observation/1", "3+", "C", 2.0) == ()
    (changed,) = keep(desk, "ehr|Observation/1", "1+", "C", 4.0)
    assert [(one.value, one.corrected) for one in changed.gone] == [("2+", True)]
    assert changed.came == frozenset()


def test_a_version_that_is_nobodys_takes_it_from_whom_it_was_said_of(desk: Desk) -> None:
    """And an older version that comes later does not give it back; of a resource that nobody ever was told of no row is written."""
    assert keep(desk, "ehr|Observation/9", "2+", "F", 1.0, patient="") == ()
    assert desk.rows(lab_result) == []
    keep(desk, "ehr|Observation/1", "2+", "F", 1.0)
    (changed,) = keep(desk, "ehr|Observation/1", "3+", "F", 3.0, patient="")
    assert (changed.patient, [one.corrected for one in changed.gone]) == ("p1|", [False])
    keep(desk, "ehr|Observation/1", "2+", "F", 2.0)
    assert desk.ask(labs_of, "P1") == []
    assert "3+" not in {row.value for row in desk.rows(lab_result)}


def test_what_a_run_had_read_stays_readable_as_it_was(desk: Desk) -> None:
    """A step that begins again after a kill reads the same, though the value was corrected, or taken back, meanwhile."""
    keep(desk, "ehr|Observation/1", "2+", "F", 1.0)
    desk.take(lab("543-9^Culture^LN", "1^M. avium^SCT", "F"))
    until = desk.ask(newest_lab)
    keep(desk, "ehr|Observation/1", "3+", "C", 2.0)
    desk.take(lab("543-9^Culture^LN", "", "W"))
    assert [one.value for one in desk.ask(labs_of, "P1", "", until)] == ["2+", "1^M. avium^SCT"]
    assert [one.value for one in desk.ask(labs_of, "P1")] == ["3+"]


def test_messages_and_resources_about_one_test(desk: Desk) -> None:
    """A correction by HL7 is not undone by the final value that a FHIR server still has, nor by a message that is sent again."""
    at, when = "19700101000001", 1.0
    desk.take(lab("11545-1^Smear^LN", "3+", "C", at=at, kind="ST"))
    keep(desk, "ehr|Observation/1", "2+", "F", 9e9)
    desk.take(lab("11545-1^Smear^LN", "2+", "F", at=at, kind="ST"))
    assert [(one.value, one.observed_utc) for one in desk.ask(labs_of, "P1")] == [("3+", when)]
    keep(desk, "ehr|Observation/2", "1+", "C", None)
    keep(desk, "ehr|Observation/3", "", "W", 9e9)
    assert desk.ask(labs_of, "P1") == []
    desk.take(lab("11545-1^Smear^LN", "3+", "C", at=at, kind="ST"))  # the engine sends it once more
    assert desk.ask(labs_of, "P1") == []
    keys = desk.ask(lab_keys, "P1")
    assert [one.value for one in desk.ask(labs_standing, keys, 1)] == ["3+"]


def test_obr_22_says_when_it_was_said(desk: Desk) -> None:
    """Two final values of one test, the later one first."""

    def stated(value: str, at: str) -> bytes:
        made = lab("11545-1^Smear^LN", value, "F", kind="ST").decode()
        head, obr, rest = made.partition("OBR|1")
        fields = (obr + rest).split("\r")[0].split("|")
        fields[22] = at
        return (head + "|".join(fields) + "\r" + "\r".join((obr + rest).split("\r")[1:])).encode()

    desk.take(stated("3+", "20260103"), stated("1+", "20260102"))
    assert [one.value for one in desk.ask(labs_of, "P1")] == ["1+", "3+"]
