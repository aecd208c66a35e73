"""A flag is for news, and only as many as somebody can follow."""

from __future__ import annotations

import datetime as dt

import pytest

from dicom_node.core.study import HeaderFacts, Instance
from dicom_node.routing.attention import no_flag_because
from dicom_node.routing.settings import Rule

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
RULE = Rule(name="chest", pipeline="cxr_tb", max_flag_age_hours=24, max_flags_per_hour=3)


def image(date: str, time: str = "110000") -> Instance:
    """Return an image of this study date and time."""
    return Instance("1", "2", "3", "4", "5", "6", "7", HeaderFacts(study_date=date, study_time=time))


@pytest.mark.parametrize(
    ("date", "raised", "words"),
    [
        ("20261121", 0, ""),
        ("20261121", 2, ""),
        ("20261121", 3, "3 flags within an hour"),
        ("20261119", 0, "older than 24 hours"),
        ("", 0, "how old"),
    ],
)
def test_why_a_result_does_not_flag(date: str, raised: int, words: str) -> None:
    """Fresh and below the cap: a flag. Else a reason in words."""
    why = no_flag_because(RULE, [image(date)], raised, NOW, dt.UTC)
    assert (words in why) if words else (why == "")


def test_a_rule_that_is_gone_flags_nothing() -> None:
    """Nobody wants it any more."""
    assert no_flag_because(None, [image("20261121")], 0, NOW, dt.UTC)
