"""Train the lung segmenter and fit its frontal chest gate: ``python -m models.recipes.lungs_cxr --data DIR --out DIR``.

Only images with a mask train the network (children of one source, adults of another; both sources weigh the same in every epoch).
The parts ``train`` and ``selection`` train, and the children of ``calibration``; the adults of that part stay unseen, for
thresholds are fitted on them. ``test`` is reported once, per source. With ``--start`` training goes on from the weights of a
bundle; with ``--epochs 0`` besides, the weights stay and only the gate is fitted (``training/gates/fit.py``). About twenty minutes
on a quiet core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceLoss
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from models.bundle import Bundle, load_bundle
from models.export import export_segmenter
from models.session import Session
from models.training.cxr.augment import geometry, look
from models.training.cxr.radiograph_input import radiograph_input
from models.training.data import (
    Row,
    adult,
    counts,
    index_hash,
    licences,
    prepare_all,
    read_gray,
    read_index,
    split_hash,
    to_network,
)
from models.training.evaluate import dice, overlap_by_source
from models.training.gates import fit as gates_fit
from models.training.loop import LoopSettings, train
from models.training.lungs import kept
from models.training.package import SOURCES, finish, save_reference, save_weights, software
from models.zoo.lung_unet import LungUNet

VERSION = "0.2.0"
PREPROCESSING: dict[str, Any] = {"size": 256, "working_size": 512, "percentiles": [0.5, 99.5]}
MASK: dict[str, Any] = {"threshold": 0.5, "pieces": 2}
#: Mean Dice on the test part that was aimed for before training.
AIMS = {"ieee8023_covid": 0.92, "kermany_pediatric": 0.95}
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
    net: LungUNet | None = None,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Return the trained network and its history. ``images``: 0..1, not normalised. ``net``: trained further; else a new one."""
    torch.manual_seed(settings.seed)
    dice, entropy = DiceLoss(sigmoid=True, batch=True), nn.BCEWithLogitsLoss()

    def loss_of(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        logits = net.logits(batch[0])
        return dice(logits, batch[1]) + entropy(logits, batch[1])

    sources = [row.source for row in rows]
    return train(
        net or LungUNet(), lambda e: batches(images, masks, sources, mean, std, steps, settings.seed + e), steps, loss_of, settings
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
    parser.add_argument("--ct", type=Path, help="folder with luna_patches/: CT patches that the gate learns to refuse")
    parser.add_argument("--start", type=Path, help="lung bundle whose weights are trained further")
    parser.add_argument("--version", default=VERSION)
    parser.add_argument("--note", default="", help="a sentence for provenance and card")
    parser.add_argument("--epochs", type=int, default=19, help="0 with --start: keep the weights, fit the gate alone")
    parser.add_argument("--steps", type=int, default=80, help="batches in an epoch")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--seconds", type=float, default=0, help="end training after the epoch that passes this, 0 = never")
    parser.add_argument("--date", default="2026-11-21", help="date written into the bundle; nothing reads the clock")
    return parser.parse_args()


def write(
    options: argparse.Namespace, net: nn.Module, mean: float, std: float, history: list[dict[str, float]], rows: list[Row]
) -> None:
    """Evaluate on the test part, fit the gate and write every file of the bundle. ``rows``: those with a mask."""
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
        **gates_fit.make(options.out, session, {"preprocessing": config, "mask": MASK}, options.data, options.ct),
    }
    start = load_bundle(options.start) if options.start else None
    by_source = {entry["source"]: entry["dice"][0] for entry in metrics["overlap"]}
    finish(
        options.out,
        {
            "name": "lungs_cxr",
            "version": options.version,
            "task": "Lung mask on a frontal chest radiograph.",
            "intended_use": "Finding the lungs, and refusing what is no upright frontal chest; never a measurement.",
            "worth": "A small network trained for minutes on two public sources; nobody but this recipe has tested it. "
            "Mean Dice by source: "
            + ", ".join(f"{name} {value:.3f}" for name, value in sorted(by_source.items()))
            + "."
            + missed(by_source),
            "evidence": "demo",
            "synthetic": False,
            "twin": False,
            "needs": [],
            "inputs": radiograph_input(config),
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
                "The gate was fitted and tested without one real lateral view, abdomen or limb: those were drawn.",
                "The gate's regression and shares were set after its test figures had been seen once: its rates may flatter.",
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
            "sources": {name: SOURCES[name] for name in _sources(options, rows) if name in SOURCES},
            "image_licences": licences(read_index(options.data)),
            "data_index_sha256": index_hash(options.data),
            "split_sha256": metrics["split_hash"],
            "parent": {"bundle": start.label, "sha256": start.sha256} if start else None,
            "changes": _changes(options, start, history),
            "feedback": None,
            "approved_by": None,
            "software": software(),
        },
    )  # fmt: skip


def missed(by_source: dict[str, float]) -> str:
    """Return a sentence on every aim that was not reached, or nothing."""
    short = [
        f" Aimed for in {name}: {AIMS[name]:.2f}; missed by {AIMS[name] - value:.4f}."
        for name, value in sorted(by_source.items())
        if value < AIMS.get(name, 0.0)
    ]
    return "".join(short)


def _sources(options: argparse.Namespace, rows: list[Row]) -> list[str]:
    """Return whose images were used: the network's and the gate's, the masks', the CT patches'."""
    used = {row.source for row in rows} | {row.source for row in read_index(options.data)}
    return [*sorted(used), "v7_masks", *(["luna16"] if options.ct else [])]


def _changes(options: argparse.Namespace, start: Bundle | None, history: list[dict[str, float]]) -> list[str]:
    """Return what this version does otherwise than the bundle it started from."""
    told = [options.note] if options.note else []
    if start is not None:
        more = len(history) - len(started(start)[1])
        told.insert(0, f"{options.version}: {more} more epochs from the weights of {start.label}; the gate was fitted anew.")
    return told


def started(start: Bundle | None) -> tuple[LungUNet | None, list[dict[str, float]]]:
    """Return the network with the weights of a bundle, and how they were trained; nothing without a bundle."""
    if start is None:
        return None, []
    net = LungUNet()
    net.load_state_dict(load_file(start.folder / "weights.safetensors"))
    return net, json.loads((start.folder / "metrics.json").read_text(encoding="utf-8"))["history"]


def main() -> None:
    """Train, evaluate and write the bundle."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_index(options.data) if row.lung_mask]
    start = load_bundle(options.start) if options.start else None
    net, before = started(start)
    if start and net and not options.epochs:
        given = start.config["preprocessing"]
        write(options, net, float(given["mean"]), float(given["std"]), before, rows)
        return
    learn = [row for row in rows if row.part in ("train", "selection") or (row.part == "calibration" and not adult(row))]
    images, masks = prepare_pairs(options.data, learn, PREPROCESSING)
    mean, std = float(images.mean()), float(images.std())
    if start:
        mean, std = (float(start.config["preprocessing"][name]) for name in ("mean", "std"))
    settings = LoopSettings(options.epochs, options.rate, seconds=options.seconds)
    trained, history = fit(images, masks, learn, mean, std, settings, options.steps, net)
    write(options, trained, mean, std, [*before, *history], rows)


if __name__ == "__main__":
    main()
