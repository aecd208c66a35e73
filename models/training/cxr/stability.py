"""Does a figure hold when the picture changes in ways that no patient's lungs know of?

Each change is made on the picture as the network gets it, 0..1, before normalisation, with a fixed seed for each image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.training.cxr.augment import Image, border, letters
from models.training.statistics import auc, difference_by_patient

#: An AUC may change by so much.
MOST = 0.03
Change = Callable[[np.random.Generator, Image], Image]


def _gamma(power: float) -> Change:
    return lambda _, image: np.asarray(np.clip(image, 0, 1) ** np.float32(power), np.float32)


def _blur(_: np.random.Generator, image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), image.shape[0] / 224 * 1.2), np.float32)


def _jpeg(_: np.random.Generator, image: Image) -> Image:
    packed = cv2.imencode(".jpg", np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    return np.asarray(np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)) / 255, np.float32)


CHANGES: dict[str, Change] = {
    "gamma 0.7": _gamma(0.7),
    "gamma 1.4": _gamma(1.4),
    "blur (sigma 1.2 of 224 pixels)": _blur,
    "JPEG (quality 40)": _jpeg,
    "pasted letters": letters,
    "pasted borders": border,
}


def changed(images: NDArray[np.float32], change: str, seed: int = 5) -> NDArray[np.float32]:
    """Return (n, h, w) images after one of ``CHANGES``."""
    return np.stack([CHANGES[change](np.random.default_rng([seed, n]), image) for n, image in enumerate(images)])


def worst(aucs: dict[str, float], plain: float) -> float:
    """Return the largest change of an AUC, whatever its sign."""
    return max((abs(value - plain) for value in aucs.values()), default=0.0)


def stability(
    labels: ArrayLike, plain: ArrayLike, scores: dict[str, NDArray[np.float64]], patients: ArrayLike, resamples: int = 2000
) -> list[dict[str, Any]]:
    """Return for every change the AUC after it and the paired difference with a patient-bootstrap interval."""
    return [
        {
            "change": name,
            "auc": auc(labels, values),
            "difference": list(difference_by_patient(auc, labels, values, plain, patients, resamples)),
            "within": bool(abs(auc(labels, values) - auc(labels, plain)) <= MOST),
        }
        for name, values in scores.items()
    ]
