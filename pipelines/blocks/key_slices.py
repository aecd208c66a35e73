"""Which slices of a volume show best what a map of it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def key_slices(energy: ArrayLike, real: Sequence[bool], count: int = 3, apart: int = 1) -> tuple[int, ...]:
    """Return up to ``count`` slices with the most energy, the highest first; of equal ones the lower.

    Parameters
    ----------
    energy
        (n,), not negative: how much of the map lies in each slice.
    real
        (n,): whether the slice is an image; an interpolated one is never shown.
    apart
        Slices between two that are chosen, at least this many: neighbours would show the same thing.

    Returns
    -------
    tuple
        Empty where no slice has energy.
    """
    values = np.where(np.asarray(real, np.bool_), np.asarray(energy, np.float64), 0.0)
    chosen: list[int] = []
    for n in sorted(range(len(values)), key=lambda k: (-values[k], k)):
        if len(chosen) == count or values[n] <= 0:
            break
        if all(abs(n - other) >= apart for other in chosen):
            chosen.append(n)
    return tuple(chosen)
