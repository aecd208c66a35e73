"""From slices to the patient."""

from __future__ import annotations

import itertools

import pytest

from pipelines.blocks.aggregate import highest, patient_probability


def test_the_patient_is_the_mean_of_the_slices() -> None:
    assert patient_probability([0.2, 0.4, 0.9]) == pytest.approx(0.5)
    assert patient_probability([0.7]) == 0.7


def test_the_order_of_slices_changes_no_bit() -> None:
    values = [0.1, 0.7, 1e-9, 0.3333333]
    assert len({patient_probability(order) for order in itertools.permutations(values)}) == 1


@pytest.mark.parametrize("slices", [[], [0.5, float("nan")], [1.2], [-0.1, 0.5]])
def test_nothing_is_said_without_probabilities(slices: list[float]) -> None:
    with pytest.raises(ValueError, match="patient needs slices"):
        patient_probability(slices)


def test_the_highest_slices_come_first_and_ties_by_place() -> None:
    assert highest([0.1, 0.9, 0.5, 0.9, 0.2]) == (1, 3, 2)
    assert highest([0.3, 0.3], count=3) == (0, 1)
