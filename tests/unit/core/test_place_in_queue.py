"""Who is first when thousands wait."""

from __future__ import annotations

import random

from dicom_node.core.run import Priority, place_in_queue

NOW = 1_795_000_000.0


def test_newest_stat_first_then_urgent_then_routine_oldest_first() -> None:
    """STAT newest first; urgent and routine in the order of request."""
    wanted = [
        *((Priority.STAT, NOW + late) for late in (60, 30, 0)),
        *((Priority.URGENT, NOW + late) for late in (0, 30, 60)),
        *((Priority.ROUTINE, NOW + late) for late in (0, 30, 60)),
    ]
    shuffled = random.Random(1).sample(wanted, len(wanted))
    assert sorted(shuffled, key=lambda item: place_in_queue(*item)) == wanted


def test_every_place_is_one_that_the_queue_can_hold() -> None:
    """Between 1 and 2**31 - 1, also where a clock stands wrong."""
    for priority in Priority:
        for moment in (-1.0, 0.0, NOW, 2.5e9, 1e18):
            assert 1 <= place_in_queue(priority, moment) < 2**31


def test_a_wrong_clock_changes_no_priority() -> None:
    """A STAT of 1970 is before a routine study of today."""
    assert place_in_queue(Priority.STAT, 0.0) < place_in_queue(Priority.URGENT, NOW) < place_in_queue(Priority.ROUTINE, 0.0)
