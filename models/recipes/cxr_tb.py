"""Train the chest radiograph classifier: ``python -m models.recipes.cxr_tb --data DIR --out DIR``.

Adults only. ``abnormal`` trains the network; the rows of the three classes read its features without shaping them, because in this
data tuberculosis, and with it "which class", cannot be told from the hospital. What is trained was chosen by
``models.recipes.cxr_evidence``, by a rule written down before. The temperature is fitted on the selection part, thresholds on the
calibration part, figures come from the test part, once. See ``training/data.py`` for the parts, ``training/operating.py`` for the
thresholds. Half-done trainings lie in ``--work`` and go on where they were. ``--quick``: two epochs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.bundle import load_bundle
from models.export import export_classifier
from models.session import Session
from models.training import reference, speed, thumbnail
from models.training.amend import add_figures
from models.training.calibrate import fit_temperature, sigmoid
from models.training.cxr import chest_set
from models.training.cxr.chest_set import ChestSet
from models.training.cxr.classifiers import FROZEN
from models.training.cxr.manifest import manifest
from models.training.cxr.pasted import pasted_pairs
from models.training.cxr.provenance import made_of
from models.training.cxr.remedies import AS_BEFORE, Remedies
from models.training.cxr.stability import CHANGES, changed, stability
from models.training.cxr.start import BASE, shipped_lungs, starting_weights
from models.training.cxr.three_classes import three_classes
from models.training.cxr.train import Choice, History, fit, logits_of
from models.training.data import Row, counts, index_hash, prepare_all, read_index, split_hash, thumbnails
from models.training.evaluate import assessable, at_threshold, calibration_table, discrimination
from models.training.lungs import find_lungs
from models.training.operating import fit_points, one_per_patient
from models.training.package import finish, save_reference, save_weights

VIEWS = ("PA",)
#: What ``models.recipes.cxr_evidence`` chose, at the size, with the frozen blocks and about as many images drawn as there.
REMEDIES = Remedies(masked=True)
CHOSEN = Choice("lite_cxr", "models/zoo/lite_cxr.py", REMEDIES, 1, frozen=FROZEN, epochs=6)
CNN3 = Choice("cnn3", "models/zoo/policy_cxr.py", AS_BEFORE, 20)


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and images/")
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    parser.add_argument("--work", type=Path, help="folder for half-done trainings; default: beside --out, its name with .work")
    parser.add_argument("--lungs", type=Path, default=shipped_lungs(), help="lung bundle that crops")
    parser.add_argument("--quick", action="store_true", help="two epochs: to see that everything runs")
    parser.add_argument("--threads", type=int, default=2, help="for training; the same number gives the same weights")
    parser.add_argument("--date", default="2026-11-21", help="date written into the bundle; nothing reads the clock")
    return parser.parse_args()


def main() -> None:
    """Train, calibrate, fit the policies, evaluate once on test, write the bundle."""
    options = arguments()
    run(options, replace(CHOSEN, epochs=2) if options.quick else CHOSEN)


def run(options: argparse.Namespace, choice: Choice) -> None:
    """Do what ``main`` says for parsed options."""
    options.out.mkdir(parents=True, exist_ok=True)
    work = options.work or options.out.with_name(options.out.name + ".work")
    everything = read_index(options.data)
    base = {**BASE, "crop": BASE["crop"] if choice.remedies.crop else "none"}
    base |= {"outside": {"margin": 0.05, "grey": 0.5}} if choice.remedies.masked else {}
    chest = chest_set.load_once(options.data, [row for row in everything if chest_set.adult(row)], options.lungs, base, work)
    print(f"{len(chest.rows)} adult images, {chest.without_lungs} of them the node would refuse", flush=True)
    net, history = fit(choice, chest, chest.of("train"), work, options.threads)
    package(options, everything, chest, choice, net, history)


def one_source(rows: list[Row]) -> list[int]:
    """Return the rows of sources that hold both labels: elsewhere a good score is a recognised hospital."""
    kinds: dict[str, list[int]] = {}
    for row in rows:
        kinds.setdefault(row.source, []).append(row.abnormal)
    serves = {s for s, labels in kinds.items() if min(labels.count(0), labels.count(1)) >= min(10, max(1, len(labels) // 5))}
    return [n for n, row in enumerate(rows) if row.source in serves]


def package(
    options: argparse.Namespace, everything: list[Row], chest: ChestSet, choice: Choice, net: nn.Module, history: History
) -> None:
    """Fit temperature and policies, evaluate, and write every file of the bundle."""
    learn, select, fit_on, test = (chest.of(part) for part in ("train", "selection", "calibration", "test"))
    parity = export_classifier(net, int(chest.config["size"]), options.out / "model.onnx", chest.normalised(test[:4]))
    save_weights(net, options.out)
    every = {name: logits_of(net, chest.normalised(part)) for name, part in (("select", select), ("fit", fit_on), ("test", test))}
    logits = {name: values[:, 0] for name, values in every.items()}
    select_rows, fit_rows, test_rows = ([chest.rows[i] for i in part] for part in (select, fit_on, test))
    judged = one_source(select_rows)
    temperature = fit_temperature([select_rows[n].abnormal for n in judged], logits["select"][judged])
    single = one_per_patient(fit_rows)
    points = fit_points([fit_rows[n] for n in single], sigmoid(logits["fit"][single] / temperature), VIEWS, options.date)
    three = three_classes(fit_rows, softmax(every["fit"]), test_rows, softmax(every["test"]), VIEWS)
    points["three_classes"] = {"feasible": False, "tau_tb": None, "tau_pn": None, "guarantee": three["guarantee"]}

    probabilities = sigmoid(logits["test"] / temperature)
    young, young_images = children(options, everything, chest.config)
    tested = [*test_rows, *young]
    scores = np.concatenate([logits["test"], logits_of(net, young_images)[:, 0] if young else np.zeros(0)])
    simple = thumbnail.fit(thumbnails(options.data, [chest.rows[i] for i in learn]), [chest.rows[i].abnormal for i in learn])
    thumbnail.write(options.out, simple, index_hash(options.data))
    thumbs = simple.logits(thumbnails(options.data, tested))
    pa = [n for n, row in enumerate(test_rows) if row.view in VIEWS]
    same = one_source(test_rows)
    metrics: dict[str, Any] = {
        "discrimination": discrimination(tested, scores, thumbs),
        "policies_on_test": {
            name: at_threshold([test_rows[n] for n in pa], probabilities[pa], point["tau"])
            for name, point in points["policies"].items()
            if point["feasible"]
        },
        "three_classes": three,
        "calibration": calibration_table([test_rows[n] for n in same], sigmoid(logits["test"][same]), probabilities[same]),
        "stability": steady(net, chest, test[same]),
        "pasted": pasted_pairs(net, chest),
        "assessable": {label: assessable(fit_rows, label) for label in ("tuberculosis", "pneumonia")},
        "temperature": temperature,
        "counts": counts(chest.rows),
        "without_lungs": chest.without_lungs,
        "history": history,
        "split_hash": split_hash(chest.rows),
    }
    exposure, spread = (
        np.quantile(values[learn], np.linspace(0, 1, 101)).astype(np.float32) for values in (chest.mean, chest.spread)
    )
    save_reference(
        options.out,
        exposure_quantiles=exposure,
        spread_quantiles=spread,
        **reference.of_scores(sigmoid(logits["fit"] / temperature)),
        **reference.of_embeddings(embeddings(options.out, chest, learn)),
    )
    weights = None if choice.network == "cnn3" else starting_weights()
    parameters = sum(p.numel() for p in net.parameters())
    architecture = {"name": choice.network, "file": choice.file, "parameters": parameters}
    finish(
        options.out,
        manifest(chest.config, metrics, architecture, choice.remedies, load_bundle(options.lungs).version),
        metrics,
        {
            "recipe": "models.recipes.cxr_tb",
            "date": options.date,
            "seed": choice.seed,
            "frozen_blocks": choice.frozen,
            "remedies": choice.remedies.facts(),
            "epochs": len(history),
            "parity": parity,
            **made_of(chest.rows, options.data, options.lungs, weights),
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
    add_figures(options.out, {"speed": speed.measure(options.out)})


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3) probabilities of tuberculosis, pneumonia, normal from (n, 4) logits."""
    rows = np.exp(logits[:, 1:] - logits[:, 1:].max(1, keepdims=True))
    return np.asarray(rows / rows.sum(1, keepdims=True))


