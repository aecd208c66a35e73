"""cnn3: three convolution blocks, global average pooling, one linear layer.

The small network of chest radiograph screening with a fitted policy: [Conv 3x3 -> BN -> ReLU -> MaxPool 2] with 32, 64 and 128
channels. ReLU is the last activation, so the class maps have the closed form of ``models.export``. Departure: four rows in the last
layer instead of three, ``abnormal`` beside the three classes.
"""

from __future__ import annotations

from torch import Tensor, nn

#: Rows of the last layer. ``abnormal`` is a question of its own (sigmoid), the others exclude each other (softmax).
CLASSES = ("abnormal", "tuberculosis", "pneumonia", "normal")


class Cnn3(nn.Module):
    """``image`` float32 (N, 1, S, S), normalised -> logits (N, 4); S a multiple of 8."""

    def __init__(self, channels: tuple[int, ...] = (32, 64, 128), classes: int = len(CLASSES)) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = 1
        for width in channels:
            blocks += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            before = width
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def features(self, image: Tensor) -> Tensor:
        """Return the last feature map, never negative."""
        return self.body(image)  # (N, 128, S/8, S/8)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(self.features(image).mean((2, 3)))  # (N, 4)
