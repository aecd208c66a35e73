"""What an ORU of somebody else says of our result: every status, with and without a person, changed and unchanged."""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.core import codes
from dicom_node.core.feedback import Statement, Verdict
from dicom_node.core.phi import Phi
from dicom_node.core.result_message import Person, ResultLine, ResultMessage
from dicom_node.feedback.channels import hl7
from dicom_node.orders.messages import own_result
from dicom_node.orders.messages.contract import Context, order_groups
from dicom_node.orders.reading import read_message
from dicom_node.orders.settings import OrdersSettings
from dicom_node.results.outputs import oru_message
from dicom_node.store.connect import default_url, open_database
from tests.factories.deliverables import context, refused

DOCTOR = Person("D1", "Rao^Asha")
ACCEPTED, AMENDED, WITHDRAWN = Verdict.ACCEPTED, Verdict.AMENDED, Verdict.WITHDRAWN
FINDINGS = ("abnormal", "tuberculosis")


@functools.cache
def _sent() -> tuple[ResultLine, ...]:
    message = read_message(oru_message.build(context(), "").data)
    return own_result.lines_of(list(message.segments))


def sent() -> list[ResultLine]:
    """Return the observations that we send: RESULT, ABNORMAL (0.87), TUBERCULOSIS (not assessed), TEXT."""
    return list(_sent())


def answered(**changed: ResultLine | None) -> ResultMessage:
    """Return our observations, sent back by the RIS; keyword RESULT=… replaces a line, ``None`` drops it."""
    lines = [changed.get(line.sub_id, line) for line in sent()]
    return ResultMessage(
        "RIS|H", "C1", 1, ("AI" + "A" * 16,), Phi(""), 1.0, lines=tuple(line for line in lines if line is not None)
    )


def with_status(status: str, *names: str, observer: Person | None = DOCTOR) -> ResultMessage:
    """Return our observations with this status, those named only (default: all)."""
    people = (observer,) if observer else ()
    changed = {line.sub_id: replace(line, status=status, observers=people) for line in sent() if not names or line.sub_id in names}
    return answered(**changed)


def said(message: ResultMessage) -> list[Statement]:
    heard = hl7.hear(message, sent(), FINDINGS, "rn_1")
    return [one for claim in heard.claims for one in claim.statements]


def line(name: str, status: str, *value: str, kind: str = "", observer: Person | None = DOCTOR) -> ResultLine:
    """Return one of our observations with another value."""
    plain = next(one for one in sent() if one.sub_id == name)
    values = ((*value, "", "", "")[:3],) if value else plain.values
    return replace(plain, status=status, values=values, kind=kind or plain.kind, observers=(observer,) if observer else ())


@pytest.mark.parametrize("status", ["F", "V", "C", "A"])
def test_what_a_named_person_confirms_is_accepted_once_as_a_whole(status: str) -> None:
    """The classes are in the whole: one statement."""
    assert said(with_status(status)) == [Statement(ACCEPTED)]
    assert said(with_status(status, "ABNORMAL")) == [Statement(ACCEPTED, "abnormal")]


@pytest.mark.parametrize("status", ["P", "R", "I", "S", "U", "O", "N", "", "B", "?"])
def test_other_statuses_say_nothing(status: str) -> None:
    """Also with a person's name."""
    heard = hl7.hear(with_status(status), sent(), FINDINGS, "rn_1")
    assert (heard.claims, heard.state, heard.text) == ((), "nothing", hl7.PRELIMINARY)


@pytest.mark.parametrize("status", ["F", "V", "C", "A", "D", "W", "X"])
def test_without_a_named_person_nothing_counts(status: str) -> None:
    """A status is no opinion."""
    heard = hl7.hear(with_status(status, observer=None), sent(), FINDINGS, "rn_1")
    assert (heard.claims, heard.state, heard.text) == ((), "nothing", hl7.NOBODY)


@pytest.mark.parametrize("status", ["D", "W", "X"])
def test_what_is_taken_back_is_a_withdrawal(status: str) -> None:
    """Of the whole result, or of one observation; X where we sent X ourselves is nothing."""
    assert said(with_status(status)) == [Statement(WITHDRAWN)]
    assert said(with_status(status, "ABNORMAL")) == [Statement(WITHDRAWN, "abnormal")]
    assert said(with_status(status, "TUBERCULOSIS")) == []


