"""The first half of EfficientNet-Lite0 under a linear head.

Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; Lite0 is the variant without squeeze
and excitation and with ReLU6. Kept: stem and the first ``depth`` blocks; eight of them (14 x 14 at 224) are about a quarter of a
million parameters. Departures: one grey channel (the stem's filters summed), then a 1x1 convolution, BN and ReLU, global average
pooling and one linear layer, so that the class maps have the closed form of ``models.export``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from models.zoo.policy_cxr import CLASSES

# (expansion, kernel, stride, out) of the sixteen blocks of Lite0
BLOCKS = (
    (1, 3, 1, 16), (6, 3, 2, 24), (6, 3, 1, 24), (6, 5, 2, 40), (6, 5, 1, 40), (6, 3, 2, 80), (6, 3, 1, 80), (6, 3, 1, 80),
    (6, 5, 1, 112), (6, 5, 1, 112), (6, 5, 1, 112), (6, 5, 2, 192), (6, 5, 1, 192), (6, 5, 1, 192), (6, 5, 1, 192), (6, 3, 1, 320),
)  # fmt: skip


class SameConv(nn.Module):
    """A convolution padded as TensorFlow pads: with stride 2 the odd pixel goes to the right and the bottom."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(after, eps=1e-3)
        low = (kernel - stride) // 2  # input sides are multiples of the stride
        self.pad = (low, kernel - stride - low) * 2

    def forward(self, x: Tensor) -> Tensor:
        """Return convolution and batch norm, no activation."""
        return self.norm(self.conv(F.pad(x, self.pad)))


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise k x k, project 1x1."""

    def __init__(self, before: int, expansion: int, kernel: int, stride: int, after: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = SameConv(before, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = SameConv(wide, after, 1)
        self.skip = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, h, w) -> (N, after, h / stride, w / stride)."""
        y = F.relu6(self.expand(x)) if self.expand is not None else x
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.skip else y


class LiteCxr(nn.Module):
    """``image`` float32 (N, 1, S, S), normalised -> logits (N, 4); S a multiple of 16 (of 32 beyond eleven blocks)."""

    def __init__(self, width: int = 128, classes: int = len(CLASSES), dropout: float = 0.2, depth: int = 8) -> None:
        super().__init__()
        self.stem = SameConv(1, 32, 3, 2)
        blocks, before = [], 32
        for expansion, kernel, stride, after in BLOCKS[:depth]:
            blocks.append(Block(before, expansion, kernel, stride, after))
            before = after
        self.blocks = nn.ModuleList(blocks)
        self.last = SameConv(before, width, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def early(self, image: Tensor, blocks: int) -> Tensor:
        """Return what stem and the first ``blocks`` blocks give."""
        x = F.relu6(self.stem(image))  # (N, 32, S/2, S/2)
        for block in self.blocks[:blocks]:
            x = block(x)
        return x

    def late(self, x: Tensor, blocks: int) -> Tensor:
        """Return the last feature map, never negative, from what ``early`` gave."""
        for block in self.blocks[blocks:]:
            x = block(x)
        return F.relu(self.last(x))  # (N, width, S/16, S/16)

    def features(self, image: Tensor) -> Tensor:
        """Return the last feature map, never negative."""
        return self.late(self.early(image, 0), 0)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(self.dropout(self.features(image).mean((2, 3))))  # (N, 4)

    def start_from(self, imagenet: Mapping[str, Tensor]) -> None:
        """Load the published Lite0 weights (names of the PyTorch release) into stem and blocks; the rest stays as drawn."""
        _copy(self.stem, imagenet, "_conv_stem", "_bn0", grey=True)
        for index, block in enumerate(self.blocks):
            prefix = f"_blocks.{index}."
            if block.expand is not None:
                _copy(block.expand, imagenet, prefix + "_expand_conv", prefix + "_bn0")
            _copy(block.depthwise, imagenet, prefix + "_depthwise_conv", prefix + "_bn1")
            _copy(block.project, imagenet, prefix + "_project_conv", prefix + "_bn2")

    def start_last_from(self, imagenet: Mapping[str, Tensor]) -> None:
        """Load the published last convolution, too; for a network of all sixteen blocks and width 1280."""
        _copy(self.last, imagenet, "_conv_head", "_bn1")


class LiteTail(nn.Module):
    """The blocks from ``start`` on, the last convolution and the head of a ``LiteCxr``, whose modules it takes over."""

    def __init__(self, net: LiteCxr, start: int) -> None:
        super().__init__()
        self.blocks, self.last, self.head = net.blocks[start:], net.last, net.head

    def features(self, x: Tensor) -> Tensor:
        """Return the last feature map, never negative, from what ``LiteCxr.early`` gave."""
        for block in self.blocks:
            x = block(x)
        return F.relu(self.last(x))


def _copy(into: SameConv, weights: Mapping[str, Tensor], conv: str, norm: str, grey: bool = False) -> None:
    kernel = weights[conv + ".weight"]
    into.conv.load_state_dict({"weight": kernel.sum(1, keepdim=True) if grey else kernel})
    names = ("weight", "bias", "running_mean", "running_var")
    into.norm.load_state_dict({**{n: weights[f"{norm}.{n}"] for n in names}, "num_batches_tracked": into.norm.num_batches_tracked})
