"""What a threshold makes of scores: the four counts, the measures made of them, and their intervals.

A case is called positive at score >= threshold. Wilson's and Clopper and Pearson's intervals take each case for another patient;
with several cases a patient, first make one of them (``mean_per_patient``) or use ``measures_by_patient``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from models.training.statistics.bootstrap import RESAMPLES, SEED, draws, percentile_interval
from models.training.statistics.cases import outcomes, patient_codes, scored, scored_both
from models.training.statistics.shares import Interval, Share, share

MEASURES = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1", "mcc")


class Counts(NamedTuple):
    """True and false calls. Each is a number, or an array with one entry a resample; so are the measures, nan where undefined."""

    true_positive: Any
    false_positive: Any
    false_negative: Any
    true_negative: Any

    @property
    def sensitivity(self) -> Any:
        """Share of the positives that are called (recall)."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> Any:
        """Share of the negatives that are not called."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def ppv(self) -> Any:
        """Share of the called that are positive (precision), at the sample's own share of positives."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def npv(self) -> Any:
        """Share of the not called that are negative, at the sample's own share of positives."""
        return _ratio(self.true_negative, self.true_negative + self.false_negative)

    @property
    def accuracy(self) -> Any:
        """Share of right calls."""
        return _ratio(self.true_positive + self.true_negative, sum(self))

    @property
    def f1(self) -> Any:
        """Harmonic mean of sensitivity and ppv (van Rijsbergen 1979); true negatives do not count."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def mcc(self) -> Any:
        """Correlation of call and label (Matthews, Biochim Biophys Acta 1975); 0 when all calls or all labels are alike."""
        tp, fp, fn, tn = (np.asarray(count, np.float64) for count in self)
        scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return (tp * tn - fp * fn) / np.where(scale > 0, scale, 1.0)


class AtThreshold(NamedTuple):
    """Counts at a threshold, sensitivity and specificity with both intervals."""

    threshold: float
    counts: Counts
    sensitivity: Share
    specificity: Share


def counts_of(labels: ArrayLike, calls: ArrayLike) -> Counts:
    """Return the four counts of labels and calls, both (n,) of 0 and 1.

    Raises
    ------
    ValueError
        No cases, other lengths, or values other than 0 and 1.
    """
    called = outcomes(calls)
    y = outcomes(labels, called.shape)
    cells = np.bincount(2 * y.ravel() + called.ravel(), minlength=4)
    return Counts(int(cells[3]), int(cells[1]), int(cells[2]), int(cells[0]))


def counts_at(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Counts:
    """Return the four counts at score >= threshold.

    Raises
    ------
    ValueError
        See ``counts_of``; or a score or the threshold is not a number.
    """
    y, s = scored(labels, scores)
    if np.isnan(threshold):
        raise ValueError("the threshold is not a number")
    return counts_of(y, s >= threshold)


def counts_by_class(labels: ArrayLike, predictions: ArrayLike, classes: Sequence[Any]) -> dict[Any, Counts]:
    """Return for each class the counts of class against rest, from one label and one predicted class a case, both (n,).

    Raises
    ------
    ValueError
        No cases, other lengths, or a label or prediction that is none of ``classes``.
    """
    y, p = np.asarray(labels), np.asarray(predictions)
    if y.size == 0 or y.shape != p.shape:
        raise ValueError(f"labels have shape {y.shape}, predictions {p.shape}: one prediction a label is needed")
    other = sorted(set(np.unique(np.concatenate([y, p])).tolist()) - set(classes))
    if other:
        raise ValueError(f"{other[0]!r} is none of the classes {', '.join(map(str, classes))}")
    return {name: counts_of(y == name, p == name) for name in classes}


def sensitivity_specificity(labels: ArrayLike, scores: ArrayLike, threshold: float, confidence: float = 0.95) -> AtThreshold:
    """Return sensitivity and specificity at score >= threshold, each with both intervals.

    Parameters
    ----------
    labels, scores
        (n,), one case a patient.

    Raises
    ------
    ValueError
        See ``counts_at``; or all labels are alike.
    """
    y, s = scored_both(labels, scores)
    counts = counts_at(y, s, threshold)
    return AtThreshold(
        float(threshold),
        counts,
        share(counts.true_positive, counts.true_positive + counts.false_negative, confidence),
        share(counts.true_negative, counts.true_negative + counts.false_positive, confidence),
    )


def measures_by_patient(
    labels: ArrayLike,
    calls: ArrayLike,
    patients: ArrayLike,
    measures: Sequence[str] = MEASURES,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return measures of ``Counts`` over cases with percentile intervals from drawing patients with replacement.

    A share of exactly 0 or 1 stays so in every draw and its interval has no width: print ``sensitivity_specificity`` beside it.

    Parameters
    ----------
    labels, calls
        (n,) of 0 and 1.
    patients
        (n,), whose case each is.
    measures
        Names of properties of ``Counts``.

    Raises
    ------
    ValueError
        See ``counts_of`` and ``percentile_interval``; or a measure is undefined for the sample itself.
    """
    called = outcomes(calls)
    y = outcomes(labels, called.shape)
    who, count = patient_codes(patients, len(y))
    kinds = (y & called, ~y & called, y & ~called, ~y & ~called)
    cells = np.stack([np.bincount(who, kind, count) for kind in kinds], 1)  # (patients, 4)
    drawn = Counts(*np.concatenate([times @ cells for times in draws(count, count, resamples, seed)]).T)
    seen = counts_of(y, called)
    undefined = [name for name in measures if np.isnan(getattr(seen, name))]
    if undefined:
        raise ValueError(f"{', '.join(undefined)}: undefined for {seen}")
    return {name: percentile_interval(float(getattr(seen, name)), [getattr(drawn, name)], confidence) for name in measures}


def _ratio(part: Any, whole: Any) -> Any:
    whole = np.asarray(whole, np.float64)
    result = np.asarray(part, np.float64) / np.where(whole > 0, whole, np.nan)
    return float(result) if result.ndim == 0 else result