def children(options: argparse.Namespace, rows: list[Row], config: dict[str, Any]) -> tuple[list[Row], NDArray[np.float32]]:
    """Return the test images of children, prepared: a source the classifier never saw, outside its intended use."""
    young = [row for row in rows if row.part == "test" and not chest_set.adult(row) and row.source == "kermany_pediatric"]
    if not young:
        return [], np.zeros((0, 1, int(config["size"]), int(config["size"])), np.float32)
    boxes, masks, _ = find_lungs(options.lungs, options.data, young)
    return young, prepare_all(options.data, young, config, boxes, masks)[0][:, None]


def steady(net: nn.Module, chest: ChestSet, indices: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return how the AUC within sources that hold both labels changes under letters, borders, gamma, blur and JPEG."""
    rows, images = [chest.rows[i] for i in indices], chest.images[indices]

    def said(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        return logits_of(net, chest.ready(pictures, indices))[:, 0]

    scores = {name: said(changed(images, name)) for name in CHANGES}
    return stability([row.abnormal for row in rows], said(images), scores, [row.patient for row in rows])


def embeddings(folder: Path, chest: ChestSet, learn: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return what the graph in ``folder`` makes of the training images, (n, K)."""
    session = Session(folder / "model.onnx", threads=2, device="cpu")
    parts = [session.run({"image": chest.normalised(learn[n : n + 32])})["embedding"] for n in range(0, len(learn), 32)]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
