"""From slices to the patient: the mean of the slices' probabilities, and the slices that spoke loudest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def patient_probability(slices: Sequence[float]) -> float:
    """Return the mean of the slices' probabilities: each slice counts alike, whatever their order.

    Raises
    ------
    ValueError
        No slices, or one that is not within 0..1: nothing can be said of the patient.
    """
    values = np.asarray(slices, np.float64)
    if values.ndim != 1 or not values.size or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{values.size} slices: a patient needs slices with probabilities within 0..1")
    return float(np.sort(values).mean())  # sorted: a sum of floats depends on the order


def highest(slices: Sequence[float], count: int = 3) -> tuple[int, ...]:
    """Return the indices of the ``count`` highest probabilities, the highest first; of equal ones the earlier slice."""
    return tuple(sorted(range(len(slices)), key=lambda n: (-slices[n], n))[:count])
