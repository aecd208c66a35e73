"""Train the lung segmenter: ``python -m models.recipes.lungs_cxr --data DIR --out DIR``.

Only images with a mask take part (children of one source, adults of another; both sources weigh the same in every epoch). The parts
``train`` and ``selection`` train, ``test`` is reported once, per source. Six to ten minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceLoss
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from models.training.augment import geometry, look
from models.training.data import Row, prepare_all, read_gray, read_index, to_network
from models.training.loop import LoopSettings, train
from models.zoo.lung_unet import LungUNet

VERSION = "0.1.0"
PREPROCESSING: dict[str, Any] = {"size": 256, "working_size": 512, "percentiles": [0.5, 99.5]}
BATCH = 12


def batches(
    images: NDArray[np.float32], masks: NDArray[np.float32], sources: list[str], mean: float, std: float, steps: int, seed: int
) -> Iterator[tuple[Tensor, ...]]:
    """Yield ``steps`` augmented batches, every source equally likely."""
    rng = np.random.default_rng(seed)
    names = sorted(set(sources))
    members = [np.flatnonzero(np.asarray(sources) == name) for name in names]
    for _ in range(steps):
        x = np.zeros((BATCH, 1, *images.shape[1:]), np.float32)
        y = np.zeros_like(x)
        for n in range(BATCH):
            index = rng.choice(members[rng.integers(len(members))])
            image, mask = geometry(rng, images[index], masks[index])
            x[n, 0] = (look(rng, image) - mean) / std
            y[n, 0] = mask > 0.5
        yield torch.from_numpy(x), torch.from_numpy(y)


def fit(
    images: NDArray[np.float32], masks: NDArray[np.float32], rows: list[Row], mean: float, std: float, settings: LoopSettings, steps: int
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Return the trained network and its history. ``images``: 0..1, not normalised."""
    torch.manual_seed(settings.seed)
    dice, entropy = DiceLoss(sigmoid=True, batch=True), nn.BCEWithLogitsLoss()

    def loss_of(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        logits = net.logits(batch[0])
        return dice(logits, batch[1]) + entropy(logits, batch[1])

    sources = [row.source for row in rows]
    return train(
        LungUNet(), lambda e: batches(images, masks, sources, mean, std, steps, settings.seed + e), steps, loss_of, settings
    )


def prepare_pairs(data: Path, rows: list[Row], config: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return inputs and masks on the network's grid, each (n, size, size)."""
    images, records = prepare_all(data, rows, config)
    masks = np.stack([to_network(read_gray(data, row.lung_mask) > 127, done) for row, done in zip(rows, records, strict=True)])
    return images, masks


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv, images/ and lung_masks/")
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=45, help="batches in an epoch")
    parser.add_argument("--seconds", type=float, default=480, help="end training after the epoch that passes this, 0 = never")
    parser.add_argument("--date", default="2026-11-21", help="date written into the bundle; nothing reads the clock")
    return parser.parse_args()


def main() -> None:
    """Train, evaluate and write the bundle."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_index(options.data) if row.lung_mask]
    learn = [row for row in rows if row.part in ("train", "selection")]
    images, masks = prepare_pairs(options.data, learn, PREPROCESSING)
    mean, std = float(images.mean()), float(images.std())
    print(len(learn), mean, std, flush=True)
    net, history = fit(images, masks, learn, mean, std, LoopSettings(options.epochs, 3e-3, seconds=options.seconds), options.steps)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, str(options.out / "weights.safetensors"))
    np.savez("/tmp/lungs_partial.npz", mean=mean, std=std, loss=[h["loss"] for h in history])


if __name__ == "__main__":
    main()
