"""Percentile intervals from drawing patients with replacement, each with all of the patient's images.

One seed gives the same draws to every function here, so figures of one cohort can be compared draw by draw. Draws in which a figure
is undefined (one label only) are left out; if they are more than half, there is no interval.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; drawing clusters: Davison and Hinkley, Bootstrap
Methods and their Application (1997), section 3.8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from models.training.statistics.cases import Codes, Floats, Labels, patient_codes, scored, scored_both
from models.training.statistics.roc import auc, findings, macro_auc, micro_auc, weighted_aucs
from models.training.statistics.shares import Interval, clopper_pearson, tail_of

RESAMPLES = 10_000
SEED = 20
NUMBERS_AT_ONCE = 250_000  # 2 MB a temporary array: what fits a cache is twice as fast as what does not


class MultiLabelAuc(NamedTuple):
    """AUCs of several findings, each with its interval; macro: their mean, micro: all pairs of image and finding."""

    findings: dict[str, Interval]
    macro: Interval
    micro: Interval


def draws(patients: int, images: int, resamples: int = RESAMPLES, seed: int = SEED) -> Iterator[Floats]:
    """Yield how often each patient is drawn, (rows, patients), until ``resamples`` rows have been given.

    ``images`` bounds the rows given at once, and changes nothing else.

    Raises
    ------
    ValueError
        Fewer than two patients, or no resamples.
    """
    if patients < 2 or resamples < 1:
        raise ValueError(f"{resamples} resamples of {patients} patients: at least 1 of 2 are needed")
    rng = np.random.default_rng(seed)
    most = max(1, NUMBERS_AT_ONCE // max(images, patients))
    for start in range(0, resamples, most):
        rows = min(most, resamples - start)
        drawn = rng.integers(0, patients, (rows, patients)) + patients * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)


def percentile_interval(value: float, drawn: Sequence[Floats], confidence: float = 0.95) -> Interval:
    """Return a value with the percentiles of its resamples; nan among them is an undefined draw.

    Raises
    ------
    ValueError
        More than half of the draws are undefined.
    """
    values = np.concatenate([np.atleast_1d(part) for part in drawn])
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values):
        raise ValueError(f"the figure is defined in {len(defined)} of {len(values)} resamples: too few patients for an interval")
    tail = tail_of(confidence)
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Interval(float(value), float(low), float(high))


def auc_by_patient(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
) -> Interval:
    """Return the AUC over images with a percentile interval from drawing patients with replacement.

    Parameters
    ----------
    labels, scores
        (n,), see ``auc``.
    patients
        (n,), whose image each is.

    Raises
    ------
    ValueError
        See ``auc`` and ``percentile_interval``.

    Notes
    -----
    A sample that is separated without error is separated in every draw, too, and percentiles would claim certainty: the bound
    is then ``separated_interval``'s.
    """
    y, s = scored_both(labels, scores)
    who, count = patient_codes(patients, len(y))
    value = auc(y, s)
    if value in (0.0, 1.0):
        return separated_interval(value, y, who, confidence)
    return percentile_interval(
        value, [weighted_aucs(y, s, times[:, who]) for times in draws(count, len(y), resamples, seed)], confidence
    )


def separated_interval(value: float, y: Labels, who: Codes, confidence: float = 0.95) -> Interval:
    """Return an AUC of exactly 1 or 0 with an exact, cautious bound.

    Put positives and negatives of k patients each into k pairs. The pairs are independent and each is in the right order with
    probability AUC; all k are, so Clopper and Pearson's bound for k of k holds.
    """
    with_positive, with_negative = set(who[y].tolist()), set(who[~y].tolist())
    pairs = min(len(with_positive), len(with_negative), len(with_positive | with_negative) // 2)
    return Interval(value, *clopper_pearson(pairs if value == 1.0 else 0, pairs, confidence)[1:])


def multilabel_auc(
    labels: ArrayLike,
    scores: ArrayLike,
    names: Sequence[str],
    patients: ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
) -> MultiLabelAuc:
    """Return the AUC of each finding, macro and micro, with intervals from one set of draws of patients.

    Parameters
    ----------
    labels, scores
        (n, findings), see ``macro_auc`` and ``micro_auc``.
    names
        The findings, one a column.

    Raises
    ------
    ValueError
        See ``macro_auc`` and ``percentile_interval``.
    """
    y, s = findings(labels, scores)
    who, count = patient_codes(patients, len(y))
    if len(names) != y.shape[1]:
        raise ValueError(f"{len(names)} names for {y.shape[1]} findings")
    single: list[Floats] = []
    together: list[Floats] = []
    for times in draws(count, y.size, resamples, seed):
        weights = times[:, who]
        single.append(np.stack([weighted_aucs(y[:, c], s[:, c], weights) for c in range(len(names))], 1))
        together.append(weighted_aucs(y.ravel(), s.ravel(), np.repeat(weights, len(names), axis=1)))
    each = np.concatenate(single)
    found = {}
    for c, name in enumerate(names):
        value = auc(y[:, c], s[:, c])
        separated = value in (0.0, 1.0)
        found[name] = (
            separated_interval(value, y[:, c], who, confidence)
            if separated
            else percentile_interval(value, [each[:, c]], confidence)
        )
    macro = percentile_interval(macro_auc(y, s), [each.mean(1)], confidence)
    return MultiLabelAuc(found, macro, percentile_interval(micro_auc(y, s), together, confidence))


def mean_by_patient(
    values: ArrayLike, patients: ArrayLike, resamples: int = RESAMPLES, seed: int = SEED, confidence: float = 0.95
) -> Interval:
    """Return the mean over images, (n,), with a percentile interval from drawing patients with replacement.

    The difference of two Brier scores is the mean of differences: give it those.

    Raises
    ------
    ValueError
        No values, one that is not a number, or fewer than two patients.
    """
    v = np.asarray(values, np.float64)
    if v.size == 0 or np.isnan(v).any():
        raise ValueError(f"{v.size} values, {int(np.isnan(v).sum())} of them not a number: there is no mean")
    who, count = patient_codes(patients, len(v))
    sums, sizes = np.bincount(who, v, count), np.bincount(who, minlength=count)
    drawn = [(times @ sums) / (times @ sizes) for times in draws(count, len(v), resamples, seed)]
    return percentile_interval(float(v.mean()), drawn, confidence)


def interval_by_patient(
    metric: Callable[..., float],
    columns: Sequence[ArrayLike],
    patients: ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
) -> Interval:
    """Return ``metric(*columns)`` with a percentile interval from drawing patients with replacement.

    Parameters
    ----------
    metric
        Any figure of arrays whose first axis is cases. ValueError or nan says that it is undefined for a draw.
    columns
        What the metric takes, each (n, ...).

    Raises
    ------
    ValueError
        The metric is undefined for the sample itself, or see ``percentile_interval``.
    """
    arrays = [np.asarray(column) for column in columns]
    if not arrays or any(array.ndim == 0 or len(array) != len(arrays[0]) for array in arrays):
        raise ValueError(f"columns have shapes {[array.shape for array in arrays]}: one length is needed")
    who, count = patient_codes(patients, len(arrays[0]))
    value = float(metric(*arrays))
    if math.isnan(value):
        raise ValueError("the metric is not a number for the sample itself")
    everyone = np.arange(len(who))
    drawn = [
        np.array([_or_nan(metric, arrays, np.repeat(everyone, row)) for row in times[:, who].astype(np.intp)])
        for times in draws(count, len(who), resamples, seed)
    ]
    return percentile_interval(value, drawn, confidence)


def difference_by_patient(
    metric: Callable[[Any, Any], float],
    labels: ArrayLike,
    new: ArrayLike,
    old: ArrayLike,
    patients: ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
) -> Interval:
    """Return metric(labels, new) - metric(labels, old) with a percentile interval, both from the same patients in every draw.

    The lower end at ``confidence`` 0.90 is the one-sided 95 % bound that a non-inferiority question wants. ``auc`` is computed for
    all draws at once, and gives what any other metric's way would give.

    Parameters
    ----------
    metric
        Takes labels and one of the two; see ``interval_by_patient``.
    labels, new, old
        (n, ...), cases on the first axis.

    Raises
    ------
    ValueError
        See ``interval_by_patient``.
    """
    if metric is not auc:
        return interval_by_patient(
            lambda y, a, b: metric(y, a) - metric(y, b), (labels, new, old), patients, resamples, seed, confidence
        )
    (y, first), (_, second) = scored_both(labels, new), scored(labels, old)
    who, count = patient_codes(patients, len(y))
    drawn = []
    for times in draws(count, len(y), resamples, seed):
        weights = times[:, who]
        drawn.append(weighted_aucs(y, first, weights) - weighted_aucs(y, second, weights))
    return percentile_interval(auc(y, first) - auc(y, second), drawn, confidence)


def _or_nan(metric: Callable[..., float], arrays: Sequence[Any], chosen: Codes) -> float:
    try:
        return float(metric(*(array[chosen] for array in arrays)))
    except ValueError:
        return math.nan
