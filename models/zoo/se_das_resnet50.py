"""SE-DAS ResNet-50: a residual network whose every bottleneck weighs its channels and its places, side by side.

Xie, Wang, Cheng, Wei, Yang, Yao: "Development and validation of a dual-attention deep learning prediction model for noninvasive
differentiation of pulmonary invasive mucinous adenocarcinoma from inflammatory pulmonary nodules", Transl Lung Cancer Res 2026.
He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016, for the 3-4-6-3 bottlenecks.

After bn3 of a bottleneck, before the residual addition, with F the feature map (N, C, h, w):

    channel  s = sigmoid(W2 relu(W1 mean_ij F))      (N, C, 1, 1), W1 reduces to C / 16
    spatial  m = sigmoid(conv1x1(F))                 (N, 1, h, w), no pooling
    out      = relu(F s + F m + shortcut)

This reads the paper's "parallel dual-branch structure ... point-wise 1x1 convolution without spatial pooling" as the concurrent
squeeze and excitation of Roy, Navab, Wachinger (MICCAI 2018). W2, the 1x1 convolution and their biases start at zero: both gates
are 0.5, their sum is 1, and the network is, bit for bit, the ResNet that it was made from.

Departures, the paper being silent: the fusion (``fuse``: ``add``, ``max``, ``multiply``, each scaled so that it starts as the
identity), the reduction of 16, one grey channel instead of three equal ones (the filters of pretrained weights are summed). A
single branch (``se``, ``spatial``) is doubled, and so is each gate of ``cbam``, for the same start. ``width`` is the stem's
channels: 64 is the network of the paper (26.0 million parameters), a smaller one its reduced-width twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attention = Literal["das", "se", "spatial", "cbam", "none"]
Fuse = Literal["add", "max", "multiply"]
ATTENTIONS: tuple[Attention, ...] = ("das", "se", "spatial", "cbam", "none")
FUSES: tuple[Fuse, ...] = ("add", "max", "multiply")
DEPTHS = (3, 4, 6, 3)
EXPANSION = 4


class ChannelGate(nn.Module):
    """Squeeze and excitation (Hu, Shen, Sun, CVPR 2018); ``peaks`` adds the maximum beside the mean, as CBAM does."""

    def __init__(self, channels: int, reduction: int, peaks: bool = False) -> None:
        super().__init__()
        self.peaks = peaks
        self.squeeze = nn.Conv2d(channels, max(1, channels // reduction), 1)
        self.excite = _zeroed(nn.Conv2d(max(1, channels // reduction), channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, 1, 1), 0..1."""
        raised = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        if self.peaks:
            raised = raised + self.excite(F.relu(self.squeeze(x.amax((2, 3), keepdim=True))))
        return torch.sigmoid(raised)


class SpatialGate(nn.Module):
    """One weight a place, by a 1x1 convolution over all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _zeroed(nn.Conv2d(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 1, h, w), 0..1."""
        return torch.sigmoid(self.conv(x))


class PooledSpatialGate(nn.Module):
    """CBAM's: a 7x7 convolution over mean and maximum of the channels (Woo, Park, Lee, Kweon, ECCV 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = _zeroed(nn.Conv2d(2, 1, 7, padding=3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 1, h, w), 0..1."""
        return torch.sigmoid(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


class Attend(nn.Module):
    """The attention of one bottleneck; at its start the identity, whatever its kind."""

    def __init__(self, channels: int, kind: Attention, fuse: Fuse, reduction: int) -> None:
        super().__init__()
        if kind not in ATTENTIONS or fuse not in FUSES:
            raise ValueError(f'attention "{kind}" with fusion "{fuse}" is not known. Known: {ATTENTIONS}, {FUSES}')
        self.kind, self.fuse = kind, fuse
        self.channel = ChannelGate(channels, reduction, peaks=kind == "cbam") if kind in ("das", "se", "cbam") else None
        self.spatial = SpatialGate(channels) if kind in ("das", "spatial") else PooledSpatialGate() if kind == "cbam" else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        if self.channel is not None and self.spatial is not None and self.kind == "das":
            s, m = self.channel(x), self.spatial(x)
            if self.fuse == "add":
                return x * s + x * m
            return 2 * torch.maximum(x * s, x * m) if self.fuse == "max" else 4 * (x * s * m)
        if self.channel is not None:
            x = x * (2 * self.channel(x))
        if self.spatial is not None:
            x = x * (2 * self.spatial(x))  # after the channels: CBAM is sequential
        return x


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the width, attention, shortcut. Names are those of published weights."""

    def __init__(self, before: int, width: int, stride: int, kind: Attention, fuse: Fuse, reduction: int) -> None:
        super().__init__()
        after = width * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after)
        self.attend = Attend(after, kind, fuse, reduction)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, h, w) -> (N, 4 width, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.attend(self.bn3(self.conv3(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class SeDasResNet50(nn.Module):
    """``image`` float32 (N, 1, S, S), normalised -> logits (N, classes); S a multiple of 32."""

    def __init__(
        self,
        width: int = 64,
        attention: Attention = "das",
        fuse: Fuse = "add",
        classes: int = 1,
        reduction: int = 16,
        depths: tuple[int, int, int, int] = DEPTHS,
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        before, stages = width, []
        for stage, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for n in range(depth):
                stride = 2 if n == 0 and stage > 0 else 1
                blocks.append(Bottleneck(before, width << stage, stride, attention, fuse, reduction))
                before = (width << stage) * EXPANSION
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.head = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:  # the gates keep the start that they were given
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, image: Tensor) -> Tensor:
        """Return the last feature map, never negative."""
        x = F.relu(self.bn1(self.conv1(image)))  # (N, 64, S/2, S/2)
        x = F.max_pool2d(x, 3, 2, 1)  # (N, 64, S/4, S/4)
        x = self.layer2(self.layer1(x))  # (N, 512, S/8, S/8)
        return self.layer4(self.layer3(x))  # (N, 2048, S/32, S/32)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(self.features(image).mean((2, 3)))  # (N, classes)

    def gates(self) -> list[nn.Parameter]:
        """Return the parameters of the attention, which learn faster than what was pretrained."""
        return [p for name, p in self.named_parameters() if ".attend." in name]

    def start_from(self, resnet50: Mapping[str, Tensor]) -> None:
        """Load published ResNet-50 weights (``conv1.weight`` … ``layer4.2.bn3.bias``; ``fc`` is left out) at full width.

        Raises
        ------
        ValueError
            A weight is missing or has another shape.
        """
        own = self.state_dict()
        wanted = [name for name in own if ".attend." not in name and not name.startswith("head.")]
        given = dict(resnet50)
        if "conv1.weight" in given:
            given["conv1.weight"] = given["conv1.weight"].sum(1, keepdim=True)  # three equal channels are one
        for name in wanted:
            if name.endswith("num_batches_tracked"):
                given.setdefault(name, own[name])
            if name not in given or given[name].shape != own[name].shape:
                raise ValueError(f"these are no weights of this network: {name} is missing or has another shape")
        self.load_state_dict({**own, **{name: given[name] for name in wanted}})


def _zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv
