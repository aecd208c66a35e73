"""One training loop: AdamW, cosine schedule with a short warm-up, gradient clipping, averaged weights, a fixed seed.

The published recipe (AdamW, weighted loss, cosine, clip at L2 1.0) is kept; the exponential moving average of the weights takes the
place of early stopping, because the selection part is too small to stop on.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LoopSettings:
    """What the loop needs. ``seconds`` ends training early at the end of an epoch, 0 = never; it is then said in the history."""

    epochs: int
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    average: float = 0.98
    warm_up: float = 0.1
    seed: int = 20
    seconds: float = 0.0
    threads: int = 2


def train(
    net: nn.Module,
    batches: Callable[[int], Iterable[tuple[Tensor, ...]]],
    steps_per_epoch: int,
    loss_of: Callable[[nn.Module, tuple[Tensor, ...]], Tensor],
    settings: LoopSettings,
    say: Callable[[str], None] = print,
    checkpoint: Path | None = None,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train and return the averaged network in evaluation mode, and the loss of every epoch.

    ``batches(epoch)`` yields tuples of tensors, image first; ``loss_of`` gives a scalar. ``checkpoint``: a file that is written
    after every epoch; where it is there, training goes on after the epoch that it holds.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    total = max(1, settings.epochs * steps_per_epoch)
    optimiser = torch.optim.AdamW(net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)

    def factor(step: int) -> float:
        warm = max(1, int(total * settings.warm_up))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    averaged = copy.deepcopy(net)
    history: list[dict[str, float]] = []
    started = time.monotonic()
    moving = (net, averaged, optimiser, schedule)
    if checkpoint is not None and checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        history = kept["history"]
        for part, state in zip(moving, kept["states"], strict=True):
            part.load_state_dict(state)
        torch.manual_seed(settings.seed + len(history))
    for epoch in range(len(history), settings.epochs):
        net.train()
        losses: list[float] = []
        for batch in batches(epoch):
            optimiser.zero_grad()
            loss = loss_of(net, batch)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
            _follow(averaged, net, min(settings.average, len(history) * 0.5 + 0.5))
        history.append({"epoch": epoch, "loss": sum(losses) / max(1, len(losses))})
        if checkpoint is not None:
            _keep(checkpoint, {"history": history, "states": [part.state_dict() for part in moving]})
        say(f"epoch {epoch + 1}/{settings.epochs}: loss {history[-1]['loss']:.4f}, {time.monotonic() - started:.0f} s")
        if settings.seconds and time.monotonic() - started > settings.seconds:
            say("the time for training is used up")
            break
    return averaged.eval(), history


def _keep(path: Path, state: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)  # at once: a stop in the middle leaves the file before


@torch.no_grad()
def _follow(averaged: nn.Module, net: nn.Module, keep: float) -> None:
    for mine, theirs in zip(averaged.state_dict().values(), net.state_dict().values(), strict=True):
        if mine.dtype.is_floating_point:
            mine.mul_(keep).add_(theirs, alpha=1 - keep)
        else:
            mine.copy_(theirs)
