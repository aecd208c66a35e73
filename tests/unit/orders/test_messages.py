"""What each kind of message changes in what the node knows, and what it leaves alone."""

from __future__ import annotations

import dataclasses

import pytest

from dicom_node.core import codes
from dicom_node.core.identifiers import patient_key
from dicom_node.orders.settings import OrdersSettings
from dicom_node.orders.step import labs_of, order_of, patient_now
from dicom_node.store import tables
from tests.factories.hl7_messages import adt, imaging_order, lab, merge, message, pid, report
from tests.unit.orders.conftest import Desk


@pytest.mark.parametrize("event", ["A01", "A04", "A05", "A08", "A28", "A31"])
def test_birth_date_and_sex_are_known(desk: Desk, event: str) -> None:
    """Registration and update; the header needs no issuer to be found."""
    assert desk.take(adt(event, "P1", birth="19700203", sex="F", authority="HOSP&1.2.3&ISO")) == ["AA"]
    for issuer in ("", "HOSP"):
        known = desk.ask(patient_now, " p1 ", issuer)
        assert (known.birth_date.reveal(), known.sex, known.merged_into) == ("19700203", "F", "")
    assert desk.ask(patient_now, "P1", "as no message spells it") is not None
    desk.take(adt(event, "P2", birth="19700203", authority="OTHER"))
    assert desk.ask(patient_now, "P1", "OTHER") is None
    assert desk.ask(patient_now, "P", "") is None
    assert desk.ask(patient_now, "", "") is None


def test_what_is_not_said_stays_and_what_is_null_goes(desk: Desk) -> None:
    """An empty field, a date that is none and a placeholder change nothing; the HL7 null forgets."""
    desk.take(adt("A08", "P1", birth="197002030405", sex="M"))
    desk.take(adt("A08", "P1"), adt("A08", "P1", birth="19001301", sex="?"), adt("A08", "P1", birth="19000101"))
    known = desk.ask(patient_now, "P1")
    assert (known.birth_date.reveal(), known.sex) == ("19700203", "M")
    desk.take(adt("A08", "P1", birth='""'))
    assert desk.ask(patient_now, "P1").birth_date.reveal() == ""


def test_numbers_of_other_kinds_are_no_patient_numbers(desk: Desk) -> None:
    """A social security number is not what images carry, unless nothing else is there; an authority may be named."""
    numbers = "123^^^SOC^SS~P1^^^HOSP^MR~77^^^OTHER^MR"
    one = message("ADT^A08", f"PID|1||{numbers}||X||19700203|F")
    desk.take(one)
    assert [desk.ask(patient_now, number) is not None for number in ("123", "P1", "77")] == [False, True, True]
    desk.settings = OrdersSettings(patient_id_authority="HOSP")
    desk.take(message("ADT^A08", f"PID|1||{numbers.replace('P1', 'P2').replace('77', '88')}||X||19700203|F"))
    assert [desk.ask(patient_now, number, "what the image says") is not None for number in ("P2", "88")] == [True, False]


@pytest.mark.parametrize("event", ["A18", "A34", "A36", "A39", "A40", "A46", "A47"])
def test_a_merge_leads_to_the_survivor(desk: Desk, event: str) -> None:
    """Every event by which MRG-1 is a patient no longer."""
    assert desk.take(merge("P1", "P2", event=event, authority="HOSP")) == ["AA"]
    assert desk.ask(patient_now, "P1").merged_into.reveal() == patient_key("P2", "HOSP")
    assert desk.ask(patient_now, "P2").merged_into.reveal() == ""
    assert [(m.prior, m.survivor) for m in desk.merges] == [(patient_key("P1", "HOSP"), patient_key("P2", "HOSP"))]


def test_chains_and_turns_of_merges(desk: Desk) -> None:
    """A into B into C is C for both; the way back makes A the survivor again, and nothing goes round in a circle."""
    desk.take(merge("A", "B"), merge("B", "C"))
    assert [desk.ask(patient_now, p).merged_into.reveal() for p in "ABC"] == ["c|", "c|", ""]
    desk.take(merge("C", "A"))
    assert [desk.ask(patient_now, p).merged_into.reveal() for p in "ABC"] == ["", "a|", "a|"]


