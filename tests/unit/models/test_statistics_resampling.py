"""Intervals from drawing patients, and DeLong's variance beside it, agree with slower ways to the same figure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.training.statistics import (
    auc,
    auc_by_patient,
    auc_delong,
    auc_non_inferiority,
    brier,
    clopper_pearson,
    cohen_kappa,
    counts_of,
    delong,
    delong_test,
    difference_by_patient,
    interval_by_patient,
    macro_auc,
    mean_by_patient,
    measures_by_patient,
    micro_auc,
    multilabel_auc,
)


def sample(n: int, seed: int, tied: bool = False) -> tuple[Any, Any, Any]:
    """Return labels and two correlated scores of n patients."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 3 == 0).astype(int)
    common = rng.normal(size=n) + y
    first, second = common + rng.normal(size=n), common + rng.normal(size=n)
    return (y, np.round(first), np.round(second)) if tied else (y, first, second)


def pairwise(y: Any, s: Any) -> Any:
    """Return (positives, negatives) of 1 for the right order, one half for a tie."""
    return np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in s[y == 0]] for a in s[y == 1]])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n", [12, 61, 150])
def test_delong_agrees_with_the_covariance_of_all_pairs(n: int, tied: bool) -> None:
    y, *scores = sample(n, n, tied)
    won = [pairwise(y, s) for s in scores]
    by_positive, by_negative = [w.mean(1) for w in won], [w.mean(0) for w in won]
    expected = np.cov(by_positive) / y.sum() + np.cov(by_negative) / (1 - y).sum()
    aucs, covariance = delong(y, scores, np.arange(n))
    assert aucs == pytest.approx([w.mean() for w in won], abs=1e-12)
    assert covariance == pytest.approx(expected, abs=1e-12)
    assert delong(y, scores[0], np.arange(n))[1] == pytest.approx(expected[:1, :1], abs=1e-12)


def test_films_of_a_patient_shown_three_times_add_no_certainty_to_delong() -> None:
    y, new, old = sample(60, 4)
    aucs, covariance = delong(y, [new, old], np.arange(60))
    thrice = delong(np.tile(y, 3), np.tile([new, old], 3), np.tile(np.arange(60), 3))
    assert thrice[0] == pytest.approx(aucs, abs=1e-12)
    assert thrice[1] == pytest.approx(covariance, abs=1e-12)


@pytest.mark.parametrize(("within", "ratio"), [(False, 0.8), (True, 1.15)])
def test_the_clustered_variance_is_what_drawing_patients_gives(within: bool, ratio: float) -> None:
    """Films of one label a patient are fewer than they look; a sound and an ill lung of one patient beat two strangers."""
    rng = np.random.default_rng(11)
    who = np.repeat(np.arange(150), 4)
    y = np.tile([0, 1], 300) if within else rng.integers(0, 2, 150)[who]
    s = y + rng.normal(size=150)[who] * 1.5 + rng.normal(size=600)
    clustered, drawn, strangers = (
        interval.high - interval.low
        for interval in (auc_delong(y, s, who), auc_by_patient(y, s, who), auc_delong(y, s, np.arange(600)))
    )
    assert clustered == pytest.approx(drawn, rel=0.05)
    assert (strangers > ratio * clustered) if within else (strangers < ratio * clustered)


def test_the_paired_test_is_the_difference_over_its_error() -> None:
    y, new, old = sample(120, 7)
    found = delong_test(y, new, old, np.arange(120))
    _, covariance = delong(y, [new, old], np.arange(120))
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (found.new, found.old) == (auc(y, new), auc(y, old))
    assert found.standard_error == pytest.approx(error)
    assert found.p_value == pytest.approx(math.erfc(abs(found.new - found.old) / error / math.sqrt(2)))
    assert found.difference[1:] == pytest.approx(np.add(found.new - found.old, [-1.959964 * error, 1.959964 * error]))
    swapped = delong_test(y, old, new, np.arange(120))
    assert swapped.p_value == pytest.approx(found.p_value)
    assert swapped.difference.value == pytest.approx(-found.difference.value)
    assert delong_test(y, new, 2 * new + 1, np.arange(120)).p_value == 1.0


def test_the_paired_test_rejects_equals_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(600):
        y = np.repeat([0, 1], 60)
        common = rng.normal(size=120) + y
        p_values.append(delong_test(y, common + rng.normal(size=120), common + rng.normal(size=120), np.arange(120)).p_value)
    assert stats.binomtest(int((np.array(p_values) < 0.05).sum()), 600, 0.05).pvalue > 0.001


