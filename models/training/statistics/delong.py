"""DeLong's variance of AUCs on the same patients: an interval, the paired test, and the bound of non-inferiority.

With several images a patient the variance is Obuchowski's for clustered data, which is DeLong's when each patient has one.

Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44:837 (1988); mid-rank computation: Sun and Xu, IEEE Signal Processing
Letters 21:1389 (2014), equations 7 to 10; clusters: Obuchowski, Biometrics 53:567 (1997), section 2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from models.training.statistics.bootstrap import separated_interval
from models.training.statistics.cases import Codes, Floats, Labels, patient_codes, scored_both
from models.training.statistics.shares import Interval, tail_of


class PairedAuc(NamedTuple):
    """Two AUCs on the same patients, their difference new - old with its interval, and the two-sided p value."""

    new: float
    old: float
    difference: Interval
    standard_error: float
    p_value: float


class NonInferiority(NamedTuple):
    """Is the new AUC less than ``margin`` below the old one? ``shown`` only if the one-sided bound says so."""

    new: float
    old: float
    difference: float
    #: one-sided lower confidence bound of the difference
    low: float
    margin: float
    #: one-sided; like the power nan where both rank alike or separate without error: there is no variance
    p_value: float
    #: probability that a sample like this one shows it when both are equally good; low power and not shown: insufficient evidence
    power: float
    #: patients with a positive and with a negative case
    positives: int
    negatives: int
    shown: bool


def delong(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> tuple[Floats, Floats]:
    """Return AUCs and their covariance.

    Parameters
    ----------
    labels
        (n,) of 0 and 1.
    scores
        (n,) or (models, n).
    patients
        (n,), whose case each is.

    Returns
    -------
    tuple
        AUCs (models,) and covariance (models, models).

    Raises
    ------
    ValueError
        See ``auc``; or fewer than two patients with a positive or with a negative case.
    """
    y, s, who = _cases(labels, scores, patients)
    return _aucs_and_covariance(y, s, who)


def auc_delong(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the AUC with DeLong's normal interval, cut to 0..1.

    An AUC of exactly 0 or 1 has variance 0; its bound is ``separated_interval``'s.

    Raises
    ------
    ValueError
        See ``delong``.
    """
    y, s, who = _cases(labels, scores, patients)
    (value,), covariance = _aucs_and_covariance(y, s, who)
    if value in (0.0, 1.0):
        return separated_interval(float(value), y, who, confidence)
    half = float(stats.norm.isf(tail_of(confidence))) * math.sqrt(max(0.0, covariance[0, 0]))
    return Interval(float(value), max(0.0, float(value) - half), min(1.0, float(value) + half))


def delong_test(labels: ArrayLike, new: ArrayLike, old: ArrayLike, patients: ArrayLike, confidence: float = 0.95) -> PairedAuc:
    """Compare two AUCs on the same patients.

    Parameters
    ----------
    labels, new, old
        (n,), see ``auc``.

    Returns
    -------
    PairedAuc
        ``p_value`` is two-sided; 1 where the AUCs are equal, nan where they differ and show no variance at all.

    Raises
    ------
    ValueError
        See ``delong``.
    """
    y, s, who = _cases(labels, _stacked(new, old), patients)
    aucs, covariance = _aucs_and_covariance(y, s, who)
    difference, error = float(aucs[0] - aucs[1]), _error_of_difference(covariance)
    p = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else math.nan
    if difference == 0:
        p = 1.0
    half = float(stats.norm.isf(tail_of(confidence))) * error
    return PairedAuc(float(aucs[0]), float(aucs[1]), Interval(difference, difference - half, difference + half), error, p)


def auc_non_inferiority(
    labels: ArrayLike, new: ArrayLike, old: ArrayLike, patients: ArrayLike, margin: float = 0.02, confidence: float = 0.95
) -> NonInferiority:
    """Ask whether the new AUC is less than ``margin`` below the old one, by the one-sided DeLong bound of the difference.

    Parameters
    ----------
    labels, new, old
        (n,), see ``auc``.
    margin
        The largest loss of AUC that is accepted, above 0.
    confidence
        One-sided.

    Raises
    ------
    ValueError
        See ``delong``; or ``margin`` is not above 0, or ``confidence`` not above one half.

    Notes
    -----
    Where both separate the sample without error the normal bound would be 0 for any number of patients. The bound is then what
    ``separated_interval`` leaves of the new AUC, against an old one of 1.
    """
    if not margin > 0 or not 0.5 < confidence < 1:
        raise ValueError(f"a margin above 0 and a confidence in 0.5..1 are needed, found {margin:g} and {confidence:g}")
    y, s, who = _cases(labels, _stacked(new, old), patients)
    aucs, covariance = _aucs_and_covariance(y, s, who)
    difference, error = float(aucs[0] - aucs[1]), _error_of_difference(covariance)
    z = float(stats.norm.isf(1 - confidence))
    if error > 0:
        low, p = difference - z * error, float(stats.norm.sf((difference + margin) / error))
        power = float(stats.norm.cdf(margin / error - z))
    else:
        low, p, power = difference, math.nan, math.nan
        if aucs[0] == 1.0:
            low = separated_interval(1.0, y, who, 2 * confidence - 1).low - float(aucs[1])
    return NonInferiority(
        float(aucs[0]),
        float(aucs[1]),
        difference,
        low,
        margin,
        p,
        power,
        len(np.unique(who[y])),
        len(np.unique(who[~y])),
        low > -margin,
    )


def _stacked(new: ArrayLike, old: ArrayLike) -> Floats:
    first, second = np.asarray(new, np.float64), np.asarray(old, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"new scores have shape {first.shape}, old ones {second.shape}: the same cases are needed")
    return np.stack([first, second])


def _cases(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> tuple[Labels, Floats, Codes]:
    models = np.atleast_2d(np.asarray(scores, np.float64))
    checked = [scored_both(labels, one)[0] for one in models]
    return checked[0], models, patient_codes(patients, models.shape[1])[0]


def _aucs_and_covariance(y: Labels, models: Floats, who: Codes) -> tuple[Floats, Floats]:
    m, n, count = int(y.sum()), int((~y).sum()), int(who.max()) + 1
    with_positive, with_negative = len(np.unique(who[y])), len(np.unique(who[~y]))
    if min(with_positive, with_negative) < 2:
        raise ValueError(
            f"{with_positive} patients with a positive and {with_negative} with a negative case: a variance needs two of each"
        )
    aucs = np.empty(len(models))
    up, down = np.empty((len(models), count)), np.empty((len(models), count))  # sums of residuals by patient
    for k, s in enumerate(models):
        everyone = stats.rankdata(s)
        beats = (everyone[y] - stats.rankdata(s[y])) / n  # share of negatives that each positive beats
        beaten = 1 - (everyone[~y] - stats.rankdata(s[~y])) / m  # share of positives that beat each negative
        aucs[k] = (everyone[y].sum() - m * (m + 1) / 2) / (m * n)
        up[k] = np.bincount(who[y], beats - aucs[k], count)
        down[k] = np.bincount(who[~y], beaten - aucs[k], count)
    shared = count / (count - 1) * up @ down.T / (m * n)  # 0 where no patient has both labels
    covariance = with_positive / (with_positive - 1) * up @ up.T / m**2 + with_negative / (with_negative - 1) * down @ down.T / n**2
    return aucs, covariance + shared + shared.T


def _error_of_difference(covariance: Floats) -> float:
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # what is left by rounding when both rank alike is no variance
    return math.sqrt(variance) if variance > 1e-15 else 0.0
