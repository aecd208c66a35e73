"""Shares and areas under the curve agree with published, enumerated and other libraries' values, and refuse what has none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef, roc_auc_score

from models.training.statistics import (
    Counts,
    auc,
    auc_by_patient,
    auc_delong,
    brier,
    calibration_error,
    clopper_pearson,
    counts_at,
    counts_by_class,
    counts_of,
    delong,
    log_loss,
    macro_auc,
    mean_per_patient,
    micro_auc,
    reliability,
    sensitivity_specificity,
    share,
    wilson,
)

cases = st.lists(st.tuples(st.booleans(), st.integers(-20, 20)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(y for y, _ in rows) < len(rows)
)


def enumerated(y: Any, s: Any) -> float:
    """Return the AUC from the list of all pairs."""
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in s[y == 1] for b in s[y == 0]]))


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


@given(st.integers(1, 300), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_both_intervals_agree_with_scipy(n: int, data: st.DataObject, confidence: float) -> None:
    hits = data.draw(st.integers(0, n))
    test = stats.binomtest(hits, n)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = test.proportion_ci(confidence, method)
        assert ours(hits, n, confidence)[1:] == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert share(hits, n, confidence) == (hits, n, wilson(hits, n, confidence), clopper_pearson(hits, n, confidence))


def test_no_cases_give_the_widest_interval() -> None:
    for interval in (wilson(0, 0), clopper_pearson(0, 0)):
        assert math.isnan(interval.value)
        assert (interval.low, interval.high) == (0.0, 1.0)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
@pytest.mark.parametrize(("hits", "n", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, -1, 0.95), (1, 5, 1.0), (1, 5, 95)])
def test_what_is_no_share_has_no_interval(interval: Callable[..., Any], hits: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"not a share|confidence"):
        interval(hits, n, confidence)


@given(cases)
def test_the_area_under_the_curve_counts_pairs_with_ties_one_half(rows: list[tuple[bool, int]]) -> None:
    y, s = np.array([y for y, _ in rows]), np.array([s for _, s in rows], float)
    assert auc(y, s) == pytest.approx(enumerated(y, s), abs=1e-12)
    assert auc(y, s) == pytest.approx(roc_auc_score(y, s), abs=1e-12)


@given(cases)
def test_the_area_under_the_curve_knows_order_only_and_mirrors_with_the_labels(rows: list[tuple[bool, int]]) -> None:
    y, s = np.array([y for y, _ in rows]), np.array([s for _, s in rows], float)
    value = auc(y, s)
    assert 0 <= value <= 1
    for monotone in (np.exp(s / 10), 3 * s - 7, s**3, np.arctan(s)):
        assert auc(y, monotone) == value
    assert auc(~y, s) == pytest.approx(1 - value, abs=1e-12)
    assert auc(y, -s) == pytest.approx(1 - value, abs=1e-12)
    assert auc(y[::-1], s[::-1]) == value
    assert auc(np.tile(y, 2), np.tile(s, 2)) == pytest.approx(value, abs=1e-12)


def both(figure: Callable[..., Any]) -> Callable[..., Any]:
    """Give a figure that needs patients one a case."""
    return lambda y, s: figure(y, s, np.arange(len(y)))


@pytest.mark.parametrize("figure", [auc, both(auc_by_patient), both(auc_delong), both(delong)])
@pytest.mark.parametrize(
    ("labels", "scores", "why"),
    [
        ([], [], "no cases"),
        ([1, 1], [0.1, 0.2], "all 2 cases have label 1"),
        ([0, 0], [0.1, 0.2], "all 2 cases have label 0"),
        ([0, 1, 1], [0.1, 0.2], "one label a score"),
        ([0, 2], [0.1, 0.2], "must be 0 or 1, found"),
        ([0, 1], [0.1, math.nan], "1 of 2 scores are not a number"),
    ],
)
def test_without_both_labels_or_with_holes_there_is_no_area(figure: Any, labels: Any, scores: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        figure(labels, scores)


@pytest.mark.parametrize("figure", [brier, log_loss, calibration_error, reliability])
@pytest.mark.parametrize(
    ("labels", "probabilities", "why"),
    [([], [], "no cases"), ([1, 0], [1.2, 0.1], "logits"), ([1, 0], [math.nan, 0.1], "not a number"), ([0.5], [0.1], "0 or 1")],
)
def test_what_is_no_probability_has_no_calibration(figure: Any, labels: Any, probabilities: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        figure(labels, probabilities)


def test_macro_is_the_mean_of_findings_and_micro_the_area_over_all_pairs_with_a_score() -> None:
    rng = np.random.default_rng(5)
    y, s = rng.random((80, 4)) < [0.5, 0.3, 0.2, 0.1], rng.integers(0, 9, (80, 4)).astype(float)
    assert macro_auc(y, s) == pytest.approx(roc_auc_score(y, s, average="macro"), abs=1e-12)
    assert micro_auc(y, s) == pytest.approx(roc_auc_score(y, s, average="micro"), abs=1e-12)
    y[:, 2] = False
    with pytest.raises(ValueError, match=r"columns \[2\] have one label"):
        macro_auc(y, s)
    with pytest.raises(ValueError, match="images, findings"):
        macro_auc(y[:, 0], s[:, 0])


def test_a_case_at_the_threshold_is_called() -> None:
    assert counts_at([1, 1, 0, 0, 0], [0.5, 0.4, 0.5, 0.4, 0.1], 0.5) == (1, 1, 1, 2)
    with pytest.raises(ValueError, match="threshold"):
        counts_at([1, 0], [0.5, 0.4], math.nan)


def test_sensitivity_and_specificity_carry_both_named_intervals() -> None:
    y = np.array([1] * 51 + [0] * 38)
    s = np.array([0.9] * 48 + [0.1] * 3 + [0.2] * 38)
    found = sensitivity_specificity(y, s, 0.5)
    assert (found.sensitivity.hits, found.sensitivity.n, found.specificity.hits, found.specificity.n) == (48, 51, 38, 38)
    assert found.sensitivity.wilson[1:] == pytest.approx((0.841, 0.980), abs=5e-4)
    assert found.sensitivity.clopper_pearson[1:] == pytest.approx((0.838, 0.988), abs=5e-4)
    assert found.specificity.wilson[1:] == pytest.approx((0.908, 1.0), abs=5e-4)
    assert found.specificity.clopper_pearson[1:] == pytest.approx((0.907, 1.0), abs=5e-4)
    with pytest.raises(ValueError, match="both labels"):
        sensitivity_specificity([1, 1], [0.2, 0.3], 0.5)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_measures_of_counts_agree_with_scikit_learn(rows: list[tuple[bool, bool]]) -> None:
    y, called = np.array(rows).T
    found = counts_of(y, called)
    assert sum(found) == len(rows)
    assert found.accuracy == pytest.approx((y == called).mean())
    if (y | called).any():
        assert found.f1 == pytest.approx(f1_score(y, called))
    else:
        assert math.isnan(found.f1)
    if len(set(y)) == 2:
        assert found.mcc == pytest.approx(matthews_corrcoef(y, called), abs=1e-12)
    assert counts_of(~y, ~called) == (found.true_negative, found.false_negative, found.false_positive, found.true_positive)


def test_measures_without_cases_are_undefined_not_zero() -> None:
    empty = Counts(0, 0, 0, 4)
    assert math.isnan(empty.sensitivity)
    assert math.isnan(empty.ppv)
    assert (empty.specificity, empty.npv, float(empty.mcc)) == (1.0, 1.0, 0.0)


def test_each_class_is_counted_against_the_rest() -> None:
    found = counts_by_class(["TB", "TB", "PN", "Normal"], ["TB", "PN", "PN", "TB"], ("TB", "PN", "Normal"))
    assert found == {"TB": (1, 1, 1, 1), "PN": (1, 1, 0, 2), "Normal": (0, 0, 1, 3)}
    with pytest.raises(ValueError, match="COVID"):
        counts_by_class(["COVID"], ["TB"], ("TB", "PN"))


def test_slices_become_one_score_a_patient() -> None:
    labels, scores = mean_per_patient([1, 0, 1, 0], [0.2, 0.1, 0.6, 0.5], ["b", "a", "b", "a"])
    assert labels.tolist() == [False, True]
    assert scores == pytest.approx([0.3, 0.4])
    with pytest.raises(ValueError, match="1 patients have cases of both labels"):
        mean_per_patient([1, 0], [0.2, 0.1], ["a", "a"])
    with pytest.raises(ValueError, match="one patient a case"):
        mean_per_patient([1, 0], [0.2, 0.1], ["a"])


def test_calibration_measures_agree_with_hand_counts() -> None:
    assert brier([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)
    assert log_loss([1, 0], [0.8, 0.4]) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert math.isfinite(log_loss([1, 0], [0.0, 1.0]))
    assert calibration_error([1, 0, 1, 1], [0.5, 0.5, 0.9, 0.9]) == pytest.approx((0.0 * 2 + 0.1 * 2) / 4)
    assert calibration_error([1, 0], [1.0, 0.0]) == 0.0
    table = reliability([0, 0, 1, 1, 1, 1, 0, 1, 1, 1], np.linspace(0.05, 0.95, 10), bins=5)
    assert [row["n"] for row in table] == [2] * 5
    assert [row["observed"] for row in table] == [0.0, 1.0, 1.0, 0.5, 1.0]
    assert (table[0]["low"], table[0]["high"]) == wilson(0, 2)[1:]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40), st.randoms())
def test_the_reliability_diagram_counts_every_case_once_in_any_order(rows: list[tuple[bool, int]], random: Any) -> None:
    def table(cases: list[tuple[bool, int]]) -> list[dict[str, float]]:
        return reliability([y for y, _ in cases], [p / 6 for _, p in cases])

    shuffled = list(rows)
    random.shuffle(shuffled)
    found = table(rows)
    assert [list(row.values()) for row in table(shuffled)] == [pytest.approx(list(row.values())) for row in found]
    assert sum(row["n"] for row in found) == len(rows)
    assert 1 <= len(found) <= 5
    assert all(row["low"] <= row["observed"] <= row["high"] for row in found)
    means = [row["predicted"] for row in found]
    assert means == sorted(means)
