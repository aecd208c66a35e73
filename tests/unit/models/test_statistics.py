"""The statistics agree with published and with enumerated values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.training.statistics import (
    auc,
    auc_by_patient,
    brier,
    calibration_error,
    clopper_pearson,
    mean_by_patient,
    reliability,
    wilson,
)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(38, 38, 0.908, 1.0), (48, 51, 0.841, 0.980), (33, 35, 0.814, 0.984), (6, 6, 0.610, 1.0)]
)
def test_wilson_gives_the_published_intervals(hits: int, n: int, low: float, high: float) -> None:
    found = wilson(hits, n)
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (hits / n, low, high)


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(38, 38, 0.907, 1.0), (48, 51, 0.838, 0.988), (0, 10, 0.0, 0.308)])
def test_clopper_pearson_gives_the_published_intervals(hits: int, n: int, low: float, high: float) -> None:
    found = clopper_pearson(hits, n)
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (hits / n, low, high)


def test_no_cases_give_the_widest_interval() -> None:
    for interval in (wilson(0, 0), clopper_pearson(0, 0)):
        assert math.isnan(interval.value)
        assert (interval.low, interval.high) == (0.0, 1.0)


def test_the_area_under_the_curve_counts_pairs_with_ties_one_half() -> None:
    rng = np.random.default_rng(1)
    y, s = rng.integers(0, 2, 60), rng.integers(0, 8, 60).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in s[y == 1] for b in s[y == 0]]
    assert auc(y, s) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert math.isnan(auc([1, 1], [0.1, 0.2]))


def test_the_bootstrap_draws_patients_so_repeated_films_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1], 20)
    s = rng.normal(0, 1, 40) + y
    patients = [f"p{n}" for n in range(40)]
    once = auc_by_patient(y, s, patients, resamples=2000)
    thrice = auc_by_patient(np.tile(y, 3), np.tile(s, 3), patients * 3, resamples=2000)
    alone = auc_by_patient(np.tile(y, 3), np.tile(s, 3), [f"q{n}" for n in range(120)], resamples=2000)
    assert once == pytest.approx(thrice, abs=1e-12)
    assert alone.high - alone.low < 0.75 * (once.high - once.low)
    assert once.low < once.value < once.high
    assert auc_by_patient(y, s, patients, resamples=2000) == once


def test_the_mean_over_patients_has_its_normal_interval() -> None:
    values = np.random.default_rng(3).normal(5, 1, 400)
    found = mean_by_patient(values, [str(n) for n in range(400)])
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_calibration_measures_agree_with_hand_counts() -> None:
    assert brier([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)
    assert calibration_error([1, 0, 1, 1], [0.5, 0.5, 0.9, 0.9]) == pytest.approx((0.0 * 2 + 0.1 * 2) / 4)
    table = reliability([0, 0, 1, 1, 1, 1, 0, 1, 1, 1], np.linspace(0.05, 0.95, 10), bins=5)
    assert [row["n"] for row in table] == [2] * 5
    assert [row["observed"] for row in table] == [0.0, 1.0, 1.0, 0.5, 1.0]