def test_non_inferiority_is_shown_by_many_patients_and_not_by_few() -> None:
    rng = np.random.default_rng(8)
    few, many = ((y, y + rng.normal(size=len(y)) * 0.7) for y in (np.repeat([0, 1], 30), np.repeat([0, 1], 3000)))
    for (y, s), shown in ((few, False), (many, True)):
        near = s + rng.normal(size=len(y)) * 0.2
        found, paired = auc_non_inferiority(y, near, s, np.arange(len(y))), delong_test(y, near, s, np.arange(len(y)), 0.90)
        assert found.low == pytest.approx(paired.difference.low)
        assert found.difference == pytest.approx(paired.difference.value)
        assert found.shown == (found.p_value < 0.05) == (found.low > -0.02) == shown
        assert (found.power > 0.85) == shown
        assert (found.positives, found.negatives) == (len(y) // 2, len(y) // 2)


@pytest.mark.parametrize(("patients", "shown"), [(20, False), (100, False), (200, True)])
def test_two_models_without_an_error_are_not_equal_before_there_are_enough_patients(patients: int, shown: bool) -> None:
    y = np.repeat([0, 1], patients)
    found = auc_non_inferiority(y, y + np.linspace(0, 0.5, len(y)), y, np.arange(len(y)))
    assert found.shown == shown
    assert found.low == pytest.approx(0.05 ** (1 / patients) - 1)


def test_a_sample_without_an_error_promises_no_perfect_model() -> None:
    y = np.repeat([0, 1], 30)
    for found in (auc_by_patient(y, y, np.arange(60)), auc_delong(y, y, np.arange(60))):
        assert found == (1.0, *clopper_pearson(30, 30)[1:])
    assert auc_by_patient(y, -y, np.arange(60)) == (0.0, *clopper_pearson(0, 30)[1:])
    # three films of ten patients, each with a sound and an ill lung: five pairs of patients
    assert auc_by_patient(np.tile([0, 1], 10), np.tile([0, 1], 10), np.repeat(np.arange(10), 2)).low == clopper_pearson(5, 5).low


@pytest.mark.parametrize(
    ("labels", "patients"), [([0, 1, 1], [1, 2, 3]), ([0, 0, 1, 1], ["a", "b", "c", "c"]), ([0, 1, 0, 1], ["a", "a", "a", "a"])]
)
def test_one_patient_of_a_label_has_no_variance(labels: list[int], patients: list[Any]) -> None:
    with pytest.raises(ValueError, match="two of each"):
        delong(labels, np.arange(len(labels)), patients)


def test_a_margin_must_be_a_loss_and_both_models_must_see_the_same_cases() -> None:
    y, new, old = sample(30, 1)
    with pytest.raises(ValueError, match="margin"):
        auc_non_inferiority(y, new, old, np.arange(30), margin=-0.02)
    with pytest.raises(ValueError, match="same cases"):
        delong_test(y, new, old[1:], np.arange(30))


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
    assert auc_by_patient(y, s, patients, resamples=2000, seed=21) != once


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_areas_of_all_draws_at_once_are_the_areas_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, s, who = rng.integers(0, 2, 25), rng.integers(0, 6, 25).astype(float), rng.integers(0, 12, 25)
    y[:2] = 0, 1
    s[:4] = 0, 5, 5, 0
    y[2:4] = 0, 1  # neither separated nor reversed
    fast, slow = auc_by_patient(y, s, who, 40, seed), interval_by_patient(auc, (y, s), who, 40, seed)
    assert fast == pytest.approx(slow, abs=1e-12)
    other = rng.integers(0, 6, 25).astype(float)
    fast = difference_by_patient(auc, y, s, other, who, 40, seed)
    slow = difference_by_patient(lambda a, b: auc(a, b), y, s, other, who, 40, seed)
    assert fast == pytest.approx(slow, abs=1e-12)


def test_the_number_of_draws_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    y, s, _ = sample(90, 5)
    whole = auc_by_patient(y, s, np.arange(90), 300)
    monkeypatch.setattr("models.training.statistics.bootstrap.NUMBERS_AT_ONCE", 700)
    assert auc_by_patient(y, s, np.arange(90), 300) == whole


def test_the_bootstrap_of_an_area_is_near_delong() -> None:
    y, s, other = sample(600, 6)
    drawn, normal = auc_by_patient(y, s, np.arange(600)), auc_delong(y, s, np.arange(600))
    assert drawn == pytest.approx(normal, abs=0.004)
    difference = difference_by_patient(auc, y, s, other, np.arange(600))
    assert difference == pytest.approx(delong_test(y, s, other, np.arange(600)).difference, abs=0.004)


def test_a_paired_difference_is_narrower_than_two_intervals_and_nothing_for_the_same_model() -> None:
    y, s, other = sample(200, 9)
    p, q = (1 / (1 + np.exp(-x)) for x in (s, other))
    found = difference_by_patient(brier, y, p, q, np.arange(200), 2000)
    assert found.value == pytest.approx(brier(y, p) - brier(y, q))
    assert found == pytest.approx(mean_by_patient((p - y) ** 2 - (q - y) ** 2, np.arange(200), 2000), abs=1e-12)
    assert difference_by_patient(brier, y, p, p, np.arange(200), 200) == (0.0, 0.0, 0.0)


def test_several_findings_share_their_draws() -> None:
    rng = np.random.default_rng(12)
    y = rng.random((90, 3)) < [0.5, 0.3, 0.2]
    s, who = y + rng.normal(size=(90, 3)), np.repeat(np.arange(45), 2)
    found = multilabel_auc(y, s, ("effusion", "nodule", "mass"), who, 300)
    assert list(found.findings) == ["effusion", "nodule", "mass"]
    for c, one in enumerate(found.findings.values()):
        assert one == pytest.approx(auc_by_patient(y[:, c], s[:, c], who, 300), abs=1e-12)
    assert found.macro == pytest.approx(interval_by_patient(macro_auc, (y, s), who, 300), abs=1e-12)
    assert found.micro == pytest.approx(interval_by_patient(micro_auc, (y, s), who, 300), abs=1e-12)
    with pytest.raises(ValueError, match="2 names for 3 findings"):
        multilabel_auc(y, s, ("effusion", "nodule"), who)


def test_measures_at_a_threshold_have_the_intervals_of_their_draws() -> None:
    y, s, _ = sample(80, 14)
    who, called = np.repeat(np.arange(40), 2), s > 0.7
    found = measures_by_patient(y, called, who, resamples=300)
    for name, interval in found.items():
        slow = interval_by_patient(lambda a, b, name=name: float(getattr(counts_of(a, b), name)), (y, called), who, 300)
        assert interval == pytest.approx(slow, abs=1e-12)
    assert list(found) == ["sensitivity", "specificity", "ppv", "npv", "accuracy", "f1", "mcc"]
    with pytest.raises(ValueError, match="ppv: undefined"):
        measures_by_patient(y, np.zeros(80), who, ("accuracy", "ppv"))


def test_a_change_of_agreement_has_an_interval_over_cases() -> None:
    rng = np.random.default_rng(15)
    truth = rng.integers(0, 3, 120)

    def read(error: float) -> Any:
        return np.where(rng.random(120) < error, rng.integers(0, 3, 120), truth)

    before, after = (read(0.5), read(0.5)), (read(0.1), read(0.1))
    found = interval_by_patient(lambda a, b, c, d: cohen_kappa(c, d) - cohen_kappa(a, b), (*before, *after), np.arange(120), 500)
    assert 0 < found.low < found.value < found.high


def test_the_mean_over_patients_has_its_normal_interval() -> None:
    values = np.random.default_rng(3).normal(5, 1, 400)
    found = mean_by_patient(values, [str(n) for n in range(400)])
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_what_most_draws_cannot_show_has_no_interval() -> None:
    def needs_all_patients(values: Any) -> float:
        if len(set(values)) < 10:
            raise ValueError("a patient is missing")
        return 1.0

    with pytest.raises(ValueError, match="0 of 200 resamples"):
        interval_by_patient(needs_all_patients, (np.arange(10),), np.arange(10), 200)
    with pytest.raises(ValueError, match="2 are needed"):
        mean_by_patient([1.0, 2.0], ["a", "a"])
    with pytest.raises(ValueError, match="no mean"):
        mean_by_patient([], [])
    with pytest.raises(ValueError, match="for the sample itself"):
        interval_by_patient(lambda _: math.nan, ([1, 2],), ["a", "b"])
    with pytest.raises(ValueError, match="one length"):
        interval_by_patient(auc, ([0, 1], [0.1]), ["a", "b"])
