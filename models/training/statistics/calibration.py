"""Are the probabilities honest? Proper scores, the calibration error and the reliability diagram."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from models.training.statistics.cases import predicted
from models.training.statistics.shares import wilson


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared distance of probability and outcome, 0 (best) to 1.

    Parameters
    ----------
    labels
        (n,) of 0 and 1.
    probabilities
        (n,) in 0..1, of label 1.

    Raises
    ------
    ValueError
        No cases, other lengths, a label other than 0 and 1, a probability outside 0..1.

    Notes
    -----
    Brier, Monthly Weather Review 78:1 (1950), the half of it that is used for two classes.
    """
    y, p = predicted(labels, probabilities)
    return float(np.mean((p - y) ** 2))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean negative log-likelihood in nats; probabilities are kept 1e-7 away from 0 and 1.

    Parameters and errors: see ``brier``.
    """
    y, p = predicted(labels, probabilities)
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


def calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error in equal-width bins: mean distance of probability and observed share.

    A bin holds its lower edge; 1.0 lies in the last one. Parameters and errors: see ``brier``.

    Notes
    -----
    Naeini et al., AAAI 2015. It grows as cases become fewer, also for honest probabilities, so it has no meaning without n.
    """
    y, p = predicted(labels, probabilities)
    if bins < 1:
        raise ValueError(f"at least one bin is needed, found {bins}")
    which = np.minimum((p * bins).astype(np.intp), bins - 1)
    return float(np.abs(np.bincount(which, y - p)).sum() / len(y))


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = 5) -> list[dict[str, float]]:
    """Return the reliability diagram in quantile bins.

    Equal probabilities share a bin, so the order of cases changes nothing; with many of them there are fewer bins.
    Parameters and errors: see ``brier``.

    Returns
    -------
    list
        One row a bin: ``predicted`` mean probability, ``observed`` share with Wilson's interval ``low`` to ``high``, ``n``.
    """
    y, p = predicted(labels, probabilities)
    if bins < 1:
        raise ValueError(f"at least one bin is needed, found {bins}")
    order = np.argsort(p, kind="stable")
    y, p = y[order], p[order]
    cuts = np.array([part[0] for part in np.array_split(np.arange(len(p)), bins)[1:] if len(part)], np.intp)
    starts = np.unique(np.concatenate([[0], np.searchsorted(p, p[cuts], "left")]))
    rows = []
    for begin, end in zip(starts, [*starts[1:], len(p)], strict=True):
        seen = wilson(int(y[begin:end].sum()), int(end - begin))
        rows.append(
            {
                "predicted": float(p[begin:end].mean()),
                "observed": seen.value,
                "low": seen.low,
                "high": seen.high,
                "n": int(end - begin),
            }
        )
    return rows
