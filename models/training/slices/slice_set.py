"""CT slices of patients as a network takes them, and batches of them with the augmentation of the recipe."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class SliceSet:
    """Slices with their patients.

    ``images``: float32 (n, S, S), 0..1 over the window. ``labels``: (n,) of 0 and 1. ``patients``: (n,), whose slice each is.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]

    def of(self, patients: Collection[str]) -> SliceSet:
        """Return the slices of these patients, in their order here."""
        mine = np.isin(self.patients, list(patients))
        return SliceSet(self.images[mine], self.labels[mine], self.patients[mine])

    def slice_weights(self) -> NDArray[np.float32]:
        """Return (n,): one over the number of slices of the patient, so that a large nodule counts no more than a small one."""
        _, which, counts = np.unique(self.patients, return_inverse=True, return_counts=True)
        return (1.0 / counts[which]).astype(np.float32)

    def positive_weight(self) -> float:
        """Return negative slices over positive slices: the weight of a positive in the loss (1 where a label is missing)."""
        positives = int(self.labels.sum())
        return (len(self.labels) - positives) / positives if 0 < positives < len(self.labels) else 1.0


def weighted_loss(logits: Tensor, labels: Tensor, weights: Tensor, positive_weight: float) -> Tensor:
    """Return the weighted binary cross-entropy, all (n,): mean over ``weights``, positives counted ``positive_weight`` times."""
    factor = torch.as_tensor(positive_weight, dtype=logits.dtype, device=logits.device)
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=factor)
    return (each * weights).sum() / weights.sum()


def batches(
    slices: SliceSet, size: int, seed: int, augment: bool, normalise: tuple[float, float]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield image (b, 1, S, S), label (b,), slice weight (b,) of one epoch in an order given by ``seed``.

    The last batch takes what is left, unless it is a single slice, of which batch normalisation can make nothing.
    """
    rng = np.random.default_rng(seed)
    order, weights = rng.permutation(len(slices.labels)), slices.slice_weights()
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        if len(chosen) < 2 and start:
            return
        image = as_input(slices.images[chosen], normalise)
        if augment:
            image = flipped_and_turned(image, rng, outside=-normalise[0] / normalise[1])
        yield image, torch.from_numpy(slices.labels[chosen].astype(np.float32)), torch.from_numpy(weights[chosen])


def as_input(images: NDArray[np.float32], normalise: tuple[float, float]) -> Tensor:
    """Return (n, 1, S, S), (x - mean) / standard deviation."""
    mean, deviation = normalise
    return torch.from_numpy((images[:, None] - np.float32(mean)) / np.float32(deviation))


def flipped_and_turned(image: Tensor, rng: np.random.Generator, outside: float, degrees: float = 10.0) -> Tensor:
    """Mirror left and right with probability 0.5 and turn by up to ``degrees`` either way, bilinear.

    ``image``: (n, 1, S, S). ``outside``: the value of what turns in from beyond the edge: the floor of the window.
    """
    count = len(image)
    angle = np.deg2rad(rng.uniform(-degrees, degrees, count))
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * np.cos(angle), -np.sin(angle)
    theta[:, 1, 0], theta[:, 1, 1] = mirror * np.sin(angle), np.cos(angle)
    grid = F.affine_grid(torch.from_numpy(theta), list(image.shape), align_corners=False)
    return F.grid_sample(image - outside, grid, align_corners=False, padding_mode="zeros") + outside


def moments(images: NDArray[np.float32]) -> tuple[float, float]:
    """Return mean and standard deviation of the training images; (0, 1) for images that are all alike."""
    mean, deviation = float(images.mean(dtype=np.float64)), float(images.std(dtype=np.float64))
    return (mean, deviation) if math.isfinite(deviation) and deviation > 1e-6 else (0.0, 1.0)
