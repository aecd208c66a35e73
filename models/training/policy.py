"""Fit thresholds whose sensitivity holds with a stated confidence on new patients of the same population.

Sort the scores of n positives ascending, s_(1) <= ... <= s_(n). With tau = s_(k) the true sensitivity 1 - F(tau) is at least
Beta(n - k + 1, k)-distributed (equal for continuous scores), so P(sensitivity >= alpha) >= 1 - delta for the largest k with
P(Bin(n, 1 - alpha) >= k) >= 1 - delta. That is the one-sided tolerance bound of Wilks (Ann Math Stat 1941), and the same as "the
Clopper-Pearson lower bound of the observed sensitivity is at least alpha". Positive means p >= tau.

A naive sweep ("the highest threshold that keeps 90 % of these patients") misses its target on new patients about every second time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from models.training.statistics import clopper_pearson


class Infeasible(Exception):
    """No threshold can carry the guarantee; the message says what is missing. ``n_needed``: how many would do, 0 = unknown."""

    def __init__(self, message: str, n_needed: int = 0) -> None:
        super().__init__(message)
        self.n_needed = n_needed


def k_largest(n: int, alpha: float, delta: float) -> int:
    """Return the largest k in 1..n with P(Bin(n, 1 - alpha) >= k) >= 1 - delta, 0 when there is none."""
    k = np.arange(1, n + 1)
    enough = stats.binom.sf(k - 1, n, 1 - alpha) >= 1 - delta
    return int(enough.sum())  # the tail falls with k: the true ones come first


def n_needed(alpha: float, delta: float) -> int:
    """Return the fewest positives for which a guarantee exists: the smallest n with alpha ** n <= delta."""
    n = math.ceil(math.log(delta) / math.log(alpha))
    return n if k_largest(n, alpha, delta) else n + 1


def threshold(positives: ArrayLike, alpha: float, delta: float) -> float:
    """Return tau such that sensitivity >= alpha with confidence 1 - delta.

    Raises
    ------
    Infeasible
        Too few positives, or the score at the wanted rank is minus infinity (an earlier class takes these cases).
    """
    scores = np.sort(np.asarray(positives, np.float64))
    k = k_largest(len(scores), alpha, delta)
    if k == 0:
        needed = n_needed(alpha, delta)
        raise Infeasible(
            f"{len(scores)} positives; at least {needed} are needed for {alpha:g} with {1 - delta:g} confidence", needed
        )
    tau = float(scores[k - 1])
    if tau == -math.inf:
        raise Infeasible(f"an earlier class takes more than {1 - alpha:.0%} of these positives")
    return tau


def threshold_naive(positives: ArrayLike, alpha: float) -> float:
    """Return the highest threshold that keeps ``alpha`` of these positives. For comparison only: it promises nothing."""
    scores = np.sort(np.asarray(positives, np.float64))
    return float(scores[math.floor(len(scores) * (1 - alpha) + 1e-9)])


def threshold_expected(positives: ArrayLike, alpha: float) -> float:
    """Return the conformal risk control threshold (k = floor((n + 1)(1 - alpha))): holds on average over calibration sets only."""
    scores = np.sort(np.asarray(positives, np.float64))
    k = math.floor((len(scores) + 1) * (1 - alpha) + 1e-9)
    return float(scores[k - 1]) if k else -math.inf


def threshold_high(
    positives: ArrayLike, negatives: ArrayLike, tau: float, precision: float, confidence: float = 0.95
) -> float | None:
    """Return the smallest t >= tau whose precision has a Clopper-Pearson lower bound >= ``precision`` in this sample, else None.

    The bound holds at the sample's own share of positives, not at a hospital's.
    """
    up, down = np.asarray(positives, np.float64), np.asarray(negatives, np.float64)
    for t in np.unique(np.concatenate([up, down])):
        if t >= tau:
            hits, called = int((up >= t).sum()), int((up >= t).sum() + (down >= t).sum())
            if clopper_pearson(hits, called, confidence).low >= precision:
                return float(t)
    return None


def lowered(value: float) -> float:
    """Return the value as files keep it, six decimals, never above: rounding must not lift a threshold over a patient."""
    return math.floor(value * 1e6) / 1e6


def raised(value: float) -> float:
    """Return the value as files keep it, never below."""
    return math.ceil(value * 1e6) / 1e6


@dataclass(frozen=True)
class TwoClassPolicy:
    """Thresholds of the gated rule: TB if p_TB >= tau_tb, else PN if p_PN >= tau_pn, else normal."""

    tau_tb: float
    tau_pn: float
    n_tb: int
    n_pn: int
    delta: float


def fit_policy(
    p_tb: ArrayLike,
    p_pn: ArrayLike,
    labels: ArrayLike,
    alpha_tb: float = 0.90,
    alpha_pn: float = 0.85,
    delta: float = 0.05,
    hit: Literal["strict", "flagged"] = "strict",
) -> TwoClassPolicy:
    """Fit both thresholds so that both sensitivities hold together with confidence 1 - delta (Bonferroni: delta / 2 each).

    Parameters
    ----------
    p_tb, p_pn
        (n,) scores, one image a patient.
    labels
        (n,) of ``TB``, ``PN`` and anything else for neither.
    hit
        ``strict``: pneumonia that the TB gate takes is missed; ``flagged``: it counts as found.

    Raises
    ------
    Infeasible
        See ``threshold``.
    """
    tb, pn, y = np.asarray(p_tb, np.float64), np.asarray(p_pn, np.float64), np.asarray(labels)
    tau_tb = threshold(tb[y == "TB"], alpha_tb, delta / 2)
    gated: NDArray[np.float64] = np.where(tb[y == "PN"] >= tau_tb, -math.inf if hit == "strict" else math.inf, pn[y == "PN"])
    tau_pn = threshold(gated, alpha_pn, delta / 2)
    return TwoClassPolicy(tau_tb, tau_pn, int((y == "TB").sum()), int((y == "PN").sum()), delta)


def predict(policy: TwoClassPolicy, p_tb: ArrayLike, p_pn: ArrayLike) -> NDArray[np.str_]:
    """Return ``TB``, ``PN`` or ``Normal`` for each case."""
    tb, pn = np.asarray(p_tb) >= policy.tau_tb, np.asarray(p_pn) >= policy.tau_pn
    return np.where(tb, "TB", np.where(pn, "PN", "Normal"))
