"""Do readers agree, with each other and before and after they saw the answer?

An interval, or a difference before and after, comes from ``interval_by_patient`` with these functions as the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.training.statistics.shares import Share, share


def cohen_kappa(
    first: ArrayLike,
    second: ArrayLike,
    weights: Literal["none", "linear", "quadratic"] = "none",
    categories: Sequence[Any] | None = None,
) -> float:
    """Return the agreement of two readers beyond chance: 1 full, 0 what their shares alone would give.

    Parameters
    ----------
    first, second
        (n,) category of each case.
    weights
        ``linear`` or ``quadratic``: a disagreement costs the distance of the categories, or its square, in steps.
    categories
        In order, all that a reader could choose; without it those that occur, sorted. Weights need it when one may not occur.

    Raises
    ------
    ValueError
        No cases, other lengths, a category not listed, or one category only: chance agreement is then 1 and kappa undefined.

    Notes
    -----
    Cohen, Educ Psychol Meas 20:37 (1960); weights: Cohen, Psychol Bull 70:213 (1968).
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"the readers' answers have shapes {a.shape} and {b.shape}: two lists of the same cases are needed")
    codes, count = _category_codes(np.stack([a, b]), categories)
    table = np.bincount(codes[0] * count + codes[1], minlength=count * count).reshape(count, count) / len(a)
    steps = np.abs(np.subtract.outer(np.arange(count), np.arange(count))).astype(np.float64)
    cost = {"none": (steps > 0).astype(np.float64), "linear": steps, "quadratic": steps**2}[weights]
    expected = float((cost * np.outer(table.sum(1), table.sum(0))).sum())
    if expected == 0:
        raise ValueError("both readers gave every case the same category: kappa is undefined")
    return 1 - float((cost * table).sum()) / expected


def fleiss_kappa(ratings: ArrayLike, categories: Sequence[Any] | None = None) -> float:
    """Return the agreement of several readers beyond chance.

    Parameters
    ----------
    ratings
        (cases, readers) category of each read; every case has as many reads, not necessarily of the same readers.
    categories
        See ``cohen_kappa``; it changes nothing but refuses what is not in it.

    Raises
    ------
    ValueError
        No cases, fewer than two readers, a category not listed, or one category only.

    Notes
    -----
    Fleiss, Psychol Bull 76:378 (1971). With two readers it is Scott's pi, not Cohen's kappa.
    """
    given = np.asarray(ratings)
    if given.ndim != 2 or given.shape[1] < 2:
        raise ValueError(f"ratings have shape {given.shape}: (cases, readers) with two or more readers is needed")
    codes, count = _category_codes(given, categories)
    cases, readers = given.shape
    rows = np.arange(cases)[:, None] * count + codes
    table = np.bincount(rows.ravel(), minlength=cases * count).reshape(cases, count).astype(np.float64)
    observed = float(((table**2).sum(1) - readers).mean() / (readers * (readers - 1)))
    expected = float(((table.sum(0) / table.sum()) ** 2).sum())
    if np.count_nonzero(table.sum(0)) < 2:
        raise ValueError("all readers gave every case the same category: kappa is undefined")
    return (observed - expected) / (1 - expected)


def automation_bias(before: ArrayLike, after: ArrayLike, shown: ArrayLike, truth: ArrayLike) -> Share:
    """Return how often a reader moves to an answer of the model that is wrong.

    Parameters
    ----------
    before, after
        (n,) the reader's category before and after the model's answer was shown.
    shown, truth
        (n,) the model's answer and the reference.

    Returns
    -------
    Share
        Of the reads where the model was wrong and the reader had not said the same, those that say the same afterwards.

    Raises
    ------
    ValueError
        No reads, or other lengths.
    """
    first, second, model, right = (np.asarray(one) for one in (before, after, shown, truth))
    if first.size == 0 or not first.shape == second.shape == model.shape == right.shape:
        raise ValueError("before, after, shown and truth must be four lists of the same reads")
    open_to_it = (model != right) & (first != model)
    return share(int((second == model)[open_to_it].sum()), int(open_to_it.sum()))


def _category_codes(given: NDArray[Any], categories: Sequence[Any] | None) -> tuple[NDArray[np.intp], int]:
    """Return each answer's place among the categories, same shape, and how many there are."""
    if given.size == 0:
        raise ValueError("no cases: at least one answer is needed")
    found, codes = np.unique(given, return_inverse=True)
    if categories is None:
        return codes.reshape(given.shape), len(found)
    places = {category: place for place, category in enumerate(categories)}
    other = [name for name in found.tolist() if name not in places]
    if other:
        raise ValueError(f"{other[0]!r} is none of the categories {', '.join(map(str, categories))}")
    return np.array([places[name] for name in found.tolist()], np.intp)[codes].reshape(given.shape), len(places)