@pytest.mark.parametrize(
    ("value", "kind", "label", "assessment"),
    [
        (("0",), "", "absent", 0.0),
        (("1",), "", "present", 1.0),
        (("0.25",), "", "", 0.25),
        (("", "0"), "SN", "absent", 0.0),
        (("7",), "", "", None),
        (("NEG", "Below", "99PACSAI"), "CWE", "absent", None),
        (("POS", "Positive", "HL70078"), "CWE", "present", None),
        (("2667000", "Absent", "SCT"), "CE", "absent", None),
        (("233604007", "Pneumonia", "SCT"), "CWE", "233604007^SCT", None),
        (("absent",), "ST", "absent", None),
        (("see my report",), "ST", "", None),
    ],
)
def test_another_value_is_an_amendment(value: tuple[str, ...], kind: str, label: str, assessment: float | None) -> None:
    """What the person holds comes from closed tables; what is not in them gives no label."""
    for status in ("F", "C", "A"):
        changed = line("ABNORMAL", status, *value, kind=kind)
        assert said(answered(ABNORMAL=changed)) == [Statement(AMENDED, "abnormal", label_after=label, assessment=assessment)]


def test_the_whole_result_changed_and_the_classes_left_alone() -> None:
    """Nothing is said of the classes; and the other way round."""
    result = line("RESULT", "C", "NEG", "Below operating threshold", "99PACSAI")
    assert said(answered(RESULT=result, ABNORMAL=line("ABNORMAL", "F"))) == [Statement(AMENDED, label_after="absent")]
    both = answered(RESULT=line("RESULT", "F"), ABNORMAL=line("ABNORMAL", "C", "0"))
    assert said(both) == [Statement(AMENDED, "abnormal", label_after="absent", assessment=0.0)]


def test_a_class_that_we_did_not_assess_can_be_told() -> None:
    """It had no value: a person gives one."""
    assert said(answered(TUBERCULOSIS=line("TUBERCULOSIS", "F", "POS", "", "99PACSAI", kind="CWE"))) == [
        Statement(AMENDED, "tuberculosis", label_after="present")
    ]


def test_what_contradicts_itself_is_unclear() -> None:
    """V with another value; F without one; F beside a text that a person rewrote."""
    empty = replace(line("RESULT", "F"), values=())
    edited = {"TEXT": line("TEXT", "F", "No sign of disease."), "RESULT": line("RESULT", "F")}
    cases: list[dict[str, ResultLine]] = [{"RESULT": line("RESULT", "V", "NEG", "", "99PACSAI")}, {"RESULT": empty}, edited]
    for case in cases:
        heard = hl7.hear(answered(**case), sent(), FINDINGS, "rn_1")
        assert (heard.claims, heard.state) == ((), "unclear"), case
    assert said(answered(TEXT=edited["TEXT"], RESULT=line("RESULT", "V"))) == [Statement(ACCEPTED)]
    assert said(answered(TEXT=line("TEXT", "F", next(one for one in sent() if one.sub_id == "TEXT").values[0][0]))) == []


def test_an_edited_text_is_kept_as_evidence_beside_an_answer() -> None:
    """It is no answer by itself."""
    message = answered(TEXT=line("TEXT", "F", "Normal chest."), RESULT=line("RESULT", "C", "NEG", "", "99PACSAI"))
    (claim,) = hl7.hear(message, sent(), FINDINGS, "rn_1").claims
    assert claim.evidence == {"report_text": "Normal chest."}
    assert claim.statements == (Statement(AMENDED, label_after="absent"),)


def test_flags_and_foreign_observations_are_not_read() -> None:
    """OBX-3 and OBX-4 must be ours, both; OBX-8 is not even taken over."""
    foreign = replace(line("ABNORMAL", "C", "0"), code="1234-5", scheme="LN")
    heard = hl7.hear(answered(ABNORMAL=foreign, RESULT=None, TEXT=None), sent(), FINDINGS, "rn_1")
    assert (heard.claims, heard.text) == ((), hl7.PRELIMINARY)
    without_sub_id = replace(line("RESULT", "F"), sub_id="")
    assert said(answered(RESULT=without_sub_id)) == [Statement(ACCEPTED)]


def test_an_answer_in_so_many_words_counts_and_ours_sent_back_does_not() -> None:
    """Our code for answers: the only way to say "rejected" by HL7. What we told of an earlier answer is no new one when signed."""
    answer = ResultLine("9", "RESULT", "ASSESSMENT", "99PACSAI", "CWE", (("REJECT", "Rejected", "99PACSAI"),), "F", (DOCTOR,))
    message = replace(answered(), lines=(*answered().lines, answer))
    assert said(message) == [Statement(Verdict.REJECTED)]
    assert hl7.hear(message, [*sent(), answer], FINDINGS, "rn_1").claims == ()
    assert said(replace(message, lines=(replace(answer, observers=()),))) == []
    assert said(replace(message, lines=(replace(answer, status="P"),))) == []
    of_finding = replace(answer, sub_id="ABNORMAL", values=(("ACCEPT", "", "99PACSAI"),))
    assert said(replace(message, lines=(of_finding,))) == [Statement(ACCEPTED, "abnormal")]


