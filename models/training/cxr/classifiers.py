"""The candidates behind one interface: describe what needs no training once, then fit on it, then give logits of ``abnormal``.

============  ================================================================================================================
lite_cxr      the first eight blocks of EfficientNet-Lite0, the first five as ImageNet left them, the rest fine-tuned
lite_deep     the same with eleven blocks
probe         all sixteen blocks as ImageNet left them, global average pooling, logistic regression
hog           histograms of oriented gradients (Dalal and Triggs, CVPR 2005), logistic regression; gives no map, so it never ships
cnn3          three convolutions from nothing, on 112 x 112
============  ================================================================================================================

Pictures are float32 (n, size, size), 0..1. What ``describe`` returns is kept in half precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.cxr.fine_tune import Learned, Sample, fine_tune
from models.training.cxr.remedies import Remedies
from models.zoo.lite_cxr import BLOCKS, LiteCxr, LiteTail
from models.zoo.policy_cxr import Cnn3

#: Blocks that stay as ImageNet left them; their output is what is kept of a picture.
FROZEN = 5
Described = NDArray[np.float16]
Logits = NDArray[np.float64]


class Classifier(Protocol):
    """A candidate: ``describe`` depends on no training row, ``fit`` sees only what it is given."""

    name: str
    #: Which ``describe`` it shares with others: descriptions are kept under this word.
    kind: str
    #: Whether it can give a map, without which it is never shipped.
    maps: bool

    def describe(self, pictures: NDArray[np.float32], mean: float, std: float) -> Described:
        """Return (n, ...) for (n, size, size) pictures 0..1."""
        ...

    def fit(self, sample: Sample, drawn: NDArray[np.intp], remedies: Remedies, seed: int) -> Fitted:
        """Fit on ``sample`` in the order of ``drawn``."""
        ...


class Fitted(Protocol):
    """What ``fit`` gives."""

    def logits(self, described: Described) -> Logits:
        """Return (n,) logits of ``abnormal``."""
        ...


def lite(weights: Path | None, depth: int = 8, width: int = 128) -> LiteCxr:
    """Return EfficientNet-Lite0 from ImageNet weights in evaluation mode; without a file as drawn.

    With all sixteen blocks the last convolution is the published one, too (``width`` must be 1280).
    """
    net = LiteCxr(width, depth=depth)
    if weights is not None:
        stored = torch.load(weights, weights_only=True)
        net.start_from(stored)
        if depth == len(BLOCKS):
            net.start_last_from(stored)
    return net.eval()


class Lite:
    """EfficientNet-Lite0 fine-tuned from block ``FROZEN`` on."""

    kind = "lite"
    maps = True

    def __init__(self, weights: Path | None, depth: int = 8, name: str = "lite_cxr") -> None:
        self.name, self.depth, self.weights = name, depth, weights
        self._early = lite(weights).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def describe(self, pictures: NDArray[np.float32], mean: float, std: float) -> Described:
        """Return the input of block ``FROZEN``: (n, 40, size / 8, size / 8)."""
        parts = []
        for image in _tensors(pictures, mean, std):
            parts.append(self._early.early(image.contiguous(memory_format=torch.channels_last), FROZEN).half().numpy())
        return np.concatenate(parts)

    def network(self) -> nn.Module:
        """Return what is fine-tuned."""
        return LiteTail(lite(self.weights, self.depth), FROZEN)

    def fit(self, sample: Sample, drawn: NDArray[np.intp], remedies: Remedies, seed: int) -> Learned:
        """Fine-tune."""
        return fine_tune(self.network, sample, drawn, remedies, seed, 1.5e-3)


class SmallCnn:
    """``cnn3`` from nothing on 112 x 112."""

    kind = "small"
    maps = True
    name = "cnn3"
    side = 112

    def describe(self, pictures: NDArray[np.float32], mean: float, std: float) -> Described:
        """Return the picture itself, smaller and normalised: (n, 1, 112, 112)."""
        size = (self.side, self.side)
        small = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])
        return ((small - mean) / std).astype(np.float16)[:, None]

    def fit(self, sample: Sample, drawn: NDArray[np.intp], remedies: Remedies, seed: int) -> Learned:
        """Train."""
        return fine_tune(Cnn3, sample, drawn, remedies, seed, 1e-3)


class Probe:
    """A linear probe on the whole of EfficientNet-Lite0, which is not changed."""

    kind = "embedding"
    maps = True
    name = "probe"

    def __init__(self, weights: Path | None) -> None:
        self._net = lite(weights, len(BLOCKS), 1280).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def describe(self, pictures: NDArray[np.float32], mean: float, std: float) -> Described:
        """Return (n, 1280) embeddings."""
        parts = []
        for image in _tensors(pictures, mean, std):
            parts.append(self._net.features(image.contiguous(memory_format=torch.channels_last)).mean((2, 3)).half().numpy())
        return np.concatenate(parts)

    def fit(self, sample: Sample, drawn: NDArray[np.intp], remedies: Remedies, seed: int) -> Linear:
        """Fit; ``seed`` and the remedies of training steps have nothing to act on."""
        return Linear(sample, drawn, 0.003)


class Hog:
    """Histograms of oriented gradients: 9 orientations, cells of 16 pixels of 128, blocks of 2 x 2 cells."""

    kind = "gradients"
    maps = False
    name = "hog"

    def describe(self, pictures: NDArray[np.float32], mean: float, std: float) -> Described:
        """Return (n, 1764) histograms."""
        small = [cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA) for picture in pictures]
        return np.stack([gradients(picture) for picture in small]).astype(np.float16)

    def fit(self, sample: Sample, drawn: NDArray[np.intp], remedies: Remedies, seed: int) -> Linear:
        """Fit; ``seed`` and the remedies of training steps have nothing to act on."""
        return Linear(sample, drawn, 0.003)


def gradients(picture: NDArray[np.float32], cell: int = 16, bins: int = 9) -> NDArray[np.float64]:
    """Return the histograms of unsigned gradient directions of 2 x 2 cells, each block of length 1 (L2), one after another."""
    down, across = np.gradient(picture.astype(np.float64))
    strength = np.hypot(down, across)
    direction = np.floor(np.mod(np.arctan2(down, across), np.pi) / np.pi * bins).astype(int) % bins
    rows, columns = picture.shape[0] // cell, picture.shape[1] // cell
    each = np.eye(bins)[direction] * strength[..., None]  # (h, w, bins)
    cells = each[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell, bins).sum((1, 3))
    corners = (cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:])
    blocks = np.concatenate(corners, 2)
    return np.asarray((blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-6)).ravel())


class Linear:
    """Logistic regression on standardised descriptions, each weighted by how often it was drawn."""

    def __init__(self, sample: Sample, drawn: NDArray[np.intp], c: float) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        at, times = np.unique(drawn, return_counts=True)
        x = sample.described[at].astype(np.float64)
        self._scaler = StandardScaler().fit(x)
        weight = times / times.mean()
        self._model = LogisticRegression(C=c, max_iter=300).fit(self._scaler.transform(x), sample.labels[at], sample_weight=weight)

    def logits(self, described: Described) -> Logits:
        """Return (n,) logits."""
        return np.asarray(self._model.decision_function(self._scaler.transform(described.astype(np.float64))), np.float64)


def candidates(weights: Path | None) -> tuple[Any, ...]:
    """Return every candidate, the one that remedies are tried on first."""
    return Lite(weights), Lite(weights, 11, "lite_deep"), Probe(weights), Hog(), SmallCnn()


def named(every: Sequence[Any], name: str) -> Any:
    """Return the candidate of that name."""
    return next(one for one in every if one.name == name)


def _tensors(pictures: NDArray[np.float32], mean: float, std: float) -> Iterator[Tensor]:
    for start in range(0, len(pictures), 32):
        part = (pictures[start : start + 32] - mean) / std
        yield torch.from_numpy(part.astype(np.float32)[:, None])
