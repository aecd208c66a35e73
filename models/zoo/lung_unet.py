"""A small U-Net that says, per pixel, how likely lung is.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015; as implemented by
MONAI's ``UNet`` (residual units, Kerfoot et al. 2018). Departures: strided convolutions instead of pooling, one residual unit a
level, instance norm (no running statistics, so a batch of one is like any other), few channels.
"""

from __future__ import annotations

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn


class LungUNet(nn.Module):
    """``image`` float32 (N, 1, 256, 256), normalised -> ``mask_probability`` (N, 1, 256, 256), 0..1."""

    def __init__(self, channels: tuple[int, ...] = (8, 16, 32, 64, 96)) -> None:
        super().__init__()
        self.channels = channels
        self.net = UNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=channels,
            strides=(2,) * (len(channels) - 1),
            num_res_units=1,
            norm=("instance", {"affine": True}),
        )

    def logits(self, image: Tensor) -> Tensor:
        """Return the map before the sigmoid, as the loss wants it."""
        return self.net(image)  # (N, 1, H, W)

    def forward(self, image: Tensor) -> Tensor:
        """Return the probability of lung."""
        return torch.sigmoid(self.logits(image))  # (N, 1, H, W)
