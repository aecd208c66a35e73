"""When archives are asked for answers, and what is fetched: tables of cases."""

from __future__ import annotations

import pytest

from dicom_node.feedback.polling import MOST_FETCHES, Asked, due_utc, is_listed, wanted
from dicom_node.feedback.reports.kinds import DOCUMENTS

HOUR, DAY = 3600.0, 86400.0
SR, DOSE = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.67"


@pytest.mark.parametrize(
    ("asked", "answered", "pause"),
    [
        (0.0, False, 300.0),  # never asked: once the first pause is over
        (0.0, True, 3600.0),
        (10 * DAY + 60, False, 300.0),  # a minute old
        (10 * DAY + HOUR, False, 300.0),
        (10 * DAY + DAY, False, DAY / 20),  # a day old: 72 minutes
        (10 * DAY + DAY, True, DAY / 20 * 12),
        (10 * DAY - 60, False, 300.0),  # asked about an earlier result
    ],
)
def test_old_and_answered_results_are_asked_about_less_often(asked: float, answered: bool, pause: float) -> None:
    """A result of ten days after 1970, asked every five minutes."""
    due = due_utc(asked, delivered_utc=10 * DAY, answered=answered, poll_seconds=300)
    assert due == max(asked, 10 * DAY) + pause


def test_a_week_of_results_stays_within_the_turns_of_one_archive() -> None:
    """200 studies a day for a week, none answered: fewer than 60 studies a minute are asked about, on average."""
    asked, times = 0.0, 0
    while asked < 7 * DAY:
        asked = due_utc(asked, delivered_utc=0.0, answered=False, poll_seconds=300)
        times += 1
    assert times * 200 / (24 * 60) < 60


def test_a_series_is_listed_again_only_when_it_grew() -> None:
    """Where the archive does not count, always."""
    asked = Asked(1.0, {"1.2": 3})
    assert is_listed(asked, "1.2", 3)
    assert not is_listed(asked, "1.2", 4)
    assert not is_listed(asked, "1.2", None)
    assert not is_listed(asked, "1.3", 3)


def test_what_is_fetched() -> None:
    """Documents that are not here, and those whose class is not said; a few times, then not again."""
    found = {"1": SR, "2": DOSE, "3": "", "4": SR, "5": SR}
    asked = Asked(fetched={"4": MOST_FETCHES, "5": MOST_FETCHES - 1})
    assert wanted(found, {"9"}, asked, DOCUMENTS) == {"1": SR, "3": "", "5": SR}
    assert wanted(found, set(found), asked, DOCUMENTS) == {}