def test_who_answers() -> None:
    """OBX-16 before OBR-32; of two people nobody is told apart."""
    only = with_status("F", observer=None)
    (claim,) = hl7.hear(replace(only, interpreters=(DOCTOR,)), sent(), FINDINGS, "rn_1").claims
    assert (claim.reader.kind, claim.reader.identity, claim.reader.authenticated) == ("hl7", "D1", True)
    other = Person("D2", "")
    (claim,) = hl7.hear(replace(with_status("F"), interpreters=(other,)), sent(), FINDINGS, "rn_1").claims
    assert claim.reader.identity == "D1"
    (claim,) = hl7.hear(replace(only, interpreters=(DOCTOR, other)), sent(), FINDINGS, "rn_1").claims
    assert (claim.reader.identity, claim.reader.authenticated) == ("", False)
    (claim,) = hl7.hear(replace(only, interpreters=(Person("", "Rao"),)), sent(), FINDINGS, "rn_1").claims
    assert (claim.reader.name, claim.reader.authenticated) == ("Rao", False)


def test_two_people_are_two_claims() -> None:
    """Each with what they said, under names of their own."""
    message = answered(
        RESULT=line("RESULT", "C", "NEG", "", "99PACSAI"), ABNORMAL=line("ABNORMAL", "F", observer=Person("D2", "Lee"))
    )
    claims = hl7.hear(message, sent(), FINDINGS, "rn_1").claims
    assert [(one.reader.identity, one.statements[0].verdict) for one in claims] == [("D1", AMENDED), ("D2", ACCEPTED)]
    assert len({one.source for one in claims}) == 2


def test_a_refusal_cannot_be_accepted() -> None:
    """A result that says "not analysed" has no value."""
    built = oru_message.build(context(findings=refused()), "")
    lines = own_result.lines_of(list(read_message(built.data).segments))
    final = tuple(replace(one, status="F", observers=(DOCTOR,)) for one in lines)
    message = replace(answered(), lines=final)
    assert hl7.hear(message, lines, (), "rn_1").claims == ()


# ---------------------------------------------------------------- the message's own text


def groups(text: bytes, tmp_path: Path) -> tuple[list[own_result.Ours], list[ResultMessage]]:
    message = read_message(text)
    settings = Context(OrdersSettings(), dt.UTC, 1e10, "AINODE")
    database = open_database(default_url(tmp_path))
    with database.begin() as connection:
        found = [own_result.about_us(connection, group) for group in order_groups(message)]
        told = [own_result.result_message(message, group, n, settings) for n, group in enumerate(order_groups(message), 1)]
    database.dispose()
    assert isinstance(database, sa.Engine)
    return found, told


def test_our_message_is_read_as_we_wrote_it(tmp_path: Path) -> None:
    """Filler number, accession, people of OBX-16 and OBR-32 in both spellings."""
    text = oru_message.build(context(), "").data.decode()
    segments = text.rstrip("\r").split("\r")
    for number, segment in enumerate(segments):
        if segment.startswith("OBR"):
            segments[number] = segment + "|" * (32 - segment.count("|")) + "D9&Rao&Asha^20260102"
        if segment.startswith("OBX|1|"):
            fields = segment.split("|")
            fields[16] = "D1^Lee^Bo~D2"
            segments[number] = "|".join(fields)
    ours, (told,) = groups("\r".join(segments).encode(), tmp_path)
    assert ours == [own_result.Ours.WHOLLY]
    assert told.numbers[0].startswith("AI")
    assert (len(told.numbers), told.accession_number.reveal()) == (1, "")
    assert told.interpreters == (Person("D9", "Rao^Asha"),)
    assert told.lines[0].observers == (Person("D1", "Lee^Bo"), Person("D2", ""))
    assert [one.sub_id for one in told.lines] == ["RESULT", "ABNORMAL", "TUBERCULOSIS", "TEXT"]
    assert told.lines[0].values == ((codes.DECISION_POSITIVE.value, codes.DECISION_POSITIVE.meaning, "99PACSAI"),)


def test_a_report_that_carries_one_of_our_observations_is_partly_ours(tmp_path: Path) -> None:
    """By our coding scheme; a report about something else is not ours."""
    header = b"MSH|^~\\&|RIS|H|||20260101||ORU^R01|1|P|2.5.1\rOBR|1||X1|XCH^Chest^L\r"
    text = header + b"OBX|1|CWE|DECISION^d^99PACSAI|RESULT|POS^^99PACSAI||||||F"
    assert groups(text, tmp_path)[0] == [own_result.Ours.PARTLY]
    assert groups(text.replace(b"99PACSAI", b"L"), tmp_path)[0] == [own_result.Ours.NOT]