def test_several_merges_in_one_message_and_a_merge_with_itself(desk: Desk) -> None:
    """A40 may repeat PID and MRG."""
    desk.take(message("ADT^A40", "EVN|A40", pid("B"), "MRG|A", pid("D"), "MRG|C^^^^MR"))
    assert [desk.ask(patient_now, p).merged_into.reveal() for p in "AC"] == ["b|", "d|"]
    assert desk.take(merge("E", "E")) == ["AA"]
    assert desk.ask(patient_now, "E").merged_into.reveal() == ""
    assert len(desk.merges) == 2


def test_a_visit_that_moves_is_no_merge(desk: Desk) -> None:
    """A35, A41, A44 and A45 move accounts and visits; the patients stay two."""
    for event in ("A35", "A41", "A44", "A45", "A24", "A37"):
        assert desk.take(merge("P1", "P2", event=event)) == ["AA"]
    assert desk.ask(patient_now, "P1") is None


@pytest.mark.parametrize(
    "broken", [message("ADT^A40", pid("B")), message("ADT^A40", pid(""), "MRG|A"), message("ADT^A08", "EVN|A08")]
)
def test_a_message_that_names_nobody_is_refused(desk: Desk, broken: bytes) -> None:
    """AR, with a reason; nothing is known of anybody."""
    assert desk.take(broken) == ["AR"]
    assert desk.rows(tables.patient) == []
    (row,) = desk.rows(tables.message)
    assert row.state == "refused"
    assert row.text


@pytest.mark.parametrize(
    ("values", "priority"),
    [
        ({"tq1": "S^STAT^HL70485"}, "stat"),
        ({"obr27": "^^^^^A"}, "urgent"),
        ({"obr27": "STAT"}, "stat"),
        ({"obr27": "^^^^^R", "tq1": "S"}, "stat"),
        ({"obr27": "^^^^^R"}, "routine"),
        ({"tq1": "whenever"}, ""),
        ({}, ""),
    ],
)
def test_priority_of_an_order(desk: Desk, values: dict[str, str], priority: str) -> None:
    """TQ1-9 and OBR-27, in letters and words; what is not said is empty."""
    desk.take(imaging_order("ACC1", **values))
    known = desk.ask(order_of, "ACC1")
    assert (known.priority, known.report_final, known.procedure) == (priority, False, "Chest radiograph")


def test_reason_and_cancellation_of_an_order(desk: Desk) -> None:
    """A later message adds what it says and takes nothing away; a cancelled order changes nothing."""
    desk.take(imaging_order("ACC1", tq1="S", reason="R05^Cough~Fever, 3 \\T\\ more weeks"), imaging_order("ACC1"))
    desk.take(imaging_order("ACC1", control="CA", tq1="R"), imaging_order("", tq1="S"))
    known = desk.ask(order_of, "ACC1")
    assert (known.priority, known.indication.reveal()) == ("stat", "Cough; Fever, 3 & more weeks")
    assert [row.state for row in desk.rows(tables.message)] == ["applied", "applied", "ignored", "ignored"]


def test_each_order_of_a_message_has_its_own_accession_number(desk: Desk) -> None:
    """OMI^O23 with two orders, and a site whose RIS writes the number into OBR-3."""
    two = [
        "ORC|NW",
        "TQ1|1||||||||S",
        "OBR|1|A|F1|X^Chest^L",
        "IPC|ACC1",
        "ORC|NW",
        "TQ1|1||||||||R",
        "OBR|2|B|F2|Y^Hand^L",
        "IPC|ACC2",
    ]
    desk.take(message("OMI^O23", pid("P1"), *two))
    assert [desk.ask(order_of, number).priority for number in ("ACC1", "ACC2")] == ["stat", "routine"]
    desk.settings = OrdersSettings(accession_fields=("OBR-3",))
    desk.take(message("ORM^O01", pid("P1"), "ORC|NW", "OBR|1|A|F1|X", "OBR|2|B|F2|Y"))
    assert [desk.ask(order_of, number).procedure for number in ("F1", "F2")] == ["X", "Y"]


def test_an_order_of_another_patient_with_the_same_number_is_none(desk: Desk) -> None:
    """Two RIS give the same accession number; a merged patient is the same."""
    desk.take(imaging_order("ACC1", patient="P1", tq1="S"), merge("P1", "P2"))
    found = [desk.ask(order_of, "ACC1", number) is not None for number in ("P1", "P2", "P3", "")]
    assert found == [True, True, False, True]


