"""A small 3D network for chest CT and four clinical facts, with one attention map and a head that explains itself.

Liu, Liu, Chen, Chang, Lee, Kuo: "Physician-Guided Attention Refinement in Chest Computed Tomography Classification under Label
Ambiguity" name the parts (a 3D network on CT, clinical data, attention that physicians refine); sizes and formulas are ours::

    B1..B4   [Conv3d 3x3x3 -> ReLU -> MaxPool 2], no pooling in B4; channels 32, 64, 128, 256
    A        = sigmoid(conv 1x1x1 (F2))                            one map, after B2
    F2'      = F2 (1 + A)
    a        = mean over places of F4                              (N, 256)
    z        = relu(W2 relu(W1 c))                                 11 -> 32 -> 16, the clinical data
    y        = w . [a | z] + b

The head is one linear layer over image and clinical data, so that the class map relu(sum_k w_k F4^k) and what the clinical data
contributed, sum_m w_m z_m, are closed forms of the same forward pass (``NtmGraph``). At inference the network gives A itself:
what people drew is a target of training only.

Nothing is normalised. Statistics of a batch (BatchNorm) would move in rounds of fine-tuning, and with them the operating point;
statistics of one scan (GroupNorm, InstanceNorm) divide by its spread, and how much a lung's density is spread is how much disease
there is. Four convolutions that start as He et al. 2015 (arXiv 1502.01852) have it learn without.
``channels`` smaller than ``FULL`` give the reduced-width twin.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FULL = (32, 64, 128, 256)
TWIN = (8, 16, 24, 32)
#: The network sees how far a voxel is denser than aerated lung (-860 HU, 0.1 in the window), in units of 14 HU. So the outline of
#: lungs and the patient's size do not show, and what disease adds to the mean over a chest is not a few thousandths.
LUNG, UNIT = 0.1, 0.01
CLINICAL = 11  # numbers of ``pipelines.blocks.clinical.encoded``


class Said(NamedTuple):
    """``logits``: (N, 1). ``maps``: F4 (N, K, d, h, w), not negative. ``attention``: A (N, 1, D/4, H/4, W/4). ``clinical``: z."""

    logits: Tensor
    maps: Tensor
    attention: Tensor
    clinical: Tensor


class Block(nn.Module):
    """Convolution, ReLU, and pooling where asked."""

    def __init__(self, before: int, after: int, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv3d(before, after, 3, padding=1)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, d, h, w) -> (N, after, d, h, w), halved each way with pooling."""
        x = F.relu(self.conv(x))
        return F.max_pool3d(x, 2) if self.pool else x


class NtmCnn3d(nn.Module):
    """``image`` float32 (N, 1, D, H, W), 0..1, sides multiples of 8, and ``clinical`` float32 (N, 11) -> logits (N, 1)."""

    def __init__(self, channels: tuple[int, int, int, int] = FULL, clinical: int = CLINICAL) -> None:
        super().__init__()
        b1, b2, b3, b4 = channels
        self.block1, self.block2 = Block(1, b1, pool=True), Block(b1, b2, pool=True)
        self.attend = nn.Conv3d(b2, 1, 1)
        self.block3, self.block4 = Block(b2, b3, pool=True), Block(b3, b4, pool=False)
        self.mlp = nn.Sequential(nn.Linear(clinical, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.head = nn.Linear(b4 + 16, 1)
        nn.init.zeros_(self.attend.weight)  # A starts at one half everywhere: nothing is preferred
        nn.init.zeros_(self.attend.bias)

    def read(self, image: Tensor, clinical: Tensor) -> Said:
        """Return everything that losses and graph need."""
        second = self.block2(self.block1(F.relu(image - LUNG) / UNIT))  # (N, b2, D/4, H/4, W/4)
        attention = torch.sigmoid(self.attend(second))  # (N, 1, D/4, H/4, W/4)
        maps = self.block4(self.block3(second * (1 + attention)))  # (N, b4, D/8, H/8, W/8)
        z = self.mlp(clinical)  # (N, 16)
        return Said(self.head(torch.cat([maps.mean((2, 3, 4)), z], 1)), maps, attention, z)

    def forward(self, image: Tensor, clinical: Tensor) -> Tensor:
        """Return the logits."""
        return self.read(image, clinical).logits

    def class_map(self, maps: Tensor) -> Tensor:
        """Return relu(sum_k w_k F4^k), (N, 1, d, h, w): Grad-CAM of the logit without its constant factor."""
        weight = self.head.weight[:, : maps.shape[1]]  # (1, K)
        return F.relu(torch.einsum("ck,nkdhw->ncdhw", weight, maps))

    def clinical_contribution(self, z: Tensor) -> Tensor:
        """Return sum_m w_m z_m, (N, 1): the part of the logit that the clinical data gave."""
        return F.linear(z, self.head.weight[:, -z.shape[1] :])


class NtmGraph(nn.Module):
    """All outputs of one forward pass; Grad-CAM++ as in ``models.export``, over three axes."""

    def __init__(self, net: NtmCnn3d) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, clinical: Tensor) -> tuple[Tensor, ...]:
        """Return logits, probabilities (N, 1), embedding (N, K), cam, campp (N, 1, d, h, w), attention, contribution (N, 1)."""
        said = self.net.read(image, clinical)
        embedding = said.maps.mean((2, 3, 4))  # (N, K)
        weight = F.relu(self.net.head.weight[:, : embedding.shape[1]])  # (1, K); where w < 0 the weight of Grad-CAM++ is 0
        plus = weight / (2 + weight * embedding)  # (N, K)
        campp = F.relu((plus[:, :, None, None, None] * said.maps).sum(1, keepdim=True))
        return (
            said.logits,
            torch.sigmoid(said.logits),
            embedding,
            self.net.class_map(said.maps),
            campp,
            said.attention,
            self.net.clinical_contribution(said.clinical),
        )
