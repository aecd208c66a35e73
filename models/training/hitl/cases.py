"""What readers say of a case, and what a network may learn from it.

Each of J physicians gives s_j in {0, 0.25, 0.5, 0.75, 1}: how likely they hold the disease. The soft label is the weighted mean,
l = sum_j w_j s_j / sum_j w_j; all weights are 1 in the published protocol. A case is a consensus case where all readers are on one
side of one half; whoever says one half is on neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST_READERS = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One case of the protocol. ``scores``: (J,), by reader, of ``STEPS``."""

    name: str
    patient: str
    scores: tuple[float, ...]


def soft_label(scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the weighted mean of what readers said, 0..1.

    Raises
    ------
    ValueError
        Nobody read it, a score lies outside 0..1, or the weights say that nobody counts.
    """
    s = np.asarray(scores, np.float64)
    w = np.ones_like(s) if weights is None else np.asarray(weights, np.float64)
    if s.size == 0 or s.min() < 0 or s.max() > 1 or s.shape != w.shape or w.min() < 0 or w.sum() <= 0:
        raise ValueError("a label needs scores within 0..1 and as many weights, not negative and not all nought")
    return float((w * s).sum() / w.sum())


def is_consensus(scores: Sequence[float]) -> bool:
    """Say whether all readers are on one side.

    Raises
    ------
    ValueError
        Fewer than three readers: two who agree are not yet a consensus of this protocol.
    """
    if len(scores) < LEAST_READERS:
        raise ValueError(f"{len(scores)} readers: consensus needs at least {LEAST_READERS}")
    return all(s > 0.5 for s in scores) or all(s < 0.5 for s in scores)


def binary(scores: ArrayLike) -> NDArray[np.int64]:
    """Return the calls: 1 above one half; one half is no call for the disease."""
    return (np.asarray(scores, np.float64) > 0.5).astype(np.int64)


def on_the_scale(values: ArrayLike) -> Floats:
    """Return the nearest of the five steps."""
    return np.asarray(np.round(np.clip(np.asarray(values, np.float64), 0, 1) * 4) / 4)
