"""When something is tried again."""

from __future__ import annotations

import itertools

import pytest

from dicom_node.engine.retry import next_delay_seconds


def test_delays_grow_and_never_exceed_an_hour() -> None:
    """Each wait is longer than the one before until the hour is reached, and no wait is longer than that."""
    delays = [next_delay_seconds(attempt, "dl_a") for attempt in range(1, 200)]
    assert 4 <= delays[0] <= 5
    assert all(later > earlier for earlier, later in itertools.pairwise(delays[:10]))
    assert all(2880 <= delay <= 3600 for delay in delays[10:])


def test_jitter_depends_on_the_key_alone() -> None:
    """The same delivery waits the same time at every reckoning; others wait other times."""
    assert next_delay_seconds(12, "dl_a") == next_delay_seconds(12, "dl_a")
    assert len({next_delay_seconds(12, f"dl_{n}") for n in range(50)}) > 30


def test_attempts_are_counted_from_one() -> None:
    """Attempt 0 is a defect of the caller."""
    with pytest.raises(ValueError, match="counted from 1"):
        next_delay_seconds(0, "dl_a")
