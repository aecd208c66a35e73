"""Fine-tuning on descriptions that are kept (features of frozen blocks, or small pictures), with the remedies of training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.cxr.remedies import Remedies
from models.training.loop import LoopSettings, train

BATCH, EPOCHS = 16, 5


@dataclass(frozen=True)
class Sample:
    """``described``: (n, ...) float16. ``labels``: (n,) 0 and 1. ``sources``: (n,) numbers of the images' sources."""

    described: NDArray[np.float16]
    labels: NDArray[np.intp]
    sources: NDArray[np.intp]


class Learned:
    """A network that was fine-tuned."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    @torch.no_grad()
    def logits(self, described: NDArray[np.float16]) -> NDArray[np.float64]:
        """Return (n,) logits of ``abnormal``."""
        parts = []
        for start in range(0, len(described), 64):
            x = _image(described[start : start + 64])
            embedding = self.net.features(x).mean((2, 3))
            parts.append(F.linear(embedding, self.net.head.weight[:1], self.net.head.bias[:1])[:, 0].numpy())
        return np.concatenate(parts).astype(np.float64)


def fine_tune(
    build: Callable[[], nn.Module], sample: Sample, drawn: NDArray[np.intp], remedies: Remedies, seed: int, learning_rate: float
) -> Learned:
    """Train on ``drawn`` (numbers of the sample) in batches of ``BATCH`` and return the averaged network."""
    torch.manual_seed(seed)
    net = build().to(memory_format=torch.channels_last)
    loss = Loss(net, remedies, int(sample.sources.max()) + 1)
    steps = len(drawn) // (BATCH * EPOCHS)

    def batches(epoch: int) -> Iterator[tuple[Tensor, ...]]:
        for step in range(epoch * steps, (epoch + 1) * steps):
            at = drawn[step * BATCH : (step + 1) * BATCH]
            label = torch.from_numpy(sample.labels[at].astype(np.float32))
            yield _image(sample.described[at]), label, torch.from_numpy(sample.sources[at].astype(np.int64))

    settings = LoopSettings(EPOCHS, learning_rate, seed=seed, threads=1)
    whole, _ = train(loss, batches, steps, lambda module, batch: module(*batch), settings, lambda _: None)
    return Learned(whole.net.eval())


def _image(described: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(described.astype(np.float32)).contiguous(memory_format=torch.channels_last)


class Loss(nn.Module):
    """Cross-entropy of ``abnormal`` with MixStyle, source adversary and group DRO where they are switched on.

    ``net`` has ``features`` and ``head`` (its first row is ``abnormal``). The adversary's own layer is trained along and dropped.
    """

    def __init__(self, net: nn.Module, remedies: Remedies, sources: int) -> None:
        super().__init__()
        self.net, self.remedies = net, remedies
        self.adversary = nn.Linear(net.head.in_features, sources) if remedies.adversary else None
        self.register_buffer("group_weight", torch.full((2 * sources,), 1 / (2 * sources)))

    def forward(self, image: Tensor, abnormal: Tensor, source: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return the scalar loss of a batch. ``classes``: (N,) numbers of the other rows of the head, -1 where not to be learned.

        Those rows read the embedding without shaping it.
        """
        if self.remedies.mixstyle:
            image = mix_style(image)
        embedding = F.dropout(self.net.features(image).mean((2, 3)), 0.2)
        logit = F.linear(embedding, self.net.head.weight[:1], self.net.head.bias[:1])[:, 0]
        each = F.binary_cross_entropy_with_logits(logit, abnormal, reduction="none")
        loss = self._worst_group(each, source * 2 + abnormal.long()) if self.remedies.group_dro else each.mean()
        ill = abnormal > 0.5
        if self.adversary is not None and ill.any():  # nearly all normals are of one source: only the abnormal ones can tell
            loss = loss + 0.1 * F.cross_entropy(self.adversary(Reverse.apply(embedding[ill])), source[ill])
        if classes is not None and (classes >= 0).any():
            known = classes >= 0
            rows = F.linear(embedding.detach()[known], self.net.head.weight[1:], self.net.head.bias[1:])
            loss = loss + F.cross_entropy(rows, classes[known])
        return loss

    def _worst_group(self, each: Tensor, group: Tensor) -> Tensor:
        """Return the loss weighted by group; a group's weight grows with its loss (step 0.05)."""
        total = each.new_zeros(())
        with torch.no_grad():
            for g in group.unique():
                self.group_weight[g] *= torch.exp(0.05 * each[group == g].mean())
            self.group_weight /= self.group_weight.sum()
        present = group.unique()
        share = self.group_weight[present] / self.group_weight[present].sum()
        for weight, g in zip(share, present, strict=True):
            total = total + weight * each[group == g].mean()
        return total


class Reverse(torch.autograd.Function):
    """The identity whose gradient is turned round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the input."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Return the gradient with the other sign."""
        return -grads[0]


def mix_style(x: Tensor, alpha: float = 0.1, share: float = 0.5) -> Tensor:
    """Return (N, K, h, w) with each image's channel means and deviations mixed with those of another of the batch."""
    if torch.rand(()) >= share:
        return x
    mean, deviation = x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-6).sqrt()
    other = torch.randperm(len(x))
    part = torch.distributions.Beta(alpha, alpha).sample((len(x), 1, 1, 1))
    mixed_mean = part * mean + (1 - part) * mean[other]
    mixed_deviation = part * deviation + (1 - part) * deviation[other]
    return (x - mean) / deviation * mixed_deviation + mixed_mean
