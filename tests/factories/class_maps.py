"""Grad-CAM and Grad-CAM++ by their definitions, by autograd: what the closed forms in a bundle's graph must equal."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


def grad_cam(net: nn.Module, image: Tensor, index: int) -> NDArray[np.float32]:
    """Return Grad-CAM of logit ``index`` by autograd, times h*w: what the closed form must equal. (N, h, w)."""
    maps = net.features(image).detach().requires_grad_(True)
    net.head(maps.mean((2, 3)))[:, index].sum().backward()
    grad = maps.grad if maps.grad is not None else torch.zeros_like(maps)
    pooled = grad.mean((2, 3), keepdim=True) * maps.shape[2] * maps.shape[3]
    return F.relu((pooled * maps).sum(1)).detach().numpy()


def grad_cam_plus_plus(net: nn.Module, image: Tensor, index: int) -> NDArray[np.float32]:
    """Return Grad-CAM++ of exp(logit) by autograd and the definition's own sums, over exp(logit), times h*w. (N, h, w)."""
    maps = net.features(image).double().detach().requires_grad_(True)
    head = nn.Linear(net.head.in_features, net.head.out_features).double()
    head.load_state_dict(net.head.state_dict())
    head(maps.mean((2, 3)))[:, index].sum().backward()
    grad = maps.grad if maps.grad is not None else torch.zeros_like(maps)  # d logit / dA; derivatives of exp(y) are exp(y) g^n
    bottom = 2 * grad**2 + (maps.sum((2, 3), keepdim=True) * grad**3)
    alpha = torch.where(grad > 0, grad**2 / torch.where(bottom == 0, torch.ones_like(bottom), bottom), torch.zeros_like(grad))
    weights = (alpha * F.relu(grad)).sum((2, 3), keepdim=True)
    return F.relu((weights * maps).sum(1)).detach().float().numpy()