def test_the_report_of_the_ris(desk: Desk) -> None:
    """Preliminary, final, corrected; an older message does not turn a final report back."""
    states = []
    for status, at in (("P", "20260101"), ("F", "20260103"), ("P", "20260102"), ("C", "20260104")):
        desk.take(report("ACC1", status, at=at))
        known = desk.ask(order_of, "ACC1")
        states.append((known.report_status, known.report_final))
    assert states == [("P", False), ("F", True), ("F", True), ("C", True)]


def test_our_own_message_echoed_is_nothing(desk: Desk) -> None:
    """By sender, by our code for the result, by the MSH-10 of a message that this node made: no report, no value."""
    own_code = f"{codes.AI_RESULT.value}^AI^{codes.AI_RESULT.scheme}"
    desk.take(report("ACC1", "F").replace(b"RIS|HOSP", b"AINODE|X"), report("ACC2", "F", code=own_code))
    with desk.database.begin() as connection:
        run = {
            "run_key": "r",
            "study_key": "s",
            "pipeline": "p",
            "rule": "r",
            "revision": 1,
            "state": "x",
            "request": {},
            "requested_utc": 0.0,
        }
        study = {"study_key": "s", "study_instance_uid": "1", "state": "x", "first_received_utc": 0.0, "last_received_utc": 0.0}
        connection.execute(tables.study.insert().values(**study, ceiling_utc=0.0))
        connection.execute(tables.run.insert().values(**run))
        made = {"artifact_id": "a", "run_key": "r", "role": "oru_message", "storage_key": "x", "sha256": "x"}
        connection.execute(tables.artifact.insert().values(**made, media_type="x-application/hl7-v2+er7", identifier="M7"))
    desk.take(
        report("ACC3", "F").replace(b"|P|2.5.1", b"|P|2.5.1"), message("ORU^R01", "OBR|1" + "|" * 17 + "ACC3", control_id="M7")
    )
    assert [desk.ask(order_of, number) is not None for number in ("ACC1", "ACC2")] == [False, False]
    assert [row.state for row in desk.rows(tables.message)] == ["ignored", "ignored", "applied", "ignored"]


def test_laboratory_values(desk: Desk) -> None:
    """Final ones are kept with their LOINC code, preliminary ones are not; a correction replaces, a withdrawal removes."""
    desk.take(
        lab("543-9^Culture^LN", "113861009^M. tuberculosis^SCT", "F"),
        lab("543-9^Culture^LN", "113861009^M. tuberculosis^SCT", "P", at="20260105"),
        lab("1988-5^CRP^LN", "12.5", "F", kind="NM"),
        lab("no scheme", "1", "F"),
        lab("18782-3^Report^LN", "text", "F", section="RAD"),
    )
    assert [(r.code, r.value, r.status) for r in desk.ask(labs_of, "P1")] == [
        ("543-9^LN", "113861009^M. tuberculosis^SCT", "F"),
        ("1988-5^LN", "12.5", "F"),
    ]
    desk.take(lab("543-9^Culture^LN", "264868006^No growth^SCT", "C"), lab("1988-5^CRP^LN", "", "W", kind="NM"))
    assert [(r.value, r.status) for r in desk.ask(labs_of, "P1")] == [("264868006^No growth^SCT", "C")]


def test_laboratory_values_follow_a_merge(desk: Desk) -> None:
    """Values of the record that is gone are the survivor's; nobody else's are."""
    desk.take(lab("543-9^C^LN", "1^a^SCT", "F", patient="P1"), lab("543-9^C^LN", "2^b^SCT", "F", patient="P3"), merge("P1", "P2"))
    assert [[r.value for r in desk.ask(labs_of, p)] for p in ("P1", "P2", "P3", "")] == [["1^a^SCT"], ["1^a^SCT"], ["2^b^SCT"], []]


def test_what_is_known_prints_no_patient(desk: Desk) -> None:
    """repr and format of what is handed on show «hidden»."""
    desk.take(adt("A08", "P1", birth="19700203"), merge("P1", "P2"), imaging_order("ACC1", reason="R^Cough"))
    text = f"{desk.ask(patient_now, 'P1')} {desk.ask(order_of, 'ACC1')}"
    assert "19700203" not in text
    assert "p2" not in text
    assert "Cough" not in text
    assert dataclasses.is_dataclass(desk.merges[0])
