"""What the network should attend to, learned from answers to the maps it showed.

With M the lungs (0 or 1), h the map that was shown (0..1), f_j the answer of reader j (+1 at the right place, -1 not, 0 none) and
fbar the mean over those who answered::

    a^0 = M
    a^r = M clip(a^(r-1) + lambda fbar h, 0.25, 2)        lambda = 0.5

A region that a reader drew takes the place of h for what it covers: "here" adds lambda, "not here" subtracts it. fbar 0, or nobody
answering, changes nothing. The publication names the refinement and no formula: this one is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

STEP, LEAST, MOST = 0.5, 0.25, 2.0

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """``where``: float32 of the target's shape, 0..1, what the region covers. ``sign``: +1 it is here, -1 it is not here."""

    where: Floats
    sign: int


def start(lungs: NDArray[np.generic]) -> Floats:
    """Return a^0: the lungs, as far as they fill each cell (0..1)."""
    return np.asarray(lungs, np.float32)


def share_of_cells(mask: NDArray[np.bool_], cells: Sequence[int]) -> NDArray[np.float16]:
    """Return the share of each cell that the mask (slices, rows, columns) fills, float16 of the shape ``cells``."""
    whole = torch.from_numpy(mask.astype(np.float32))[None, None]
    return np.asarray(F.adaptive_avg_pool3d(whole, tuple(cells))[0, 0].numpy(), np.float16)


def mean_answer(answers: Sequence[int]) -> float:
    """Return fbar: the mean over those who answered, 0 where nobody did.

    Raises
    ------
    ValueError
        An answer is not +1, -1 or 0.
    """
    if set(answers) - {1, -1, 0}:
        raise ValueError("an answer to a map is +1 (right place), -1 (not) or 0 (none)")
    given = [answer for answer in answers if answer]
    return float(np.mean(given)) if given else 0.0


def updated(
    target: Floats, lungs: Floats, shown: Floats, answers: Sequence[int], regions: Sequence[Region] = (), step: float = STEP
) -> Floats:
    """Return a^r.

    Parameters
    ----------
    target, lungs, shown
        a^(r-1), M and h, of one shape. ``shown`` is divided by its maximum; a map without evidence stays nought.
    regions
        Of all readers together; where two cover a cell, both count.

    Raises
    ------
    ValueError
        Shapes differ, or an answer is unknown.
    """
    if not target.shape == lungs.shape == shown.shape or any(r.where.shape != target.shape for r in regions):
        raise ValueError("target, lungs, map and regions must be of one shape")
    highest = float(shown.max(initial=0.0))
    h = np.clip(shown, 0, None) / np.float32(highest) if highest > 0 else np.zeros_like(shown)
    change = np.float32(mean_answer(answers)) * h
    covered = np.zeros(target.shape, np.bool_)
    drawn = np.zeros(target.shape, np.float32)
    for region in regions:
        drawn += np.float32(region.sign) * region.where
        covered |= region.where > 0
    change = np.where(covered, drawn, change)
    # the bound holds where lung fills the cell; elsewhere it scales with M, so that a cell outside stays nought
    base = np.divide(target, lungs, out=np.zeros_like(target), where=lungs > 0)
    return np.asarray(lungs * np.clip(base + np.float32(step) * change, LEAST, MOST), np.float32)
