"""Train the chest radiograph network with aligned attention: ``python -m models.recipes.cxr_hegl --data DIR --out DIR``.

Hybrid explanation-guided learning (Shu et al., arXiv 2510.12704) on adults: cross-entropy, attention drawn to what people marked
(boxes; elsewhere, weakly, the lungs), attention of different findings drawn apart. Without a GPU the reduced-width twin is trained
on maps of a frozen ImageNet stem; ``--full`` trains the published ViT-B/16 from the same network file, which wants a GPU.

The rule by which a variant is shipped stands in ``models/training/hegl/study.choose`` and was written before the runs. It reads the
parts train and selection only; thresholds come from the calibration part, figures from the test part. What was trained is kept
under ``--work``: a stopped run goes on where it was. ``--quick``, under 15 minutes on two cores, has one training a variant instead
of folds, nothing is chosen, and the weights of the losses are the published ones.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.bundle import load_bundle
from models.export import export_attention
from models.training import reference, thumbnail
from models.training.amend import add_figures
from models.training.calibrate import fit_temperature, sigmoid
from models.training.cxr import chest_set, start
from models.training.cxr.chest_set import ChestSet
from models.training.cxr.provenance import made_of
from models.training.cxr.start import shipped_lungs, starting_weights
from models.training.data import counts, index_hash, read_index, split_hash, thumbnails
from models.training.evaluate import at_threshold, calibration_table, discrimination
from models.training.hegl import study as hegl_study
from models.training.hegl import training_set as hegl_set
from models.training.hegl.manifest import manifest, tables
from models.training.hegl.study import VARIANTS, Judged
from models.training.hegl.train import LUNG_WEIGHT, Recipe, embed, say
from models.training.hegl.training_set import HeglSet
from models.training.loop import LoopSettings
from models.training.operating import fit_points, one_per_patient
from models.training.package import file_hash, finish, save_reference, save_weights
from models.zoo.hegl_cnn import HeglCnn
from models.zoo.hegl_vit import FULL, TWIN, HeglVit, LiteStem

BASE: dict[str, Any] = {**start.BASE, "size": 224}
VIEWS = ("PA",)
SHORT = (2, 12)  # epochs and steps of the many trainings that only show a direction


def stem_of(full: bool) -> nn.Module:
    """Return what comes before the part that is trained: the frozen stem, or nothing."""
    if full:
        return nn.Identity()
    stem, weights = LiteStem(), starting_weights()
    if weights is not None:
        stem.start_from(torch.load(weights, weights_only=True))
    return stem.eval()


def builder(full: bool, size: int, stem: nn.Module) -> Callable[[], HeglVit]:
    """Return what makes a fresh network with the weights of ``stem``."""

    def build() -> HeglVit:
        net = HeglVit(len(hegl_set.CLASSES), size, **(FULL if full else TWIN))
        net.stem.load_state_dict(stem.state_dict())
        return net

    return build


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and images/")
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    parser.add_argument("--work", type=Path, default=Path("hegl-work"), help="folder for what is kept between runs")
    parser.add_argument("--lungs", type=Path, default=None, help="lung bundle that crops; default: the shipped one")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of a network; one is --steps batches of 32")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one training a variant instead of five folds")
    parser.add_argument("--grid", action="store_true", help="alpha x beta grid and the other schedules, on the first fold")
    parser.add_argument("--full", action="store_true", help="the published ViT-B/16, from the images; wants a GPU and many epochs")
    parser.add_argument("--date", default="2026-11-21", help="date written into the bundle; nothing reads the clock")
    return parser.parse_args()


def main() -> None:
    """Prepare the images, then train and write."""
    options = arguments()
    options.lungs = options.lungs or shipped_lungs()
    torch.set_num_threads(options.threads)
    rows = [row for row in read_index(options.data) if chest_set.adult(row)]
    run(options, chest_set.load(options.data, rows, options.lungs, BASE))


def run(options: argparse.Namespace, chest: ChestSet) -> None:
    """Train the variants in folds, choose, train the network that is shipped, write the bundle."""
    options.out.mkdir(parents=True, exist_ok=True)
    stem = stem_of(options.full)
    chosen = hegl_set.load(options.data, chest, options.lungs, stem, options.work / "maps")
    build = builder(options.full, int(chest.config["size"]), stem)
    settings = LoopSettings(options.epochs, 1e-4 if options.full else 2e-3, average=0.9, threads=options.threads)
    kept = options.work / "nets" / fingerprint(options, settings)
    judge = hegl_study.judge_once if options.quick else hegl_study.judge
    judged = {r.name: judge(chosen, build, r, options.steps, settings, kept) for r in VARIANTS}
    study = compare(chest, chosen, judged, stem, folds=not options.quick)
    recipe = next(r for r in VARIANTS if r.name == study["chosen"])
    print(f"chosen: {recipe.name}", flush=True)
    path = kept / f"{recipe.name.replace(' ', '_')}_{options.epochs}x{options.steps}_train.pt"
    net, history = hegl_study.train_on(chosen, chosen.of("train"), build, recipe, options.steps, settings, path)
    package(options, chest, chosen, net, recipe, history, study)
    if options.grid:  # last: the bundle is whole without it
        metrics = json.loads((options.out / "metrics.json").read_text(encoding="utf-8"))
        told = metrics["hegl"] | directions(options, chosen, stem, int(chest.config["size"]), settings, kept / "short")
        add_figures(options.out, {"hegl": told, "tables": tables(told)})


def fingerprint(options: argparse.Namespace, settings: LoopSettings) -> str:
    """Return a name for all that trainings of one run share, so that a network of another run is never taken for one of this."""
    told = [asdict(settings), FULL if options.full else TWIN, hegl_study.BATCH, LUNG_WEIGHT, index_hash(options.data)]
    lungs = file_hash(options.lungs / "model.onnx")
    return hashlib.sha256(json.dumps([*told, lungs, options.steps]).encode()).hexdigest()[:16]


def directions(
    options: argparse.Namespace, chosen: HeglSet, stem: nn.Module, size: int, settings: LoopSettings, kept: Path
) -> dict[str, Any]:
    """Return grid, schedules and the CNN: one fold, few steps, maps at half the side, no intervals."""
    small, short = hegl_study.halved(chosen), replace(settings, epochs=SHORT[0])
    build = builder(options.full, size // 2, stem)

    def cnn() -> nn.Module:
        net = HeglCnn(len(hegl_set.CLASSES))
        net.stem.load_state_dict(stem.state_dict())
        return net

    others = {r.name: hegl_study.one_fold(small, build, r, SHORT[1], short, kept) for r in (*VARIANTS, *hegl_study.OTHERS)}
    if not options.full:  # the CNN reads the maps of the frozen stem, which the full network does not have
        others |= {r.name: hegl_study.one_fold(small, cnn, r, SHORT[1], short, kept) for r in hegl_study.CNN}
    grid = hegl_study.grid(small, build, SHORT[1], short, kept)
    return {"short_steps": SHORT[0] * SHORT[1], "grid": grid, "others": others}


def compare(chest: ChestSet, chosen: HeglSet, judged: dict[str, Judged], stem: nn.Module, *, folds: bool) -> dict[str, Any]:
    """Return every table of the comparison: over five folds, or over all parts that one training did not see."""
    parts = ("train", "selection") if folds else ("selection", "calibration", "test")
    seen, test = chosen.of(*parts), chosen.of("test")
    unseen = {name: hegl_study.classification(chosen, one, seen) for name, one in judged.items()}
    places = {name: hegl_study.localisation(chosen, one, "abnormal", parts) for name, one in judged.items()}
    energy = {name: place.get("energy_in_boxes", [0.0])[0] for name, place in places.items()}
    baseline = judged[hegl_study.BASELINE]
    return {
        "form": "five folds by patient (K=5)"
        if folds
        else "one training on the train part, judged on the parts that it did not see",
        "chosen": hegl_study.choose(unseen, energy) if folds else hegl_study.PUBLISHED,
        "unseen": unseen,
        "test": {name: hegl_study.classification(chosen, one, test) for name, one in judged.items()},
        "against_baseline": {
            name: hegl_study.against(chosen, one, baseline, seen) for name, one in judged.items() if one is not baseline
        },
        "localisation": {
            name: hegl_study.localisation(chosen, one, "abnormal", () if folds else parts) for name, one in judged.items()
        },
        "noise": hegl_study.noise_curve(chest, chosen, judged, stem),
        "pairs": hegl_study.cost_of_pairs(),
    }


def package(
    options: argparse.Namespace, chest: ChestSet, chosen: HeglSet, net: nn.Module, recipe: Recipe,
    history: list[dict[str, float]], study: dict[str, Any],
) -> None:  # fmt: skip
    """Fit temperature and policies, evaluate once on test, and write every file of the bundle."""
    learn, select, fit_on, test = (chosen.of(part) for part in ("train", "selection", "calibration", "test"))
    parity = export_attention(net, int(chest.config["size"]), options.out / "model.onnx", chest.normalised(test[:4]))
    save_weights(net, options.out)
    logits = {name: say(net, chosen.maps[part])[0][:, 0] for name, part in (("select", select), ("fit", fit_on), ("test", test))}
    judged = hegl_study.of_one_source(chosen, select)
    at = [int(np.flatnonzero(select == n)[0]) for n in judged]
    temperature = fit_temperature([chosen.rows[n].abnormal for n in judged], logits["select"][at])
    fit_rows, test_rows = [chosen.rows[n] for n in fit_on], [chosen.rows[n] for n in test]
    single = one_per_patient(fit_rows)
    points = fit_points([fit_rows[n] for n in single], sigmoid(logits["fit"][single] / temperature), VIEWS, options.date)

    baseline = thumbnail.fit(thumbnails(options.data, [chosen.rows[n] for n in learn]), [chosen.rows[n].abnormal for n in learn])
    thumbnail.write(options.out, baseline, index_hash(options.data))
    after = sigmoid(logits["test"] / temperature)
    pa = [n for n, row in enumerate(test_rows) if row.view in VIEWS]
    same = [n for n, row in enumerate(test_rows) if row.source == hegl_set.REPORTED]
    judged_rows = [test_rows[n] for n in same]
    every_logit, every_map = say(net, chosen.maps[: len(chosen.rows)])
    shipped = Judged(every_logit, every_map, [net])
    metrics: dict[str, Any] = {
        "discrimination": discrimination(test_rows, logits["test"], baseline.logits(thumbnails(options.data, test_rows))),
        "policies_on_test": {
            name: at_threshold([test_rows[n] for n in pa], after[pa], point["tau"])
            for name, point in points["policies"].items()
            if point["feasible"]
        },
        "calibration": calibration_table(judged_rows, sigmoid(logits["test"][same]), after[same]),
        "hegl": {
            **study,
            "shipped": {
                "test": hegl_study.classification(chosen, shipped, test),
                "localisation": hegl_study.localisation(chosen, shipped, "abnormal", ("calibration", "test")),
            },
        },
        "temperature": temperature,
        "counts": counts(chosen.rows),
        "boxed": len(chosen.boxed),
        "steps": len(history) * options.steps,
        "batch": hegl_study.BATCH,
        "parameters": sum(p.numel() for p in net.parameters()),
        "without_lungs": chest.without_lungs,
        "history": history,
        "split_hash": split_hash(chosen.rows),
    }
    metrics["tables"] = tables(metrics["hegl"])
    spread = reference.of_scores(sigmoid(logits["fit"] / temperature))
    save_reference(options.out, **spread, **reference.of_embeddings(embed(net, chosen.maps[learn])))
    weights = None if options.full else starting_weights()
    parameters = sum(p.numel() for p in net.parameters())
    finish(
        options.out,
        manifest(chest.config, metrics, parameters, recipe.name, twin=not options.full),
        metrics,
        {
            "recipe": "models.recipes.cxr_hegl",
            "date": options.date,
            "seed": LoopSettings(1).seed,
            "epochs": len(history),
            "steps_per_epoch": options.steps,
            "variant": recipe.name,
            "parity": parity,
            "changes": [f"Images cropped to the lungs that {load_bundle(options.lungs).label} found."],
            **made_of(chosen.rows, options.data, options.lungs, weights),
        },
        points,
        {
            "method": "temperature",
            "temperature": {"abnormal": temperature},
            "formula": "sigmoid(logit / temperature)",
            "fitted_on": "selection part, the source with both labels, labels weighted alike",
            "n": len(judged),
            "test": metrics["calibration"],
        },
    )


if __name__ == "__main__":
    main()
