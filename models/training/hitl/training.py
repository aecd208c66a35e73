"""One training of the 3D network: from nothing, or from the network of the round before at a lower rate.

AdamW, its rate falling as a half cosine, batches of eight, early stop; of all epochs the one with the lowest log-loss on the
validation patients. Not the highest AUROC: those are cases on which readers agree, so that it is near one from the first epoch on.
Augmentation: mirrored left to right, turned by up to 10 degrees in plane, density shifted by up to 14 HU; targets move along.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.calibrate import sigmoid
from models.training.hitl.losses import ATTENTION_WEIGHT, MAP_WEIGHT, total_loss
from models.training.slices.slice_set import flipped_and_turned
from models.training.statistics import auc, log_loss
from models.zoo.ntm_cnn3d import NtmCnn3d

SHIFT = 0.01  # 14 HU: scanners are calibrated to less, and 70 HU would hide what disease adds to a lung
UNKNOWN = np.array([0] * 7 + [1] * 4, np.float32)  # ``encoded`` of a patient of whom nothing is known


@dataclass(frozen=True)
class Volumes:
    """What a network gets of n cases. ``images``: float16 (n, D, H, W), 0..1. ``clinical``: float32 (n, 11)."""

    images: NDArray[np.float16]
    clinical: NDArray[np.float32]

    def of(self, rows: NDArray[np.intp]) -> Volumes:
        """Return some of them."""
        return Volumes(self.images[rows], self.clinical[rows])


@dataclass(frozen=True)
class Lesson:
    """What is learned from. ``labels``: (n,) soft. ``targets``: float32 (n, d, h, w). ``answered``: (n,), see ``total_loss``."""

    volumes: Volumes
    labels: NDArray[np.float64]
    targets: NDArray[np.float32]
    answered: NDArray[np.float32]


@dataclass(frozen=True)
class FitSettings:
    """What a training needs; the defaults are those of a base training of the full network.

    ``forget``: share of cases of which, in a batch, the clinical data is unknown: so that the image has to be learned, too.
    """

    epochs: int = 80
    batch: int = 8
    rate: float = 3e-4
    weight_decay: float = 1e-2
    patience: int = 15
    clip: float = 1.0
    augment: bool = True
    forget: float = 0.5
    attention_weight: float = ATTENTION_WEIGHT
    map_weight: float = MAP_WEIGHT
    seed: int = 20
    threads: int = 2


def fit(
    net: NtmCnn3d, lesson: Lesson, select: Volumes, select_labels: NDArray[np.int64], settings: FitSettings,
    say: Callable[[str], None] = print,
) -> tuple[NtmCnn3d, list[dict[str, float]]]:  # fmt: skip
    """Train ``net``, on a GPU where torch finds one; return it at its best epoch, on the CPU, and every epoch's figures.

    Raises
    ------
    ValueError
        The validation patients have one label only: there is no AUROC to choose by.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = net.to(device)
    optimiser = torch.optim.AdamW(net.parameters(), settings.rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * math.ceil(len(lesson.labels) / settings.batch)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))
    best = math.inf
    kept, since, history, started = copy.deepcopy(net.state_dict()), 0, [], time.monotonic()
    for epoch in range(settings.epochs):
        net.train()
        losses = []
        for batch in batches(lesson, settings, settings.seed * 1000 + epoch):
            optimiser.zero_grad()
            image, clinical, labels, targets, answered = (part.to(device) for part in batch)
            loss = total_loss(net, image, clinical, labels, targets, answered, settings.attention_weight, settings.map_weight)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
            optimiser.step()
            falling.step()
            losses.append(float(loss.detach()))
        p = sigmoid(logits_of(net, select))
        area, reached = auc(select_labels, p), log_loss(select_labels, p)
        history.append({"epoch": epoch, "loss": float(np.mean(losses)), "auc": area, "log_loss": reached})
        since += 1
        if reached < best:
            best, since, kept = reached, 0, copy.deepcopy(net.state_dict())
        took = time.monotonic() - started
        say(f"epoch {epoch + 1}/{settings.epochs}: {np.mean(losses):.4f}, validation {reached:.4f}, AUROC {area:.3f}, {took:.0f} s")
        if since >= settings.patience:
            break
    net.load_state_dict(kept)
    return net.cpu().eval(), history


def batches(lesson: Lesson, settings: FitSettings, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield image, clinical, label, target, answered of one epoch, in an order given by ``seed``."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lesson.labels))
    for start in range(0, len(order), settings.batch):
        rows = np.sort(order[start : start + settings.batch])
        image = torch.from_numpy(lesson.volumes.images[rows].astype(np.float32))  # (b, D, H, W)
        target = torch.from_numpy(lesson.targets[rows])  # (b, d, h, w)
        if settings.augment:
            turn = int(rng.integers(2**31))  # image and target turn alike
            image = flipped_and_turned(image, np.random.default_rng(turn), outside=0.0)
            target = flipped_and_turned(target, np.random.default_rng(turn), outside=0.0)
            image = (image + torch.from_numpy(rng.uniform(-SHIFT, SHIFT, (len(rows), 1, 1, 1)).astype(np.float32))).clamp(0, 1)
        yield (
            image[:, None],
            torch.from_numpy(np.where(rng.random((len(rows), 1)) < settings.forget, UNKNOWN, lesson.volumes.clinical[rows])),
            torch.from_numpy(lesson.labels[rows].astype(np.float32)),
            target[:, None],
            torch.from_numpy(lesson.answered[rows]),
        )


@torch.no_grad()
def logits_of(net: NtmCnn3d, volumes: Volumes, batch: int = 16) -> NDArray[np.float64]:
    """Return the logit of each case, (n,)."""
    return _said(net, volumes, batch, lambda image, clinical: net(image, clinical)[:, 0]).astype(np.float64)


@torch.no_grad()
def maps_of(net: NtmCnn3d, volumes: Volumes, grid: tuple[int, int, int], batch: int = 16) -> NDArray[np.float32]:
    """Return the class maps on the grid of the targets, (n, d, h, w), each divided by its maximum; nought where there is none."""

    def on_grid(image: Tensor, clinical: Tensor) -> Tensor:
        found = net.class_map(net.read(image, clinical).maps)
        found = F.interpolate(found, grid, mode="trilinear", align_corners=False)[:, 0]
        return found / found.amax((1, 2, 3), keepdim=True).clamp(min=1e-8)

    return _said(net, volumes, batch, on_grid).astype(np.float32)


def _said(net: NtmCnn3d, volumes: Volumes, batch: int, of: Callable[[Tensor, Tensor], Tensor]) -> NDArray[np.float32]:
    net.eval()
    parts, device = [], next(net.parameters()).device
    for n in range(0, len(volumes.images), batch):
        image = torch.from_numpy(volumes.images[n : n + batch].astype(np.float32))[:, None]
        clinical = torch.from_numpy(volumes.clinical[n : n + batch])
        parts.append(of(image.to(device), clinical.to(device)).cpu().numpy())
    return np.concatenate(parts)
