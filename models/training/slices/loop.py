"""Train a network on CT slices and keep the epoch that tells the validation patients apart best.

AdamW with two learning rates (what may be pretrained; gates and head), warm-up, cosine, gradient clip; the checkpoint and the early
stop go by the AUC of patients, whose probability is the mean of their slices', as it is in use. Equal AUCs: the lower log-loss.
Where there is a GPU it is used, with autocast to bfloat16; the weights come back to the CPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.training.calibrate import sigmoid
from models.training.slices.slice_set import SliceSet, as_input, batches, moments, weighted_loss
from models.training.statistics import auc, log_loss, mean_per_patient


@dataclass(frozen=True)
class FitSettings:
    """What a training needs. The defaults are those of the full network from pretrained weights."""

    epochs: int = 100
    batch: int = 16
    backbone_rate: float = 1e-4
    new_rate: float = 1e-3  # gates and head
    weight_decay: float = 1e-4
    warm_up_epochs: int = 5
    patience: int = 15
    clip: float = 1.0
    augment: bool = True
    seed: int = 20
    threads: int = 2


@dataclass(frozen=True)
class Fitted:
    """The network of the best epoch in evaluation mode, what its input is normalised by, and every epoch's figures."""

    net: nn.Module
    normalise: tuple[float, float]
    history: list[dict[str, float]]
    seconds: float


def fit(net: nn.Module, learn: SliceSet, select: SliceSet, settings: FitSettings, say: Callable[[str], None] = print) -> Fitted:
    """Train ``net`` on ``learn``; ``select`` chooses the epoch.

    Raises
    ------
    ValueError
        A part holds one label only: there is no AUC to choose by.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = net.to(device, memory_format=torch.channels_last)  # a third faster on a CPU
    normalise, positive = moments(learn.images), learn.positive_weight()
    new = {id(p) for p in [*net.head.parameters(), *(net.gates() if hasattr(net, "gates") else [])]}
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in net.parameters() if id(p) not in new], "lr": settings.backbone_rate},
            {"params": [p for p in net.parameters() if id(p) in new], "lr": settings.new_rate},
        ],
        weight_decay=settings.weight_decay,
    )
    steps = max(1, math.ceil(len(learn.labels) / settings.batch))
    warm, total = settings.warm_up_epochs * steps, settings.epochs * steps

    def factor(step: int) -> float:
        return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    best: tuple[float, float] = (-1.0, 0.0)
    kept, since, history, started = copy.deepcopy(net.state_dict()), 0, [], time.monotonic()
    for epoch in range(settings.epochs):
        net.train()
        losses = []
        for image, label, weight in batches(learn, settings.batch, settings.seed * 1000 + epoch, settings.augment, normalise):
            optimiser.zero_grad()
            image = image.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = net(image)[:, 0]
            loss = weighted_loss(logits.float(), label.to(device), weight.to(device), positive)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        y, p = mean_per_patient(select.labels, sigmoid(logits_of(net, select, normalise)), select.patients)
        reached = (auc(y, p), -log_loss(y, p))
        history.append({"epoch": epoch, "loss": float(np.mean(losses)), "auc": reached[0], "log_loss": -reached[1]})
        since += 1
        if reached > best:
            best, since, kept = reached, 0, copy.deepcopy(net.state_dict())
        say(f"epoch {epoch + 1}/{settings.epochs}: loss {history[-1]['loss']:.4f}, validation AUC {reached[0]:.3f}")
        if since >= settings.patience:
            break
    net.load_state_dict(kept)
    return Fitted(net.to("cpu", memory_format=torch.contiguous_format).eval(), normalise, history, time.monotonic() - started)


@torch.no_grad()
def logits_of(net: nn.Module, slices: SliceSet, normalise: tuple[float, float], batch: int = 32) -> NDArray[np.float64]:
    """Return the logit of each slice, (n,)."""
    net.eval()
    device = next(net.parameters()).device
    starts = range(0, len(slices.labels), batch)
    parts = [net(as_input(slices.images[n : n + batch], normalise).to(device))[:, 0].cpu().numpy() for n in starts]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)
