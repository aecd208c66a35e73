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
from torch import Tensor, nn

from models.export import export_segmenter
from models.session import Session
from models.training.augment import geometry, look
from models.training.data import Row, counts, index_hash, licences, prepare_all, read_gray, read_index, split_hash, to_network
from models.training.evaluate import dice, overlap_by_source
from models.training.loop import LoopSettings, train
from models.training.lungs import kept
from models.training.package import SOURCES, finish, save_reference, save_weights, software
from models.zoo.lung_unet import LungUNet

VERSION = "0.1.0"
PREPROCESSING: dict[str, Any] = {"size": 256, "working_size": 512, "percentiles": [0.5, 99.5]}
MASK: dict[str, Any] = {"threshold": 0.5, "pieces": 2}
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
    images: NDArray[np.float32],
    masks: NDArray[np.float32],
    rows: list[Row],
    mean: float,
    std: float,
    settings: LoopSettings,
    steps: int,
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


def write(
    options: argparse.Namespace, net: nn.Module, mean: float, std: float, history: list[dict[str, float]], rows: list[Row]
) -> None:
    """Evaluate on the test part and write every file of the bundle."""
    config = {**PREPROCESSING, "mean": mean, "std": std}
    test = [row for row in rows if row.part == "test"]
    images, masks = prepare_pairs(options.data, test, config)
    parity = export_segmenter(net, int(config["size"]), options.out / "model.onnx", images[:2, None])
    session = Session(options.out / "model.onnx", threads=2, device="cpu")
    found = np.stack([session.run({"image": image[None, None]})["mask_probability"][0, 0] for image in images])
    overlaps = dice(masks > 0.5, np.stack([kept(p, **MASK) for p in found]))
    areas = [float((mask > 0.5).mean()) for mask in masks]
    save_weights(net, options.out)
    save_reference(options.out, mask_area_quantiles=np.quantile(areas, np.linspace(0, 1, 21)).astype(np.float32))
    metrics: dict[str, Any] = {
        "overlap": overlap_by_source(test, overlaps),
        "counts": counts(rows),
        "history": history,
        "split_hash": split_hash(rows),
    }
    by_source = {entry["source"]: entry["dice"][0] for entry in metrics["overlap"]}
    finish(
        options.out,
        {
            "name": "lungs_cxr",
            "version": VERSION,
            "task": "Lung mask on a frontal chest radiograph.",
            "intended_use": "Finding the lungs for plausibility checks and for cropping; never a measurement.",
            "worth": "A small network trained for minutes on two public sources; nobody but this recipe has tested it. "
            "Mean Dice by source: "
            + ", ".join(f"{name} {value:.3f}" for name, value in sorted(by_source.items()))
            + ".",
            "evidence": "demo",
            "synthetic": False,
            "twin": False,
            "needs": [],
            "inputs": {
                "image": {"modality": ["CR", "DX"], "shape": ["n", 1, config["size"], config["size"]], "dtype": "float32",
                          "unit": "grey value after preprocessing, brighter = more attenuation",
                          "value_range": [-mean / std, (1 - mean) / std]}
            },
            "preprocessing": config,
            "outputs": [{"name": "mask_probability", "dtype": "float32", "shape": ["n", 1, config["size"], config["size"]],
                         "value_range": [0, 1]}],
            "mask": dict(MASK),
            "saliency": "none",
            "parity_tolerance": 1e-4,
            "architecture": {"name": "lung_unet", "file": "models/zoo/lung_unet.py", "channels": list(net.channels),
                             "parameters": sum(p.numel() for p in net.parameters())},
            "limits": [
                "The masks it learned from include most of the heart's shadow and lung behind the diaphragm.",
                "So areas and overlaps are not comparable with anatomical masks.",
                "Most training images are of children of one hospital; the adults are of one collection of mostly infected lungs.",
                "It has seen no lateral view, no abdomen and no other body part, and may draw lungs there.",
            ],
            "assumed": ["network width", "loss Dice + cross-entropy", "all augmentation strengths",
                        "mask threshold and component rule"],
        },
        metrics,
        {
            "recipe": "models.recipes.lungs_cxr",
            "date": options.date,
            "seed": LoopSettings(1).seed,
            "epochs": len(history),
            "parity": parity,
            "sources": {name: SOURCES[name] for name in [*sorted({row.source for row in rows}), "v7_masks"] if name in SOURCES},
            "image_licences": licences(rows),
            "data_index_sha256": index_hash(options.data),
            "split_sha256": metrics["split_hash"],
            "parent": None,
            "feedback": None,
            "approved_by": None,
            "software": software(),
        },
    )  # fmt: skip


def main() -> None:
    """Train, evaluate and write the bundle."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_index(options.data) if row.lung_mask]
    learn = [row for row in rows if row.part in ("train", "selection")]
    images, masks = prepare_pairs(options.data, learn, PREPROCESSING)
    mean, std = float(images.mean()), float(images.std())
    net, history = fit(images, masks, learn, mean, std, LoopSettings(options.epochs, 3e-3, seconds=options.seconds), options.steps)
    write(options, net, mean, std, history, rows)


if __name__ == "__main__":
    main()
