"""The losses of hybrid explanation-guided learning, L = L_CE + alpha L_HA + beta L_DAL, and four ways to weigh them.

Shu, Luo, Poellinger, Reyes (arXiv 2510.12704) name the terms: cross-entropy, human alignment (a penalised Dice), discriminative
attention learning (the mean cosine of two findings' maps). Form of the penalty, choice of pairs and the schedules other than
``static`` are ours. Shapes: N images, C findings, maps (N, C, h, w), not negative.

As maps are not negative, a cosine of 0 means disjoint support: L_DAL pushes apart findings that share a region, too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MANY = 20  # findings above which pairs are sampled
SAMPLED = 128  # pairs a step then
EPSILON = 1e-8


class Losses(NamedTuple):
    """The three terms, scalars."""

    ce: Tensor
    ha: Tensor
    dal: Tensor


def cross_entropy(logits: Tensor, labels: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of present and absent over the known labels; 0 where none is known.

    ``logits``: (N, C), log-odds. ``labels``: (N, C), 1 present, 0 absent, -1 unknown. ``positive_weight``: (C,).
    """
    known = labels >= 0
    each = F.binary_cross_entropy_with_logits(
        logits, labels.clamp(min=0).to(logits.dtype), pos_weight=positive_weight, reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def human_alignment(maps: Tensor, masks: Tensor, weights: Tensor, penalty: float = 1.0) -> Tensor:
    """Return the weighted mean of the penalised Dice over the maps that have a mask; 0 where none has.

    With A' = A / max A: 1 - (2 sum(A' M) + 1) / (sum A' + sum M + penalty sum(A' (1 - M)) + 1).

    ``masks``: (N, C, h, w), 0..1, what people marked. ``weights``: (N, C), 0 where there is no mask.
    """
    scaled = maps / maps.amax((2, 3), keepdim=True).clamp(min=EPSILON)
    overlap, outside = (scaled * masks).sum((2, 3)), (scaled * (1 - masks)).sum((2, 3))
    each = 1 - (2 * overlap + 1) / (scaled.sum((2, 3)) + masks.sum((2, 3)) + penalty * outside + 1)
    return (each * weights).sum() / weights.sum().clamp(min=EPSILON)


def disowned(maps: Tensor, old: Tensor, weights: Tensor) -> Tensor:
    """Return the mean share of the maps that lies where a reader said "not relevant": sum(A' h) / sum(A').

    ``old``: (N, C, h, w), 0..1, the map that was rejected. ``weights``: (N, C), 0 where none was.
    """
    each = (maps * old).sum((2, 3)) / maps.sum((2, 3)).clamp(min=EPSILON)
    return (each * weights).sum() / weights.sum().clamp(min=EPSILON)


def discriminative_attention(
    maps: Tensor,
    pairs: str = "all",
    *,
    present: Tensor | None = None,
    prior: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return the weighted mean of cos(A_i, A_j) over images and pairs i < j.

    Parameters
    ----------
    pairs
        ``all``: as published. ``copresent``: where both findings are present (``present``: (N, C) of 0 and 1).
        ``prior``: weight 1 - rho_ij (``prior``: (C, C), overlap of the two findings' mean masks in the training data).
    generator
        Draws 128 pairs where there are more than 20 findings.

    Raises
    ------
    ValueError
        An unknown word, or what it needs is missing.
    """
    count = maps.shape[1]
    first, second = torch.triu_indices(count, count, 1)
    if count < 2:
        return maps.sum() * 0
    if count > MANY:
        drawn = torch.randperm(len(first), generator=generator)[:SAMPLED]
        first, second = first[drawn], second[drawn]
    units = F.normalize(maps.flatten(2), dim=2, eps=EPSILON)  # (N, C, T)
    cosines = (units[:, first] * units[:, second]).sum(2)  # (N, pairs)
    if pairs == "all":
        return cosines.mean()
    if pairs == "copresent" and present is not None:
        weights = (present[:, first] * present[:, second]).to(maps.dtype)
    elif pairs == "prior" and prior is not None:
        weights = (1 - prior[first, second]).to(maps.dtype).expand_as(cosines)
    else:
        raise ValueError(f'pairs: "{pairs}" is not known or lacks its argument. Known: all, copresent (present), prior (prior)')
    return (cosines * weights).sum() / weights.sum().clamp(min=EPSILON)


class Weighting(nn.Module, ABC):
    """How the terms add up. ``combine`` is called once a step; ``alpha``, ``beta`` are the weights of the last call."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha, self.beta = math.nan, math.nan

    @abstractmethod
    def combine(self, losses: Losses, progress: float, shared: Sequence[Tensor]) -> Tensor:
        """Return the loss to minimise. ``progress``: 0..1 of the training. ``shared``: weights on which gradients are compared."""

    def _sum(self, losses: Losses, alpha: float, beta: float) -> Tensor:
        self.alpha, self.beta = alpha, beta
        total = losses.ce
        total = total + alpha * losses.ha if alpha else total
        return total + beta * losses.dal if beta else total


class Static(Weighting):
    """Constant weights; 1 and 1 as published."""

    def __init__(self, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        self.fixed = alpha, beta

    def combine(self, losses: Losses, progress: float, shared: Sequence[Tensor]) -> Tensor:
        """See ``Weighting``."""
        return self._sum(losses, *self.fixed)


class Anneal(Weighting):
    """Human alignment first, discrimination later: alpha 1.5 to 0.5, beta 0.5 to 1.5, linearly."""

    def combine(self, losses: Losses, progress: float, shared: Sequence[Tensor]) -> Tensor:
        """See ``Weighting``."""
        return self._sum(losses, 1.5 - progress, 0.5 + progress)


class Uncertainty(Weighting):
    """Learned: sum of exp(-u_i) L_i + u_i (Kendall, Gal, Cipolla, CVPR 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.zeros(3))

    def combine(self, losses: Losses, progress: float, shared: Sequence[Tensor]) -> Tensor:
        """See ``Weighting``."""
        scales = torch.exp(-self.u)
        ce, ha, dal = (float(scale) for scale in scales.detach())
        self.alpha, self.beta = ha / ce, dal / ce
        return (scales * torch.stack(list(losses))).sum() + self.u.sum()


class Agree(Weighting):
    """As far as gradients agree: alpha = 0.25 + max(0, cos(g_CE, g_HA)), beta = max(0, cos(g_CE, g_DAL)) on ``shared``."""

    def combine(self, losses: Losses, progress: float, shared: Sequence[Tensor]) -> Tensor:
        """See ``Weighting``."""
        ce, ha, dal = (_gradient(loss, shared) for loss in losses)
        return self._sum(losses, 0.25 + max(0.0, _cosine(ce, ha)), max(0.0, _cosine(ce, dal)))


def _gradient(loss: Tensor, shared: Sequence[Tensor]) -> Tensor:
    if not loss.requires_grad:
        return torch.cat([torch.zeros_like(weight).flatten() for weight in shared])
    found = torch.autograd.grad(loss, list(shared), retain_graph=True, allow_unused=True)
    parts = [torch.zeros_like(w) if g is None else g for g, w in zip(found, shared, strict=True)]
    return torch.cat([part.flatten() for part in parts])


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a, b) / (a.norm() * b.norm()).clamp(min=1e-12))
