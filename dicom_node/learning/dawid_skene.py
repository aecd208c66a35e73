"""How good each reader is, from their agreement alone: Dawid and Skene, Applied Statistics 28 (1979) 20-28, by EM."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Agreement(NamedTuple):
    """What EM settled on.

    ``posterior``: (cases, classes), how likely each case is of each class. ``prior``: (classes,). ``confusion``: (readers, classes,
    classes), how often a reader calls a case of the first class the second. ``accuracy``: (readers,), share of right calls.
    """

    posterior: Floats
    prior: Floats
    confusion: Floats
    accuracy: Floats


def dawid_skene(
    case: ArrayLike, reader: ArrayLike, called: ArrayLike, classes: int = 2, rounds: int = 100, close: float = 1e-7
) -> Agreement:
    """Run EM over single calls: reader ``reader[i]`` called case ``case[i]`` class ``called[i]`` (all counted from 0).

    Starts from the majority and ends when no posterior moves by more than ``close``. Every cell of a confusion matrix starts with a
    hundredth of a call, so that a class a reader never met does not end in 0 / 0.

    Raises
    ------
    ValueError
        There is no call.
    """
    cases, readers, calls = (np.asarray(part, np.intp) for part in (case, reader, called))
    if not calls.size:
        raise ValueError("nobody called anything")
    posterior = np.zeros((cases.max() + 1, classes))
    np.add.at(posterior, (cases, calls), 1.0)
    posterior /= np.maximum(posterior.sum(1, keepdims=True), 1.0)
    for _ in range(rounds):
        confusion = np.full((readers.max() + 1, classes, classes), 0.01)
        for one in range(classes):
            np.add.at(confusion[:, one], (readers, calls), posterior[cases, one])
        confusion /= confusion.sum(2, keepdims=True)
        prior = posterior.mean(0)
        likely = np.tile(np.log(np.maximum(prior, 1e-12)), (len(posterior), 1))
        np.add.at(likely, cases, np.log(confusion[readers, :, calls]))
        likely = np.exp(likely - likely.max(1, keepdims=True))
        likely /= likely.sum(1, keepdims=True)
        moved, posterior = float(np.abs(likely - posterior).max()), likely
        if moved < close:
            break
    accuracy = np.einsum("k,rkk->r", posterior.mean(0), confusion)
    return Agreement(posterior, posterior.mean(0), confusion, accuracy)
