"""L = BCE(p, l) + lambda_att L_att(A, a) + mu L_cam(cam, a).

A: the network's own attention; cam: its class map; a: the target that physicians shaped (``attention_target``), divided by its
maximum. L_att is a Dice form with squares, L_cam the penalised Dice of ``hegl_losses.human_alignment``. L_cam is there because
supervising A alone does not move the map that people were shown. It counts only where the disease is likelier than not and a
physician said something of the map: a class map of a healthy chest should be nought, not fill the lungs.

Weights, and the form of both terms, are ours: the publication names neither.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.training.hegl.losses import human_alignment
from models.zoo.ntm_cnn3d import NtmCnn3d

ATTENTION_WEIGHT = 0.3  # lambda_att
MAP_WEIGHT = 0.3  # mu


def attention_loss(attention: Tensor, target: Tensor) -> Tensor:
    """Return the mean of 1 - (2 sum(A a) + 1) / (sum A^2 + sum a^2 + 1) over cases.

    ``attention``: (N, 1, d, h, w), 0..1. ``target``: the same shape, 0..1: already divided by its maximum.
    """
    a, t = attention.flatten(1), target.flatten(1)
    return (1 - (2 * (a * t).sum(1) + 1) / ((a * a).sum(1) + (t * t).sum(1) + 1)).mean()


def map_loss(class_map: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the penalised Dice of the class map; 0 where no case has weight.

    ``class_map``: (N, 1, d, h, w), not negative. ``target``: (N, 1, D, H, W), 0..1, averaged to the map's grid. ``weights``: (N,).
    """
    small = F.adaptive_avg_pool3d(target, class_map.shape[2:])
    flat = class_map.flatten(2)[:, :, None], small.flatten(2)[:, :, None]  # (N, 1, 1, cells): the loss sums over two axes
    return human_alignment(*flat, weights[:, None])


def total_loss(
    net: NtmCnn3d, image: Tensor, clinical: Tensor, labels: Tensor, targets: Tensor, answered: Tensor,
    attention_weight: float = ATTENTION_WEIGHT, map_weight: float = MAP_WEIGHT,
) -> Tensor:  # fmt: skip
    """Return the loss of a batch.

    Parameters
    ----------
    labels
        (N,) soft labels.
    targets
        (N, 1, d, h, w) a of each case, not divided, on the grid of A.
    answered
        (N,) 1 where a physician said something of a map of this case, else 0.
    """
    said = net.read(image, clinical)
    scaled = targets / targets.amax((1, 2, 3, 4), keepdim=True).clamp(min=1e-6)
    loss = F.binary_cross_entropy_with_logits(said.logits[:, 0], labels)
    if attention_weight:
        loss = loss + attention_weight * attention_loss(said.attention, scaled)
    weights = answered * (labels > 0.5)
    if map_weight and bool(torch.any(weights > 0)):
        loss = loss + map_weight * map_loss(net.class_map(said.maps), scaled, weights)
    return loss
