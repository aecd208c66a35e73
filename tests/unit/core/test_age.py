"""Age at the study."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.age import age_years, parse_date
from dicom_node.core.phi import Phi


@pytest.mark.parametrize(
    ("birth", "stated", "study", "whole_years"),
    [
        ("19800615", "", "20240614", 43),
        ("19800615", "", "20240615", 44),
        ("19800615", "005Y", "20240615", 44),
        ("2001.03.01", "", "2019.03.01", 18),
        ("20000229", "", "20180228", 17),
        ("20000229", "", "20180301", 18),
        ("", "046Y", "20240101", 46),
        ("", "46y", "", 46),
        ("1980", "030Y", "20240101", 30),
        ("19800230", "030Y", "20240101", 30),
        ("19800101", "030Y", "", 30),
        ("", "018M", "20240101", 1),
        ("", "003D", "20240101", 0),
        ("", "000Y", "20240101", 0),
        ("19000101", "046Y", "20240101", 46),
        ("20300101", "046Y", "20240101", 46),
    ],
)
def test_age_is_birth_date_at_study_date_else_the_stated_age(birth: str, stated: str, study: str, whole_years: int) -> None:
    """The birth date counts first; where it or the study date cannot be read, Patient's Age counts."""
    age = age_years(birth, stated, study)
    assert age is not None
    assert int(age) == whole_years


@pytest.mark.parametrize(
    ("birth", "stated", "study"),
    [
        ("19000101", "", "20240101"),
        ("19000101", "", "19600101"),
        ("19000101", "115Y", "20150101"),
        ("19000101", "099Y", ""),
        ("20240102", "", "20240101"),
        ("18800101", "", "20240101"),
        ("18800101", "130Y", "20240101"),
        ("", "", "20240101"),
        ("", "Y", "20240101"),
        ("", "121Y", "20240101"),
        ("unknown", "", "20240101"),
        ("19800101", "", "today"),
    ],
)
def test_a_placeholder_is_not_an_age(birth: str, stated: str, study: str) -> None:
    """1 January 1900, a birth after the study and more than 120 years are unknown, also where a device repeats them."""
    assert age_years(birth, stated, study) is None


def test_the_eighteenth_birthday_is_eighteen_on_the_day() -> None:
    """No rounding makes an adult a child or a child an adult."""
    for year in range(1940, 2006):
        on_the_day = age_years(f"{year}0301", "", f"{year + 18}0301")
        before = age_years(f"{year}0301", "", f"{year + 18}0228")
        assert on_the_day == 18.0
        assert before is not None
        assert before < 18


def test_a_hidden_birth_date_is_read() -> None:
    """Identifying values compute as text does."""
    assert age_years(Phi("19800101"), "", "20200101") == 40.0


@given(st.text(max_size=12), st.text(max_size=6), st.text(max_size=12))
def test_any_text_gives_an_age_or_unknown(birth: str, stated: str, study: str) -> None:
    """No header text raises; whatever comes back lies between 0 and 120."""
    age = age_years(birth, stated, study)
    assert age is None or 0 <= age <= 120


@given(st.dates(), st.dates())
def test_any_two_dates_give_a_plausible_age(born: object, day: object) -> None:
    """The whole calendar is covered."""
    age = age_years(str(born).replace("-", ""), "", str(day).replace("-", ""))
    assert age is None or 0 <= age <= 120


def test_impossible_days_are_no_dates() -> None:
    """A day the calendar does not have is no date."""
    assert parse_date("20240230") is None
    assert parse_date("00000101") is None
