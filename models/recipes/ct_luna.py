"""SE-DAS ResNet-50 against the plain ResNet-50 on real nodules: ``python -m models.recipes.ct_luna --data DIR --out DIR``.

``DIR`` holds ``index.csv`` (``image_id, file, label``: ``nodule`` or ``non_nodule``) and 50 x 50 patches around the candidates
of LUNA16. Both networks are trained from nothing by the same loop with the same seeds, epochs and batches; they differ in the
attention alone. The question is the architecture's: nodule or not is another task than adenocarcinoma or inflammation, and no
weights are kept.

No patient ids survive in the patches. Their numbers are rows of the candidate list, which is ordered by scan with 620 rows a scan
on average, so parts are cut as ranges of rows, and intervals draw ranges as if they were patients: a scan at the end of a range
may still lie in two parts. Figures are an upper bound, and no claim about patients.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import hmac
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training import thumbnail
from models.training.calibrate import sigmoid
from models.training.json_text import as_json
from models.training.kept_fits import Arrays, digest_of, kept
from models.training.markdown import interval, number, p_text, table
from models.training.slices.loop import FitSettings, fit, logits_of
from models.training.slices.slice_set import SliceSet
from models.training.statistics import auc_by_patient, brier, delong_test
from models.zoo.se_das_resnet50 import Attention, SeDasResNet50

ROWS_A_SCAN = 620  # 551,065 candidates of 888 scans
SCANS_A_RANGE = 9
SPLIT_KEY = b"luna-split-1"
NETWORKS: dict[str, Attention] = {"SE-DAS ResNet-50": "das", "plain ResNet-50": "none"}


class Patches(NamedTuple):
    """``slices``: each patch a patient of its own. ``scans``: (n,) about which scan. ``parts``: (n,) train, selection, test."""

    slices: SliceSet
    scans: NDArray[np.int64]
    parts: NDArray[np.str_]


def part_of(scan: int) -> str:
    """Return the part of a range of scans: 70 % train, 10 % selection, 20 % test, by keyed hash, for ever."""
    digest = hmac.new(SPLIT_KEY, str(scan // SCANS_A_RANGE).encode(), hashlib.sha256).digest()
    bucket = int.from_bytes(digest[:8], "big") % 100
    return "train" if bucket < 70 else "selection" if bucket < 80 else "test"


def read_patches(data: Path, size: int) -> Patches:
    """Read every patch of the index, resized to ``size`` (bilinear), 0..1."""
    with (data / "index.csv").open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["label"] in ("nodule", "non_nodule")]
    images = np.zeros((len(rows), size, size), np.float32)
    for n, row in enumerate(rows):
        grey = cv2.imread(str(data / row["file"]), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            raise FileNotFoundError(f"{row['file']} is missing or not an image")
        images[n] = cv2.resize(np.asarray(grey, np.float32), (size, size), interpolation=cv2.INTER_LINEAR) / 255
    names = np.array([row["image_id"] for row in rows])
    labels = np.array([int(row["label"] == "nodule") for row in rows], np.int64)
    scans = np.array([int(name.rsplit("_", 1)[1]) // ROWS_A_SCAN for name in names], np.int64)
    return Patches(SliceSet(images, labels, names), scans, np.array([part_of(int(scan)) for scan in scans]))


def thumbnail_scores(patches: Patches) -> NDArray[np.float64]:
    """Return what a logistic regression on 16 x 16 pixels says of the test part."""
    small = np.stack([cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).ravel() for image in patches.slices.images])
    learn, test = patches.parts == "train", patches.parts == "test"
    return thumbnail.fit(small[learn].astype(np.float64), patches.slices.labels[learn]).logits(small[test])


def train_one(patches: Patches, attention: Attention, width: int, settings: FitSettings, out: Path) -> Arrays:
    """Return the test logits of one training, and how it went."""
    parts = {
        part: SliceSet(s.images[mine], s.labels[mine], s.patients[mine])
        for s in (patches.slices,)
        for part in ("train", "selection", "test")
        for mine in (patches.parts == part,)
    }

    def make() -> Arrays:
        net = seeded(width, attention, settings.seed)
        fitted = fit(
            net, parts["train"], parts["selection"], settings, lambda text: print(attention, settings.seed, text, flush=True)
        )
        best = max(fitted.history, key=lambda epoch: (epoch["auc"], -epoch["log_loss"]))
        return {
            "logits": logits_of(fitted.net, parts["test"], fitted.normalise),
            "selection_auc": np.array(best["auc"]),
            "best_epoch": np.array(best["epoch"]),
            "seconds": np.array(fitted.seconds),
        }

    facts = {"settings": asdict(settings), "width": width, "slices": digest_of(*(p.images for p in parts.values()))}
    return kept(out / "fits", f"{attention}_{settings.seed}", facts, make)


def seeded(width: int, attention: Attention, seed: int) -> SeDasResNet50:
    """Return the network with weights drawn from ``seed``; both kinds start with the same ones where they share them."""
    import torch

    torch.manual_seed(seed)
    net = SeDasResNet50(width, "none")
    if attention == "none":
        return net
    other = SeDasResNet50(width, attention)
    other.load_state_dict({**other.state_dict(), **net.state_dict()})
    return other


def compare(patches: Patches, scores: dict[str, list[NDArray[np.float64]]], thumbs: NDArray[np.float64]) -> dict[str, Any]:
    """Return AUCs with intervals, by network (mean logit of its seeds), and the paired test of their difference."""
    test = patches.parts == "test"
    labels, scans = patches.slices.labels[test], patches.scans[test]
    together = {name: np.mean(each, axis=0) for name, each in scores.items()}
    rows = [
        {
            "network": name,
            "auc": list(auc_by_patient(labels, together[name], scans)),
            "auc_by_seed": [auc_by_patient(labels, one, scans).value for one in each],
            "brier": brier(labels, sigmoid(together[name])),
        }
        for name, each in scores.items()
    ]
    rows.append(
        {"network": "16 x 16 thumbnail", "auc": list(auc_by_patient(labels, thumbs, scans)), "auc_by_seed": [], "brier": None}
    )
    first, second = list(scores)
    tested = delong_test(labels, together[first], together[second], scans)
    return {
        "rows": rows,
        "difference": {"of": f"{first} - {second}", "auc": list(tested.difference), "p_value": tested.p_value},
        "test": {"patches": int(test.sum()), "nodules": int(labels.sum()), "ranges_drawn": len(set(scans.tolist()))},
    }


def verdict(result: dict[str, Any]) -> str:
    """Say in a sentence who wins, or that nobody is shown to."""
    first, second = result["difference"]["of"].split(" - ")
    value, low, high = result["difference"]["auc"]
    told = (
        f"AUC difference {value:+.3f} ({low:+.3f} to {high:+.3f}), P {p_text(result['difference']['p_value'])} (DeLong, clustered)"
    )
    if low <= 0 <= high:
        return f"{first} is not shown to beat {second}, nor the reverse: {told}."
    return f"{first} {'beats' if value > 0 else 'loses to'} {second}: {told}."


def report(result: dict[str, Any]) -> str:
    """Return the table and the verdict for people."""
    test = result["test"]
    body = [
        (
            row["network"],
            interval(row["auc"]),
            ", ".join(f"{value:.3f}" for value in row["auc_by_seed"]) or "-",
            number(row["brier"]),
        )
        for row in result["rows"]
    ]
    made = (
        f"Width {result['width']} of 64 (reduced), patches of 50 x 50 resized to {result['size']}, {result['epochs']} epochs, "
        f"batch {result['batch']}, both networks alike. Test: {test['patches']} patches, {test['nodules']} nodules, "
        f"{test['ranges_drawn']} ranges of candidates drawn as patients. No patient ids survive: no claim about patients."
    )
    head = ("network", "AUC (95 % by ranges)", "by seed", "Brier")
    title = "# Nodule or not on LUNA16 patches: attention against none"
    return "\n\n".join([title, made, table(head, body), verdict(result)])


def main(arguments: list[str] | None = None) -> None:
    """Train both networks with every seed, compare on the test part, write ``metrics.json`` and ``report.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and the patches")
    parser.add_argument("--out", type=Path, required=True, help="folder for results; finished trainings in it are not repeated")
    parser.add_argument("--width", type=int, default=16, help="channels of the stem; 64 is the network of the paper")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    base = FitSettings(options.epochs, 32, 1e-3, 1e-3, 1e-2, 1, options.epochs, threads=options.threads)
    patches = read_patches(options.data, options.size)
    options.out.mkdir(parents=True, exist_ok=True)
    done: dict[str, list[Arrays]] = {name: [] for name in NETWORKS}
    for seed in options.seeds:
        for name, attention in NETWORKS.items():
            done[name].append(train_one(patches, attention, options.width, replace(base, seed=seed), options.out))
    result = compare(patches, {name: [one["logits"] for one in each] for name, each in done.items()}, thumbnail_scores(patches))
    result |= {"width": options.width, "size": options.size, "epochs": options.epochs, "batch": base.batch, "seeds": options.seeds}
    result["seconds"] = {name: [float(one["seconds"]) for one in each] for name, each in done.items()}
    result["index_sha256"] = hashlib.sha256((options.data / "index.csv").read_bytes()).hexdigest()
    (options.out / "metrics.json").write_text(as_json(result), encoding="utf-8")
    text = report(result)
    (options.out / "report.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
