"""P values for counts and groups, and what becomes of them when there are several."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from models.training.statistics.cases import Floats, outcomes


class Flips(NamedTuple):
    """Cases that one of two models gets right and the other wrong, with the exact p value."""

    only_first: int
    only_second: int
    p_value: float


class GroupTest(NamedTuple):
    """The test that was used, by name, and its two-sided p value."""

    test: str
    p_value: float


def mcnemar_exact(first_right: ArrayLike, second_right: ArrayLike) -> Flips:
    """Compare two models on the same patients by the cases on which they differ.

    Parameters
    ----------
    first_right, second_right
        (n,) of 0 and 1, one case a patient: did the model get it right? Or, for flips, did it call the case?

    Returns
    -------
    Flips
        ``p_value``: two-sided; 1 when they never differ.

    Raises
    ------
    ValueError
        No cases, other lengths, or values other than 0 and 1.

    Notes
    -----
    McNemar, Psychometrika 12:153 (1947), with the binomial distribution in place of chi-square.
    """
    a = outcomes(first_right)
    b = outcomes(second_right, a.shape)
    first, second = int((a & ~b).sum()), int((b & ~a).sum())
    return Flips(first, second, float(stats.binomtest(first, first + second).pvalue) if first + second else 1.0)


def binomial_below(hits: int, n: int, share: float) -> float:
    """Return P(Bin(n, share) <= hits): a small value rejects that the true share is ``share`` or more. Exact, one-sided.

    Raises
    ------
    ValueError
        ``hits`` is not in 0..n, n is 0, or ``share`` is not in 0..1.
    """
    if n < 1 or not 0 <= hits <= n or not 0 <= share <= 1:
        raise ValueError(f"{hits} hits of {n} cases against a share of {share:g} is no question")
    return float(stats.binom.cdf(hits, n, share))


def holm(p_values: ArrayLike) -> Floats:
    """Return p values adjusted for their number, in the order given: reject those <= level, and at most ``level`` rejects wrongly.

    Raises
    ------
    ValueError
        No p values, or one outside 0..1 or not a number.

    Notes
    -----
    Holm, Scand J Stat 6:65 (1979): step-down, valid under any dependence.
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or p.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values must be a list of numbers in 0..1, found {p.tolist()}")
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def compare_numbers(first: ArrayLike, second: ArrayLike) -> GroupTest:
    """Compare a quantity of two groups of patients, (n,) and (m,), by the Mann-Whitney test.

    Raises
    ------
    ValueError
        A group is empty or holds a value that is not a number.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if not a.size or not b.size or np.isnan(a).any() or np.isnan(b).any():
        raise ValueError(f"groups of {a.size} and {b.size} values: both need values, and numbers only")
    return GroupTest("Mann-Whitney", float(stats.mannwhitneyu(a, b, alternative="two-sided").pvalue))


def compare_shares(table: ArrayLike) -> GroupTest:
    """Compare groups of patients by how many fall into each category.

    Parameters
    ----------
    table
        (groups, categories) counts of patients.

    Returns
    -------
    GroupTest
        Fisher's exact test for 2 x 2 with an expected count below 5 (Cochran, Biometrics 10:417, 1954), else chi-square without
        continuity correction, which says so where it is doubtful.

    Raises
    ------
    ValueError
        Negative counts, or fewer than two groups or categories with patients.
    """
    counts = np.asarray(table, np.float64)
    if counts.ndim != 2 or (counts < 0).any():
        raise ValueError(f"a table of counts (groups, categories) is needed, found shape {counts.shape}")
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    if min(counts.shape) < 2:
        raise ValueError("two groups and two categories with patients are needed")
    few = stats.contingency.expected_freq(counts).min() < 5
    if few and counts.shape == (2, 2):
        return GroupTest("Fisher", float(stats.fisher_exact(counts.astype(np.int64)).pvalue))
    name = "chi-square, expected counts below 5" if few else "chi-square"
    return GroupTest(name, float(stats.chi2_contingency(counts, correction=False).pvalue))
