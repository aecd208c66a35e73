"""Bytes become a message, letters are the letters that were meant, and what cannot be read is refused in words."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.orders.character_sets import is_known
from dicom_node.orders.reading import Refused, moment, read_message
from tests.factories.hl7_messages import message

NAMES = {
    "8859/1": ("Müller^Jörg", "iso8859_1"),
    "8859/5": ("Люкceмбypг^Ян", "iso8859_5"),
    "UNICODE UTF-8": ("Wang^XiaoDong=王^小東", "utf-8"),
    "~ISO IR87": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "iso2022_jp_ext"),
    "ASCII~ISO IR87~ISO IR159": ("山田^太郎", "iso2022_jp_ext"),
    "GB 18030-2000": ("王^小东", "gb18030"),
    "KS X 1001": ("김^희중", "euc_kr"),
}


@pytest.mark.parametrize("charset", NAMES, ids=str)
def test_letters_arrive_as_they_were_meant(charset: str) -> None:
    """Each character set of table 0211 gives back the family name, also where its bytes contain delimiters."""
    name, codec = NAMES[charset]
    data = message("ADT^A08", f"PID|1||P1||{name}", charset=charset).decode().encode(codec)
    read = read_message(data).first("PID")
    assert read is not None
    assert read.value(5) == name.partition("^")[0]


def test_latin_1_without_a_word_is_refused_and_taken_where_it_is_configured() -> None:
    """Without MSH-18 bytes that are no UTF-8 are refused, never guessed; the site may say what they are."""
    data = message("ADT^A08", "PID|1||P1||Müller").decode().encode("latin-1")
    with pytest.raises(Refused, match=r"orders\.listener\.character_set"):
        read_message(data)
    pid = read_message(data, "8859/1").first("PID")
    assert pid is not None
    assert pid.value(5) == "Müller"


@pytest.mark.parametrize("charset", ["UNICODE UTF-16", "CNS 11643-1992", "8859/1~ISO IR87", "nonsense"])
def test_a_character_set_that_cannot_be_read_is_refused(charset: str) -> None:
    """What would be garbled is refused."""
    with pytest.raises(Refused) as refusal:
        read_message(message("ADT^A08", "PID|1||P1||X", charset=charset))
    assert refusal.value.error == "103"


def test_bytes_that_are_not_in_the_stated_character_set_are_refused() -> None:
    """UTF-8 is told and Latin-1 is sent."""
    data = message("ADT^A08", "PID|1||P1||Müller", charset="UNICODE UTF-8").decode().encode("latin-1")
    with pytest.raises(Refused, match="MSH-18"):
        read_message(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\r",
        b"GET / HTTP/1.1\r\n\r\n",
        b"MSH",
        b"MSH|",
        b"MSH|^~\\&",
        b"PID|1||P1",
        b"\x00" * 100,
        b"BHS|^~\\&|A\rMSH|^~\\&|B",
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """Junk, batches and half headers are refused; nothing else is raised."""
    with pytest.raises(Refused):
        read_message(data)


def test_two_messages_in_one_frame_are_refused() -> None:
    """Acknowledging one of them would lose the other."""
    with pytest.raises(Refused, match="several messages"):
        read_message(message("ADT^A08", "PID|1||P1") + message("ADT^A08", "PID|1||P2"))


def test_fields_are_read_by_number_and_missing_ones_are_empty() -> None:
    """Repetitions, components, subcomponents, escapes, the null, other delimiters and line feeds."""
    read = read_message(b'MSH#*~!%#RIS#H#A#B#20260101##ADT*A08#7#P#2.5.1\nPID#1##1*x%y~2##a!S!b!F!c!X4A!!.br!d!Zq!#""#last\n')
    pid = read.segments[1]
    assert [pid.value(3, 1), pid.value(3, 2, 2), pid.value(3, 1, repetition=2), pid.value(3, 9), pid.value(99)] == [
        "1",
        "y",
        "2",
        "",
        "",
    ]
    assert pid.value(5) == "a*b#cJ\nd"
    assert (pid.is_null(6), pid.value(6), pid.is_null(7)) == (True, "", False)
    assert list(pid.repetitions(3)) == [1, 2]
    assert (read.type, read.control_id, read.sender) == ("ADT^A08", "7", "RIS|H")


def test_time_stamps() -> None:
    """With their own zone, in the site's, a date alone, and nonsense."""
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    assert moment("20260102030405+0100", zone) == dt.datetime(2026, 1, 2, 2, 4, 5, tzinfo=dt.UTC).timestamp()
    assert moment("20260102", zone) == dt.datetime(2026, 1, 1, 18, 30, tzinfo=dt.UTC).timestamp()
    assert [moment(text, zone) for text in ("", "soon", "20261399", "2026")][:3] == [None, None, None]


def test_known_character_sets() -> None:
    """The settings ask this."""
    assert [is_known(name) for name in ("8859/1", "unicode utf-8", "ISO IR87", "klingon")] == [True, True, True, False]


@given(st.binary(max_size=400))
def test_no_bytes_do_harm(data: bytes) -> None:
    """Any bytes behind a header are read or refused."""
    for text in (data, message("ADT^A08") + data, b"MSH|" + data):
        try:
            read = read_message(text)
        except Refused:
            continue
        assert all(isinstance(segment.value(field, 2, 2, 2), str) for segment in read.segments for field in range(1, 20))


def test_an_escaped_nul_is_left_out() -> None:
    """PostgreSQL keeps no NUL: the message would be put off, and sent again, for ever."""
    read = read_message(message("ADT^A08", "PID|1||P\\X00\\1||DOE^JANE"))
    patient = read.first("PID")
    assert patient is not None
    assert patient.value(3) == "P1"
