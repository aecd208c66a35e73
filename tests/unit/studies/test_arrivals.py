"""The same SOP Instance UID again."""

from __future__ import annotations

import pytest

from dicom_node.studies.arrivals import InstanceState, Verdict, Version, state_on_arrival, verdict

A, B = "a" * 64, "b" * 64
CURRENT, PENDING, HELD = InstanceState.CURRENT, InstanceState.PENDING, InstanceState.HELD


@pytest.mark.parametrize(
    ("known", "digest", "ours", "stuck", "expected"),
    [
        ([], A, False, False, CURRENT),
        ([Version(1, A, CURRENT)], A, False, False, None),
        ([Version(1, A, CURRENT)], B, False, False, PENDING),
        ([Version(1, A, CURRENT), Version(2, B, PENDING)], B, False, False, None),
        # an older header sent once more is the newest again
        ([Version(1, A, InstanceState.SUPERSEDED), Version(2, B, CURRENT)], A, False, False, PENDING),
        ([], A, False, True, HELD),
        ([Version(1, A, CURRENT), Version(2, B, HELD)], B, False, True, None),
        ([], A, True, False, InstanceState.OURS),
        ([], A, True, True, InstanceState.OURS),
        ([Version(1, A, InstanceState.OURS)], B, True, False, None),
    ],
)
def test_state_of_an_arriving_object(
    known: list[Version], digest: str, ours: bool, stuck: bool, expected: InstanceState | None
) -> None:
    assert state_on_arrival(known, digest, ours=ours, study_is_stuck=stuck) is expected


def test_verdict_table() -> None:
    assert verdict(same_pixels=True, same_identity=True) is Verdict.TWIN
    assert verdict(same_pixels=True, same_identity=False) is Verdict.CORRECTED
    assert verdict(same_pixels=False, same_identity=True) is Verdict.CHANGED
    assert verdict(same_pixels=False, same_identity=False) is Verdict.CHANGED
