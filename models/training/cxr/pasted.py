"""Does the score rise when an opacity is laid into a normal lung? The one question here that no hospital's style can answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from models.training.cxr.augment import paste_opacity
from models.training.cxr.chest_set import ChestSet
from models.training.statistics import wilson


@torch.no_grad()
def pasted_pairs(net: nn.Module, chest: ChestSet, seed: int = 77) -> dict[str, Any]:
    """Count the normal test images that score higher on ``abnormal`` with a pasted opacity than without, if lungs were found."""
    rng = np.random.default_rng(seed)
    higher, rises = 0, []
    for index in chest.of("test"):
        if chest.rows[index].abnormal or not (chest.lungs[index] > 0.5).any():
            continue
        plain = chest.images[index]
        pair = np.stack([plain, np.clip(paste_opacity(rng, plain, chest.lungs[index]), 0, 1)])
        logits = net(torch.from_numpy(chest.ready(pair, [index, index])))[:, 0]
        rises.append(float(logits[1] - logits[0]))
        higher += rises[-1] > 0
    n = len(rises)
    return {
        "n": n,
        "higher": int(higher),
        "wilson": list(wilson(int(higher), n)),
        "median_rise_of_logit": float(np.median(rises)) if n else 0.0,
    }
