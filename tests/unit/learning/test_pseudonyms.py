"""Names that say nothing, dates that move, parts that stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.core.identifiers import is_uid
from dicom_node.learning.pseudonyms import SPLITS, Pseudonyms, age_band, age_string, moved_date, moved_datetime

NAMES, OTHERS = Pseudonyms(b"k" * 32), Pseudonyms(b"o" * 32)


@given(st.text())
def test_uids_are_uids_of_the_key(text: str) -> None:
    made = NAMES.uid(text)
    assert is_uid(made)
    assert made.startswith("2.25.")
    assert made == Pseudonyms(b"k" * 32).uid(text) != OTHERS.uid(text)
    assert 1 <= NAMES.days(text) <= 365


def test_every_bucket_belongs_to_one_part_and_parts_are_as_large_as_they_should_be() -> None:
    assert sorted(bucket for buckets in SPLITS.values() for bucket in buckets) == list(range(100))
    drawn = [NAMES.split(f"patient {number}") for number in range(4000)]
    shares = {name: drawn.count(name) / len(drawn) for name in SPLITS}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.1, "calibration": 0.1, "locked": 0.1}, abs=0.02)


@pytest.mark.parametrize(
    ("value", "moved"),
    [("20240301", "20240229"), ("2024.01.01", "20231231"), ("", ""), ("19510713-", ""), ("ZZMARKER", ""), ("00010101", "")],
)
def test_dates(value: str, moved: str) -> None:
    assert moved_date(value, 1) == moved


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20240301235959.123456+0530", "20240229235959.123456+0530"),
        ("202403011015", "202402291015"),
        ("20240301-0800", "20240229-0800"),
        ("2024", ""),
        ("20240301 ZZMARKER", ""),
    ],
)
def test_times_and_offsets_stay_with_the_moved_day(value: str, moved: str) -> None:
    assert moved_datetime(value, 1) == moved


def test_nobody_is_older_than_ninety() -> None:
    assert [age_string(years) for years in (None, 0.4, 89.9, 90, 104)] == ["", "000Y", "089Y", "090Y", "090Y"]
    assert [age_band(years) for years in (None, 17.9, 18, 89.9, 90, 104)] == ["unknown", "0-17", "18-39", "80-89", "90+", "90+"]
