"""The convolutional counterpart of ``hegl_vit``: class maps in the place of attention.

A_c = relu(sum_k w_ck A^k), the closed form of Grad-CAM under global average pooling and one linear layer (``models.export``), so an
explanation can be trained with gradients of first order only. The stem is the same frozen half of EfficientNet-Lite0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.zoo.hegl_vit import LITE_CHANNELS, LiteStem, Said


class HeglCnn(nn.Module):
    """``image`` float32 (N, 1, S, S), normalised -> logits (N, C); S a multiple of 16."""

    def __init__(self, classes: int, width: int = 128) -> None:
        super().__init__()
        self.stem = LiteStem()
        self.body = nn.Sequential(
            nn.BatchNorm2d(LITE_CHANNELS, affine=False),  # as in ``hegl_vit``: the stem's channels differ in scale
            nn.Conv2d(LITE_CHANNELS, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width, classes)

    def features(self, image: Tensor) -> Tensor:
        """Return the frozen stem's map, (N, 80, S/16, S/16)."""
        return self.stem(image)

    def read(self, maps: Tensor) -> Said:
        """Return what the network says of ``features``; ``attention`` are its raw class maps, never negative."""
        last = self.body(maps)  # (N, width, h, w)
        embedding = last.mean((2, 3))
        class_maps = F.relu(torch.einsum("ck,nkhw->nchw", self.head.weight, last))
        return Said(self.head(self.dropout(embedding)), embedding, class_maps)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        return self.read(self.features(image)).logits  # (N, C)

    def shared(self) -> list[Tensor]:
        """Return the weights on which the losses' gradients are compared: the last convolution's."""
        return list(self.body[4].parameters())
