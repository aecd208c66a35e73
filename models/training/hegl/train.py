"""Training with aligned attention: one network, one weighting of the losses, maps of a frozen stem as input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.hegl.losses import Losses, Weighting, cross_entropy, discriminative_attention, disowned, human_alignment
from models.training.loop import LoopSettings, train

Batches = Callable[[int], Iterable[tuple[Tensor, ...]]]
LUNG_WEIGHT = 0.5  # of the lungs as a weak mark, beside 1 for a box (ours)


@dataclass(frozen=True)
class Recipe:
    """What distinguishes one training from another. ``pairs``: see ``discriminative_attention``."""

    name: str
    weighting: Callable[[], Weighting]
    pairs: str = "all"


class Aligned(nn.Module):
    """Network and weighting together, so that a learned weighting is trained along."""

    def __init__(self, net: nn.Module, weighting: Weighting) -> None:
        super().__init__()
        self.net, self.weighting = net, weighting


class Objective:
    """The loss of one step; it counts the steps, because a schedule wants to know how far training has come.

    ``positive_weight``: (C,), see ``cross_entropy``. ``prior``: (C, C), see ``discriminative_attention``.
    """

    def __init__(self, steps: int, pairs: str = "all", positive_weight: Tensor | None = None, prior: Tensor | None = None) -> None:
        self.steps, self.pairs, self.positive_weight, self.prior = steps, pairs, positive_weight, prior
        self.done = 0
        self.generator = torch.Generator().manual_seed(7)

    def losses(self, net: nn.Module, batch: tuple[Tensor, ...]) -> Losses:
        """Return the three terms on a ``hegl_set.Batch``.

        Human alignment is the penalised Dice with what was marked; where a finding is present and nobody marked it, ``LUNG_WEIGHT``
        times the share of its attention outside the lungs. (A Dice with the lungs would ask attention to be spread over them.)
        """
        maps, labels, marks, weights, lungs = batch
        said = net.read(maps)
        somewhere = (labels == 1) & (weights == 0)  # present, and nobody marked where
        outside = (1 - lungs)[:, None].expand_as(said.attention)
        return Losses(
            cross_entropy(said.logits, labels, self.positive_weight),
            human_alignment(said.attention, marks, weights)
            + LUNG_WEIGHT * disowned(said.attention, outside, somewhere.to(maps.dtype)),
            discriminative_attention(
                said.attention, self.pairs, present=(labels == 1).long(), prior=self.prior, generator=self.generator
            ),
        )

    def __call__(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the weighted sum."""
        progress = min(1.0, self.done / max(1, self.steps - 1))
        self.done += 1
        return model.weighting.combine(self.losses(model.net, batch), progress, model.net.shared())


def fit(
    net: nn.Module,
    recipe: Recipe,
    batches: Batches,
    steps: int,
    settings: LoopSettings,
    positive_weight: Tensor | None = None,
    prior: Tensor | None = None,
    kept: Path | None = None,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Return the trained network and its history; read from ``kept`` where an earlier call wrote the same training there."""
    if kept is not None and kept.exists():
        stored = torch.load(kept, weights_only=True)
        net.load_state_dict(stored["net"])
        return net.eval(), stored["history"]
    torch.manual_seed(settings.seed)
    objective = Objective(steps * settings.epochs, recipe.pairs, positive_weight, prior)
    model, history = train(Aligned(net, recipe.weighting()), batches, steps, objective, settings, lambda text: None)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"net": model.net.state_dict(), "history": history}, kept.with_suffix(".part"))
        kept.with_suffix(".part").replace(kept)  # at once: a stop in the middle leaves nothing that looks done
    return model.net, history


def positive_weights(labels: NDArray[np.int8], most: float = 8.0) -> Tensor:
    """Return absent over present of each column but the first, which the batches balance; at most ``most``."""
    present, absent = (labels == 1).sum(0), (labels == 0).sum(0)
    ratio = np.clip(absent / np.maximum(present, 1), 1.0, most)
    ratio[0] = 1.0
    return torch.from_numpy(ratio.astype(np.float32))


def overlap_prior(labels: NDArray[np.int64], masks: NDArray[np.float32]) -> Tensor:
    """Return rho (C, C): intersection over union (soft) of the findings' mean masks, where they are present.

    ``labels``: (n, C). ``masks``: (n, C, h, w).
    """
    count = labels.shape[1]
    means = [masks[labels[:, c] == 1, c].mean(0) if (labels[:, c] == 1).any() else np.zeros(masks.shape[2:]) for c in range(count)]
    rho = np.zeros((count, count), np.float32)
    for i in range(count):
        for j in range(count):
            union = np.maximum(means[i], means[j]).sum()
            rho[i, j] = np.minimum(means[i], means[j]).sum() / union if union > 0 else 0.0
    return torch.from_numpy(rho)


@torch.no_grad()
def embed(net: nn.Module, maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return embeddings (n, width) for maps of the stem."""
    parts = [net.read(torch.from_numpy(maps[n : n + 64].astype(np.float32))).embedding for n in range(0, len(maps), 64)]
    return torch.cat(parts).numpy()


@torch.no_grad()
def say(net: nn.Module, maps: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return logits (n, C) and attention (n, C, h, w) for maps of the stem."""
    parts = [net.read(torch.from_numpy(maps[n : n + 64].astype(np.float32))) for n in range(0, len(maps), 64)]
    logits, attention = (torch.cat([getattr(part, name) for part in parts]).numpy() for name in ("logits", "attention"))
    return logits.astype(np.float64), attention
