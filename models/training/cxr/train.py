"""Train the network that ships: the candidate and the remedies that the comparison chose, at full size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.cxr import chest_set
from models.training.cxr.chest_set import ChestSet
from models.training.cxr.classifiers import lite
from models.training.cxr.fine_tune import BATCH, Loss
from models.training.cxr.remedies import Remedies
from models.training.cxr.start import starting_weights
from models.training.loop import LoopSettings, train
from models.zoo.lite_cxr import LiteCxr, LiteTail
from models.zoo.policy_cxr import Cnn3

#: Epoch and loss of every epoch.
History = list[dict[str, float]]


@dataclass(frozen=True)
class Choice:
    """What is trained. ``frozen``: blocks left as ImageNet made them."""

    network: str
    file: str
    remedies: Remedies
    seed: int
    depth: int = 8
    frozen: int = 5
    epochs: int = 7

    @property
    def name(self) -> str:
        """What tells a kept training of this choice from that of another."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


def fit(choice: Choice, chest: ChestSet, chosen: NDArray[np.intp], work: Path, threads: int) -> tuple[nn.Module, History]:
    """Return the network in evaluation mode, and the loss of every epoch. ``work`` keeps what is half done."""
    torch.manual_seed(choice.seed)
    if choice.network == "cnn3":
        net, history = _trained(choice, chest, chosen, Cnn3(), None, work, threads)
        return net.eval(), history
    whole = lite(starting_weights(), choice.depth)
    tail, history = _trained(choice, chest, chosen, LiteTail(whole, choice.frozen), whole, work, threads)
    for mine, theirs in ((whole.blocks[choice.frozen :], tail.blocks), (whole.last, tail.last), (whole.head, tail.head)):
        mine.load_state_dict(theirs.state_dict())
    return whole.to(memory_format=torch.contiguous_format).eval(), history


def _trained(
    choice: Choice, chest: ChestSet, chosen: NDArray[np.intp], net: nn.Module, begin: LiteCxr | None, work: Path, threads: int
) -> tuple[Any, History]:
    steps = max(2, len(chosen) // BATCH)
    loss = Loss(net.to(memory_format=torch.channels_last), choice.remedies, len({row.source for row in chest.rows}))
    if begin is not None:
        begin = begin.to(memory_format=torch.channels_last)

    def loss_of(module: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        image, abnormal, classes, source = batch
        image = image.contiguous(memory_format=torch.channels_last)
        if begin is not None:
            with torch.no_grad():
                image = begin.early(image, choice.frozen)
        loss: Tensor = module(image, abnormal, source, classes)
        return loss

    whole, history = train(
        loss,
        lambda epoch: chest_set.batches(chest, chosen, steps, BATCH, choice.seed + epoch, choice.remedies),
        steps,
        loss_of,
        LoopSettings(choice.epochs, 1.5e-3 if begin is not None else 1e-3, seed=choice.seed, threads=threads),
        lambda text: print(f"{choice.network}:", text, flush=True),
        work / f"{choice.network}-{choice.name}.pt",
    )
    return whole.net, history


@torch.no_grad()
def logits_of(net: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n, 4) logits for (n, 1, size, size) normalised images."""
    parts = [net(torch.from_numpy(images[n : n + 32])).numpy() for n in range(0, len(images), 32)]
    return np.concatenate(parts).astype(np.float64)
