"""What a peer's answer means."""

from __future__ import annotations

import pytest

from dicom_node.core.delivery import Outcome
from dicom_node.network.dimse_status import rejection_meaning, status_meaning

D, W, T, P = Outcome.DELIVERED, Outcome.WARNING, Outcome.RETRY, Outcome.REJECT


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, D),
        (0xB000, W),
        (0xB006, W),
        (0xB007, W),
        (0xB123, W),
        (0x0111, W),
        (0xA700, T),
        (0xA702, T),
        (0x0110, T),
        (0x0213, T),
        (0xFE00, T),
        (0xA900, P),
        (0xC000, P),
        (0xCFFF, P),
        (0x0122, P),
        (0x0124, P),
        (0x0211, P),
    ],
)
def test_each_status_has_one_outcome(status: int, outcome: Outcome) -> None:
    """Success is silent, warnings are told as warnings, and failures say whether trying again can help."""
    meaning = status_meaning(status)
    assert meaning.outcome is outcome
    assert (f"0x{status:04X}" in meaning.text) is (status != 0)


@pytest.mark.parametrize(
    ("answer", "outcome", "advice"),
    [
        ((1, 1, 3), P, '"NODE": add it there'),
        ((1, 1, 7), P, '"PACS": correct ae_title'),
        ((2, 1, 3), T, '"NODE"'),
        ((2, 3, 1), T, "congested"),
        ((2, 3, 2), T, "limit"),
        ((1, 3, 2), T, "limit"),
        ((1, 1, 1), P, "without naming a reason"),
        ((2, 1, 1), T, "without naming a reason"),
    ],
)
def test_each_rejection_has_advice(answer: tuple[int, int, int], outcome: Outcome, advice: str) -> None:
    """A peer that does not know us is a permanent matter with plain advice; congestion passes."""
    meaning = rejection_meaning(*answer, called="PACS", calling="NODE")
    assert meaning.outcome is outcome
    assert advice in meaning.text
