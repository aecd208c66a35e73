"""The baseline of every figure: a logistic regression on the grey image at 16 x 16, which no doctor could read.

Greyscale, box average to 16 x 16, divided by 255, standardised, logistic regression with C = 1, fitted on the rows that the model
itself learned from. It is stored in the bundle as ``thumbnail_baseline.json``, so that any other images can be judged beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

FILE = "thumbnail_baseline.json"
SIDE = 16


@dataclass(frozen=True)
class Thumbnail:
    """``mean``, ``scale``, ``coef``: (side * side,) each. ``rows``: how many images it was fitted on."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    coef: NDArray[np.float64]
    intercept: float
    rows: int

    def logits(self, thumbnails: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logit of ``abnormal`` for (n, side * side) grey values 0..1."""
        return np.asarray(((thumbnails - self.mean) / self.scale) @ self.coef + self.intercept)


def fit(thumbnails: NDArray[np.float64], abnormal: ArrayLike) -> Thumbnail:
    """Fit on (n, side * side) grey values 0..1 and labels (n,) of 0 and 1."""
    from sklearn.linear_model import LogisticRegression  # whoever only judges by a stored baseline needs no scikit-learn
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(thumbnails)
    model = LogisticRegression(C=1.0, max_iter=5000).fit(scaler.transform(thumbnails), np.asarray(abnormal))
    return Thumbnail(scaler.mean_, scaler.scale_, model.coef_[0], float(model.intercept_[0]), len(thumbnails))


def write(folder: Path, fitted: Thumbnail, index_sha256: str) -> None:
    """Write ``thumbnail_baseline.json``."""
    content = {
        "side": SIDE,
        "mean": _numbers(fitted.mean),
        "scale": _numbers(fitted.scale),
        "coef": _numbers(fitted.coef),
        "intercept": fitted.intercept,
        "rows": fitted.rows,
        "index_sha256": index_sha256,
    }
    (folder / FILE).write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")


def read(folder: Path) -> Thumbnail:
    """Return the baseline of a bundle."""
    stored = json.loads((folder / FILE).read_text(encoding="utf-8"))
    mean, scale, coef = (np.asarray(stored[key], np.float64) for key in ("mean", "scale", "coef"))
    return Thumbnail(mean, scale, coef, float(stored["intercept"]), int(stored["rows"]))


def _numbers(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    return [float(value) for value in values]
