"""Agreement of readers and p values agree with published examples and with other libraries."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from models.training.statistics import (
    automation_bias,
    binomial_below,
    clopper_pearson,
    cohen_kappa,
    compare_numbers,
    compare_shares,
    fleiss_kappa,
    holm,
    mcnemar_exact,
)

reads = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(reads, st.sampled_from(["none", "linear", "quadratic"]))
def test_cohen_agrees_with_scikit_learn(rows: list[tuple[int, int]], weights: Any) -> None:
    a, b = np.array(rows).T
    if len({*a, *b}) == 1:
        with pytest.raises(ValueError, match="undefined"):
            cohen_kappa(a, b, weights, range(5))
        return
    theirs = cohen_kappa_score(a, b, labels=range(5), weights=None if weights == "none" else weights)
    assert cohen_kappa(a, b, weights, range(5)) == pytest.approx(theirs, abs=1e-12)
    assert cohen_kappa(b, a, weights, range(5)) == pytest.approx(theirs, abs=1e-12)


def test_a_step_that_nobody_chose_still_counts_as_distance() -> None:
    a, b = [0, 0.25, 1, 1], [0, 0.25, 0.25, 1]
    assert cohen_kappa(a, b, "linear", (0, 0.25, 0.5, 0.75, 1)) != pytest.approx(cohen_kappa(a, b, "linear"))
    with pytest.raises(ValueError, match=r"0\.3 is none"):
        cohen_kappa([0.3], [0.25], "linear", (0, 0.25))
    with pytest.raises(ValueError, match="same cases"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(ValueError, match="no cases"):
        cohen_kappa([], [])


def test_fleiss_gives_the_textbook_value() -> None:
    # ten cases, fourteen readers, five categories: how many readers chose each
    counts = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    ratings = [np.repeat(range(5), row) for row in counts]
    assert fleiss_kappa(ratings) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(ratings, range(6)) == pytest.approx(fleiss_kappa(ratings))


@given(reads)
def test_fleiss_with_two_readers_is_scotts_pi(rows: list[tuple[int, int]]) -> None:
    given_ = np.array(rows)
    shares = np.bincount(given_.ravel()) / given_.size
    if shares.max() == 1:
        with pytest.raises(ValueError, match="undefined"):
            fleiss_kappa(given_)
        return
    chance = (shares**2).sum()
    assert fleiss_kappa(given_) == pytest.approx(((given_[:, 0] == given_[:, 1]).mean() - chance) / (1 - chance), abs=1e-12)


def test_readers_of_different_number_have_no_fleiss_kappa() -> None:
    for ratings in ([1, 2, 3], [[1], [2]]):
        with pytest.raises(ValueError, match="two or more readers"):
            fleiss_kappa(ratings)


def test_automation_bias_counts_moves_to_a_wrong_answer_only() -> None:
    found = automation_bias(
        before=["TB", "TB", "PN", "TB", "PN"],
        after=["PN", "TB", "PN", "PN", "TB"],
        shown=["PN", "PN", "PN", "PN", "TB"],
        truth=["TB", "TB", "TB", "PN", "TB"],  # third: said so before; fourth and fifth: the model was right
    )
    assert (found.hits, found.n) == (1, 2)
    with pytest.raises(ValueError, match="same reads"):
        automation_bias([1], [1], [1], [1, 2])


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5))
def test_mcnemar_sums_the_binomial_tails(first: int, second: int, both: int) -> None:
    a = [1] * first + [0] * second + [1] * (both + 1)
    b = [0] * first + [1] * second + [1] * (both + 1)
    found = mcnemar_exact(a, b)
    n, least = first + second, min(first, second)
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    assert found == (first, second, pytest.approx(min(1.0, 2 * tail)))
    assert mcnemar_exact(b, a).p_value == pytest.approx(found.p_value)
    with pytest.raises(ValueError, match="no cases"):
        mcnemar_exact([], [])


def test_a_locked_set_rejects_a_sensitivity_only_when_it_is_clearly_missed() -> None:
    assert binomial_below(90, 100, 0.90) > 0.5
    assert binomial_below(84, 100, 0.90) < 0.05 < binomial_below(85, 100, 0.90)
    assert binomial_below(84, 100, 0.90) == pytest.approx(stats.binomtest(84, 100, 0.90, "less").pvalue)
    # the same question asked of the interval: rejected when its upper end lies below
    for hits in range(101):
        assert (binomial_below(hits, 100, 0.90) < 0.025) == (clopper_pearson(hits, 100).high < 0.90)
    with pytest.raises(ValueError, match="no question"):
        binomial_below(0, 0, 0.9)


def test_holm_gives_the_textbook_values_in_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    for wrong in ([], [0.2, 1.2], [math.nan], [-0.1]):
        with pytest.raises(ValueError, match="p values"):
            holm(wrong)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    p = np.array(p_values)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, p * len(p)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    # step down by hand at 5 %: reject from the smallest on until one fails
    rejected = 0
    for rank, value in enumerate(sorted(p_values)):
        if value * (len(p) - rank) > 0.05:
            break
        rejected += 1
    assert (adjusted <= 0.05).sum() == rejected


def test_cohorts_are_compared_by_the_test_that_is_named() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=40), rng.normal(1, 1, 50)
    assert compare_numbers(a, b) == ("Mann-Whitney", stats.mannwhitneyu(a, b).pvalue)
    assert compare_shares([[30, 20], [15, 35]]) == (
        "chi-square",
        pytest.approx(stats.chi2.sf(100 * (30 * 35 - 20 * 15) ** 2 / (45 * 55 * 50 * 50), 1)),
    )
    assert compare_shares([[3, 1], [1, 3]]) == ("Fisher", pytest.approx(34 / 70))  # the lady tasting tea
    assert compare_shares([[3, 1, 2], [1, 3, 2]]).test == "chi-square, expected counts below 5"
    assert compare_shares([[3, 1, 0], [1, 3, 0]]).test == "Fisher"
    for wrong in ([[1, 2]], [[1, -2], [3, 4]], [[0, 0], [3, 4]]):
        with pytest.raises(ValueError, match=r"table|two groups"):
            compare_shares(wrong)
    with pytest.raises(ValueError, match="both need values"):
        compare_numbers([], [1.0])
