"""The area under the ROC curve: of one finding, of many resamples at once, and of several findings together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from models.training.statistics.cases import Codes, Floats, Labels, scored, scored_both


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that a positive scores above a negative, ties counting one half.

    Parameters
    ----------
    labels
        (n,) of 0 and 1.
    scores
        (n,), higher for more suspicion; any unit, only their order counts.

    Raises
    ------
    ValueError
        No cases, one label only, a label other than 0 and 1, or a score that is not a number.

    Notes
    -----
    Mann-Whitney statistic by mid-ranks: Hanley and McNeil, Radiology 143:29 (1982).
    """
    y, s = scored_both(labels, scores)
    positives, negatives = int(y.sum()), int((~y).sum())
    return float((stats.rankdata(s)[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def weighted_aucs(y: Labels, s: Floats, weights: Floats) -> Floats:
    """Return the AUC under each row of case weights, nan where a row holds one label only.

    Parameters
    ----------
    y, s
        (n,) checked labels and scores.
    weights
        (rows, n), each case's weight; in a resample the number of times it was drawn.

    Returns
    -------
    Floats
        (rows,). After one sort each row costs n steps: a positive looks up the weight of the negatives below it.
    """
    positive, negative = np.flatnonzero(y), np.flatnonzero(~y)
    negative = negative[np.argsort(s[negative])]
    under: Codes = np.searchsorted(s[negative], s[positive], "left")
    up_to: Codes = np.searchsorted(s[negative], s[positive], "right")
    below = np.zeros((len(weights), len(negative) + 1))
    np.cumsum(weights[:, negative], axis=1, out=below[:, 1:])
    drawn = weights[:, positive]
    beaten = below[:, under]
    if (under != up_to).any():
        beaten = (beaten + below[:, up_to]) / 2
    pairs = drawn.sum(1) * below[:, -1]
    return np.einsum("rp,rp->r", drawn, beaten) / np.where(pairs > 0, pairs, np.nan)


def macro_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the unweighted mean of the findings' AUCs.

    Parameters
    ----------
    labels, scores
        (n, findings).

    Raises
    ------
    ValueError
        See ``auc``; the finding is named by its column. A finding without both labels is left out by the caller, in the open.
    """
    y, s = findings(labels, scores)
    return float(np.mean([auc(y[:, c], s[:, c]) for c in range(y.shape[1])]))


def micro_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the AUC over all pairs of image and finding together, (n, findings): frequent findings dominate it.

    Scores of different findings are compared with each other, so they must be on one scale, such as calibrated probabilities.

    Raises
    ------
    ValueError
        See ``auc``.
    """
    y, s = scored(labels, scores)
    return auc(y.ravel(), s.ravel())


def findings(labels: ArrayLike, scores: ArrayLike) -> tuple[Labels, Floats]:
    """Return checked labels and scores, (n, findings), each finding with both labels.

    Raises
    ------
    ValueError
        See ``macro_auc``.
    """
    y, s = scored(labels, scores)
    if y.ndim != 2:
        raise ValueError(f"labels have shape {y.shape}: (images, findings) is needed")
    alone = np.flatnonzero(y.all(0) | ~y.any(0))
    if len(alone):
        raise ValueError(f"the findings in columns {alone.tolist()} have one label only: both are needed")
    return y, s
