"""When a study counts as complete."""

from __future__ import annotations

import pytest

from dicom_node.studies.completeness import deadline_utc, quiet_seconds
from dicom_node.studies.settings import StudiesSettings

CR, CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"


@pytest.mark.parametrize(
    ("classes", "hints", "seconds"),
    [
        ((CR,), (), 10),
        ((), (), 10),
        ((CT,), (), 60),
        ((CR, ENHANCED_CT), (), 60),
        ((CR,), (3,), 3),
        ((CR,), (3, 25), 25),
        ((CT,), (120,), 120),
    ],
)
def test_quiet_time_follows_the_modality_unless_a_rule_says_otherwise(
    classes: tuple[str, ...], hints: tuple[float, ...], seconds: float
) -> None:
    assert quiet_seconds(classes, StudiesSettings(), hints) == seconds


@pytest.mark.parametrize(
    ("now", "quiet", "ceiling", "expected"),
    [
        (100, 10, 1000, 110),  # nothing for ten seconds
        (995, 10, 1000, 1000),  # the ceiling cuts it
        (1003, 10, 1000, 1003),  # after the ceiling: at once, but not in the past
    ],
)
def test_the_deadline_moves_with_each_arrival_up_to_the_ceiling(now: float, quiet: float, ceiling: float, expected: float) -> None:
    assert deadline_utc(now, quiet, ceiling) == expected
