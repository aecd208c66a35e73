"""Temperature scaling (Guo et al., ICML 2017): one number that makes probabilities honest and reorders nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from models.training.statistics import log_loss


def sigmoid(logits: ArrayLike) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)), without overflow."""
    x = np.asarray(logits, np.float64)
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def fit_temperature(labels: ArrayLike, logits: ArrayLike, lowest: float = 0.25, highest: float = 8.0) -> float:
    """Return the temperature that minimises the log-loss of sigmoid(logit / T); 1.0 when only one label is there.

    Labels weigh the same in sum: the share of abnormal images in a research set says nothing of a hospital.
    """
    y, z = np.asarray(labels).astype(int), np.asarray(logits, np.float64)
    if len(np.unique(y)) < 2:
        return 1.0

    def loss(log_t: float) -> float:
        p = sigmoid(z / np.exp(log_t))
        return 0.5 * (log_loss(y[y == 1], p[y == 1]) + log_loss(y[y == 0], p[y == 0]))

    found = minimize_scalar(loss, bounds=(float(np.log(lowest)), float(np.log(highest))), method="bounded")
    return float(np.exp(found.x))
