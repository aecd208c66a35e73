"""What a list of cases must be before a figure is computed from it: outcomes of 0 and 1, finite scores, and whose they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
Labels = NDArray[np.bool_]


def outcomes(labels: ArrayLike, shape: tuple[int, ...] | None = None) -> Labels:
    """Return labels as booleans.

    Raises
    ------
    ValueError
        No labels, a label other than 0 and 1, or another ``shape`` than expected.
    """
    given = np.asarray(labels)
    if given.size == 0:
        raise ValueError("no cases: at least one label is needed")
    if shape is not None and given.shape != shape:
        raise ValueError(f"labels have shape {given.shape}, scores {shape}: one label a score")
    other = given[(given != 0) & (given != 1)]
    if other.size:
        raise ValueError(f"labels must be 0 or 1, found {other.flat[0]!r}")
    return given.astype(bool)


def scored(labels: ArrayLike, scores: ArrayLike) -> tuple[Labels, Floats]:
    """Return labels as booleans and scores as float64, of one shape.

    Raises
    ------
    ValueError
        See ``outcomes``; or a score is not a number.
    """
    values = np.asarray(scores, np.float64)
    y = outcomes(labels, values.shape)
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {values.size} scores are not a number")
    return y, values


def scored_both(labels: ArrayLike, scores: ArrayLike) -> tuple[Labels, Floats]:
    """Return ``scored`` cases, (n,), among which are positives and negatives.

    Raises
    ------
    ValueError
        See ``scored``; or all labels are alike, or the arrays are not one list.
    """
    y, values = scored(labels, scores)
    if y.ndim != 1:
        raise ValueError(f"labels have shape {y.shape}: one list of cases is needed")
    if y.all() or not y.any():
        raise ValueError(f"all {y.size} cases have label {int(y[0])}: both labels are needed")
    return y, values


def predicted(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Return outcomes as 0.0 and 1.0, and probabilities.

    Raises
    ------
    ValueError
        See ``scored``; or a probability lies outside 0..1.
    """
    y, p = scored(labels, probabilities)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"probabilities must lie in 0..1, found {p.min():g} to {p.max():g}: are these logits?")
    return y.astype(np.float64), p


def patient_codes(patients: ArrayLike, cases: int) -> tuple[Codes, int]:
    """Return the number of each case's patient, 0 to count - 1 in sorted order of their names, and the count.

    Raises
    ------
    ValueError
        Not one patient a case.
    """
    given = np.asarray(patients)
    if given.shape != (cases,):
        raise ValueError(f"patients have shape {given.shape}, there are {cases} cases: one patient a case")
    names, codes = np.unique(given, return_inverse=True)
    return codes, len(names)


def mean_per_patient(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> tuple[Labels, Floats]:
    """Return one label and the mean score of each patient, (patients,), in sorted order of their names.

    Raises
    ------
    ValueError
        See ``scored``; or the cases of one patient carry both labels.
    """
    y, values = scored(labels, scores)
    who, count = patient_codes(patients, len(y))
    sizes, positives = np.bincount(who, minlength=count), np.bincount(who, y, count)
    mixed = int(((positives > 0) & (positives < sizes)).sum())
    if mixed:
        raise ValueError(f"{mixed} patients have cases of both labels: there is no one label a patient")
    return positives > 0, np.bincount(who, values, count) / sizes
