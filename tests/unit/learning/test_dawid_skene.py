"""The EM of Dawid and Skene, against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.learning.dawid_skene import dawid_skene


def test_one_round_is_what_one_gets_by_hand() -> None:
    """Three readers, two cases. Case 0: called 1, 1, 0. Case 1: called 0, 0, 0.

    Majority: T0 = (1/3, 2/3), T1 = (1, 0). Prior (2/3, 1/3).
    Readers 0 and 1: true 0 is called 0 with weight 1, called 1 with 1/3; true 1 is called 1 with 2/3. With 0.01 in every cell:
    row 0 = (1.01, 0.34333) / 1.35333 = (0.74631, 0.25369), row 1 = (0.01, 0.67667) / 0.68667 = (0.01456, 0.98544).
    Reader 2 calls 0 always: row 0 = (1.34333, 0.01) / 1.35333 = (0.99261, 0.00739), row 1 = (0.67667, 0.01) / 0.68667.
    Case 0: class 0: 2/3 * 0.25369^2 * 0.99261 = 0.042589; class 1: 1/3 * 0.98544^2 * 0.98544 = 0.318983. Class 1: 0.88221.
    Case 1: class 0: 2/3 * 0.74631^2 * 0.99261 = 0.368573; class 1: 1/3 * 0.01456^2 * 0.98544 = 0.0000697. Class 1: 0.00019.
    """
    found = dawid_skene([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [1, 1, 0, 0, 0, 0], rounds=1)
    assert found.posterior[:, 1] == pytest.approx([0.88221, 0.00019], abs=2e-5)
    assert found.confusion[0] == pytest.approx(np.array([[0.74631, 0.25369], [0.01456, 0.98544]]), abs=1e-5)


def test_it_finds_who_errs_and_how_in_three_classes() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 3000)
    right = (0.95, 0.85, 0.6, 0.75)
    calls = [np.where(rng.random(3000) < share, truth, (truth + rng.integers(1, 3, 3000)) % 3) for share in right]
    found = dawid_skene(np.tile(np.arange(3000), 4), np.repeat(np.arange(4), 3000), np.concatenate(calls), classes=3)
    assert found.accuracy == pytest.approx(right, abs=0.03)
    majority = np.array([np.bincount(column, minlength=3).argmax() for column in np.stack(calls, 1)])
    assert (found.posterior.argmax(1) == truth).mean() > (majority == truth).mean()


def test_a_class_that_nobody_ever_met_breaks_nothing() -> None:
    found = dawid_skene([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0])
    assert np.isfinite(found.accuracy).all()
    assert found.posterior[:, 0] == pytest.approx(1.0, abs=1e-3)


def test_no_call_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nobody"):
        dawid_skene([], [], [])
