"""The statistics of every figure that is printed: intervals for shares, the area under the ROC curve, calibration.

The unit is the patient: the bootstrap draws patients, with all their images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A value with its two-sided interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, n: int, confidence: float = 0.95) -> Interval:
    """Return hits / n with Wilson's score interval (J Am Stat Assoc 1927). ``n`` 0 gives (nan, 0, 1)."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def clopper_pearson(hits: int, n: int, confidence: float = 0.95) -> Interval:
    """Return hits / n with the exact interval of Clopper and Pearson (Biometrika 1934). ``n`` 0 gives (nan, 0, 1)."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return Interval(hits / n, low, high)


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that a positive scores above a negative, ties counting one half; nan without both."""
    y, s = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return math.nan
    ranks = stats.rankdata(s)
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auc_by_patient(
    labels: ArrayLike, scores: ArrayLike, patients: Sequence[str], resamples: int = 10_000, seed: int = 20, confidence: float = 0.95
) -> Interval:
    """Return the AUC over images with a percentile interval from drawing patients with replacement.

    Draws without both labels are left out. (nan, nan, nan) without both labels.
    """
    y, s = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    value = auc(y, s)
    if math.isnan(value):
        return Interval(math.nan, math.nan, math.nan)
    names, who = np.unique(np.asarray(patients), return_inverse=True)
    wins = (s[y][:, None] > s[~y][None]) + 0.5 * (s[y][:, None] == s[~y][None])  # (positives, negatives)
    rng = np.random.default_rng(seed)
    drawn: list[Floats] = []
    for start in range(0, resamples, 500):
        count = min(500, resamples - start)
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), count).astype(np.float64)  # (count, patients)
        up, down = times[:, who[y]], times[:, who[~y]]
        weight = up.sum(1) * down.sum(1)
        won = np.einsum("bn,bn->b", up @ wins, down)
        drawn.append(won[weight > 0] / weight[weight > 0])
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), (tail, 1 - tail))
    return Interval(value, float(low), float(high))


def mean_by_patient(
    values: ArrayLike, patients: Sequence[str], resamples: int = 10_000, seed: int = 20, confidence: float = 0.95
) -> Interval:
    """Return the mean over images with a percentile interval from drawing patients with replacement."""
    v = np.asarray(values, np.float64)
    names, who = np.unique(np.asarray(patients), return_inverse=True)
    sums, sizes = np.bincount(who, v, len(names)), np.bincount(who, minlength=len(names))
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    means = (times @ sums) / (times @ sizes)
    tail = (1 - confidence) / 2
    return Interval(float(v.mean()), float(np.quantile(means, tail)), float(np.quantile(means, 1 - tail)))


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared distance of probability and outcome (Brier 1950)."""
    return float(np.mean((np.asarray(probabilities, np.float64) - np.asarray(labels, np.float64)) ** 2))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean negative log-likelihood; probabilities are kept 1e-7 away from 0 and 1."""
    y, p = np.asarray(labels, np.float64), np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


def calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error in equal-width bins (Naeini et al., AAAI 2015)."""
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    which = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs(y[which == b].sum() - p[which == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(y))


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = 5) -> list[dict[str, float]]:
    """Return the reliability diagram in quantile bins: mean probability, observed share, Wilson interval, n."""
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    rows = []
    for part in np.array_split(np.argsort(p, kind="stable"), bins):
        if len(part):
            seen = wilson(int(y[part].sum()), len(part))
            rows.append(
                {"predicted": float(p[part].mean()), "observed": seen.value, "low": seen.low, "high": seen.high, "n": len(part)}
            )
    return rows
