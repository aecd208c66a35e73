"""One message, one answer: after the commit, once in effect, in words when it is refused."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.orders import repository, step
from dicom_node.orders.step import patient_now
from dicom_node.store import tables
from tests.factories.hl7_messages import adt, answer, merge, message, pid
from tests.unit.orders.conftest import Desk


def test_the_answer_names_the_message_and_its_row_is_there(desk: Desk) -> None:
    """AA, MSA-2 is MSH-10, the header is turned round; one row, without the text of the message."""
    data = adt("A08", "P1", birth="19700203", name="SECRET^JANE").replace(b"|A08|", b"|A08|")
    acknowledgement = step.take(desk.inbox, data)
    assert answer(acknowledgement) == ("AA", data.split(b"|")[9].decode(), "")
    assert acknowledgement is not None
    header = acknowledgement.split(b"\r")[0].split(b"|")
    assert header[2:6] == [b"AINODE", b"RAD", b"RIS", b"HOSP"]
    assert (header[8], header[10], header[11]) == (b"ACK^A08^ACK", b"P", b"2.5.1")
    (row,) = desk.rows(tables.message)
    assert (row.sender, row.type, row.state) == ("RIS|HOSP", "ADT^A08", "applied")
    assert "SECRET" not in str(row)


def test_the_same_message_again_is_answered_and_changes_nothing(desk: Desk) -> None:
    """A lost acknowledgement: the repeated merge does not undo what came after it, and is not told on twice."""
    first = merge("P1", "P2")
    assert desk.take(first, merge("P2", "P1"), first) == ["AA", "AA", "AA"]
    assert desk.ask(patient_now, "P1").merged_into.reveal() == ""
    assert len(desk.merges) == 2
    assert len(desk.rows(tables.message)) == 2


def test_the_same_number_with_other_bytes_is_another_message(desk: Desk) -> None:
    """A sender that counts from one again after a restart is listened to."""
    one, two = (message("ADT^A08", pid(patient, birth="19700203"), control_id="1") for patient in ("P1", "P2"))
    assert desk.take(one, two) == ["AA", "AA"]
    assert [desk.ask(patient_now, patient) is not None for patient in ("P1", "P2")] == [True, True]


def test_two_connections_with_the_same_message_at_once(desk: Desk) -> None:
    """Both are answered AA, one row is written."""
    data, codes = adt("A08", "P1", birth="19700203"), []
    threads = [threading.Thread(target=lambda: codes.extend(desk.take(data))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == ["AA"] * 6
    assert len(desk.rows(tables.message)) == 1


def test_a_database_that_fails_makes_the_sender_repeat(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """AE, and nothing is kept: not the patient without the message, nor the other way round. The repetition is taken."""
    data = adt("A08", "P1", birth="19700203")

    def failing(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("insert", {}, Exception("disk I/O error of Doe^Jane"))

    with monkeypatch.context() as patch:
        patch.setattr(repository, "keep_message", failing)
        code, _, words = answer(step.take(desk.inbox, data))
    assert (code, "again" in words, "Doe" in words) == ("AE", True, False)
    assert desk.rows(tables.patient) == []
    assert desk.take(data) == ["AA"]


def test_a_merge_that_cannot_be_told_on_is_not_acknowledged(desk: Desk) -> None:
    """Holding the studies and keeping the merge are one transaction."""

    def failing(*_: object) -> None:
        raise sa.exc.OperationalError("update", {}, Exception("locked"))

    inbox = step.Inbox(desk.database, desk.settings, desk.inbox.timezone, "AINODE", failing)
    assert answer(step.take(inbox, merge("P1", "P2")))[0] == "AE"
    assert desk.rows(tables.patient) == []
    assert desk.rows(tables.message) == []


def test_a_defect_is_told_and_the_sender_keeps_the_message(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """AE, without a word of what the defect quoted; the log names its type."""

    def broken(*_: object) -> Any:
        raise KeyError("Doe^Jane")

    monkeypatch.setitem(step.HANDLERS, "ADT^A08", broken)  # type: ignore[call-overload]
    acknowledgement = step.take(desk.inbox, adt("A08", "P1"))
    assert answer(acknowledgement)[0] == "AE"
    out = capsys.readouterr().out
    assert "KeyError" in out
    assert "Doe" not in out + str(acknowledgement)


@pytest.mark.parametrize(
    ("data", "words", "error"),
    [
        (b"nonsense", "MSH", b"|100^"),
        (message("ADT^A08", pid("P1")).replace(b"|M0", b"||M0", 1), "MSH-10", b"|101^"),
        (message("ADT^A08", pid("P1"), processing="T"), "no production message", b"|202^"),
        (message("ADT^A08", pid("P1"), charset="klingon"), "character set", b"|103^"),
        (message("ADT^A08", pid("P\0" + "1")), "NUL", b"|102^"),
    ],
)
def test_a_refusal_says_why(desk: Desk, data: bytes, words: str, error: bytes) -> None:
    """AR in words, with the condition of table 0357; the refusal is a row; asking again gives the same answer."""
    for _ in range(2):
        acknowledgement = step.take(desk.inbox, data)
        code, _, text = answer(acknowledgement)
        assert (code, words in text) == ("AR", True)
        assert acknowledgement is not None
        assert error in acknowledgement
    assert [row.state for row in desk.rows(tables.message)] == ["refused"]
    assert desk.rows(tables.patient) == []


def test_a_refused_message_is_taken_once_it_can_be(desk: Desk) -> None:
    """A refusal is not remembered as if the message had been taken: the site names the character set, the sender repeats."""
    data = adt("A08", "P1", birth="19700203", name="Müller").decode().encode("latin-1")
    assert desk.take(data) == ["AR"]
    from dicom_node.orders.settings import ListenerSettings, OrdersSettings

    desk.settings = OrdersSettings(listener=ListenerSettings(peers=("127.0.0.1",), character_set="8859/1"))
    assert desk.take(data) == ["AA"]
    assert sorted(row.state for row in desk.rows(tables.message)) == ["applied", "refused"]


def test_other_kinds_are_acknowledged_and_ignored(desk: Desk) -> None:
    """An interface engine that sends everything must not stop at what this node has no use for."""
    assert desk.take(message("SIU^S12", "SCH|1"), message("ADT^A03", pid("P1")), message("DFT^P03", "FT1|1")) == ["AA"] * 3
    assert desk.take(message("JANE^DOE", pid("P1"))) == ["AA"]
    assert {row.state for row in desk.rows(tables.message)} == {"ignored"}
    assert [row.type for row in desk.rows(tables.message)] == ["SIU^S12", "ADT^A03", "DFT^P03", "other"]


@pytest.mark.parametrize(
    ("accept", "application", "code"), [("AL", "NE", "CA"), ("AL", "AL", "AA"), ("", "", "AA"), ("ER", "", "CA")]
)
def test_enhanced_mode(desk: Desk, accept: str, application: str, code: str) -> None:
    """Who asks for accept acknowledgements only gets CA; MSH-15 and MSH-16 both NE get nothing."""
    data = message("ADT^A03", pid("P1")).replace(b"|2.5.1", f"|2.5.1|||{accept}|{application}".encode())
    assert desk.take(data) == [code]
    assert step.take(desk.inbox, data.replace(f"|{accept}|{application}".encode(), b"|NE|NE")) is None


def test_the_log_says_what_came_and_names_nobody(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Type, outcome and time; a type that is not known is not repeated: it could be anything."""
    desk.take(adt("A08", "ZZMARKER", birth="19700203", name="ZZMARKER^X"), message("ZZMARKER^Z01", pid("ZZMARKER")), b"ZZMARKER")
    out = capsys.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["kind"], line["state"], line["outcome"]) for line in lines] == [
        ("ADT^A08", "applied", "AA"),
        ("other", "ignored", "AA"),
        ("other", "refused", "AR"),
    ]
    assert "ZZMARKER" not in out
