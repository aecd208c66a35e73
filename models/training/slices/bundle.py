"""The bundle ``ct_pima_ipn``: graph, weights, thresholds, reference, texts, from one trained network and its figures."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.export import export_classifier
from models.training import thumbnail
from models.training.package import finish, save_reference, save_weights, software
from models.training.policy import Infeasible, lowered, raised, threshold, threshold_high
from models.training.reference import Arrays, of_embeddings
from models.training.slices.cohort import Cohort
from models.training.slices.report import THRESHOLD
from models.training.slices.slice_set import SliceSet, as_input
from models.training.slices.study import FULL, VARIANTS, Form, Trained, thumbnail_scores
from models.training.slices.texts import beside_thumbnail, card_tables, manifest, missed
from models.training.statistics import sensitivity_specificity
from models.zoo.se_das_resnet50 import SeDasResNet50

DRAWN = {"title": "Drawn chests (models/phantoms)", "licence": "that of this project", "cite": "made by this recipe"}
SITE = {"title": "A site's own data", "licence": "the site's", "cite": "index.csv, by its hash"}


def write_bundle(
    cohort: Cohort,
    trained: Trained,
    form: Form,
    tables: Mapping[str, Any],
    found: Mapping[str, Any],
    options: argparse.Namespace,
) -> Bundle:
    """Write every file of the bundle to ``options.bundle`` and return it, verified. ``tables``: figures of this network."""
    folder = options.bundle
    folder.mkdir(parents=True, exist_ok=True)
    synthetic = options.data is None
    net = trained.net(form.width, VARIANTS[FULL])
    preprocessing = dict(cohort.preprocessing)
    if form.judge is not None:
        preprocessing |= {"size": form.judge.side, "centre": "thickest_piece"}
    learn, select = (cohort.slices(cohort.named(part), lungs_alone=True, square=form.judge) for part in ("train", "selection"))
    parity = export_classifier(
        net, int(preprocessing["size"]), folder / "model.onnx", as_input(select.images[:2], trained.normalise).numpy()
    )
    save_weights(net, folder)
    save_reference(folder, **reference(net, learn, trained.normalise))
    split = hashlib.sha256("\n".join(f"{n} {p}" for n, p in zip(cohort.about.names, cohort.parts, strict=True)).encode())
    simple, _ = thumbnail_scores(cohort, form, cohort.named("test"))
    thumbnail.write(folder, simple, split.hexdigest())
    fit_on = cohort.named("calibration")
    points = operating_points(cohort.labels_of(fit_on), trained.of_patients(fit_on, tables["temperature"]), synthetic, options.date)
    metrics = {
        "discrimination": [beside_thumbnail(tables, found["counts"], synthetic)],
        "policies_on_test": on_test(cohort, trained, tables["temperature"], points["policies"], "drawn" if synthetic else "site"),
        "patient_score": "the mean of the marked slices",
        "tables": card_tables(tables, found),
        "test": {name: tables[name] for name in ("full", "thumbnail", "confusion", "subgroups")},
        "counts": found["counts"],
        "history": trained.history,
        "temperature": tables["temperature"],
        "split_hash": split.hexdigest(),
    }
    provenance = {
        "recipe": "models.recipes.ct_pima_ipn",
        "date": options.date,
        "seed": form.settings.seed,
        "epochs": len(trained.history),
        "form": form.words,
        "parity": parity,
        "sources": {"drawn" if synthetic else "site": DRAWN if synthetic else SITE},
        "weights_licence": "that of this project" if synthetic else "the site's",
        "starting_weights": None,
        "split_sha256": split.hexdigest(),
        "parent": None,
        "feedback": None,
        "approved_by": None,
        "software": software(),
    }
    texts = manifest(form, preprocessing, trained.normalise, tables, synthetic, missed(cohort, form))
    texts["architecture"]["parameters"] = sum(p.numel() for p in net.parameters())
    calibration = {
        "method": "temperature",
        "temperature": {"pima": tables["temperature"]},
        "formula": "sigmoid(logit / temperature) of each slice; the patient is the mean of the slices",
        "fitted_on": "slices of the selection part, labels weighted alike",
        "n": len(cohort.named("selection")),
        "test": tables["calibration"],
    }
    return finish(folder, texts, metrics, provenance, points, calibration)


def operating_points(labels: NDArray[np.int64], scores: NDArray[np.float64], synthetic: bool, date: str) -> dict[str, Any]:
    """Return ``operating_points.yaml``: the paper's threshold, and one whose sensitivity holds with 95 % confidence."""
    whom = "drawn patients" if synthetic else "patients of the calibration part"
    positives, negatives = scores[labels == 1], scores[labels == 0]
    shared = {
        "finding": "pima",
        "views": ["axial"],
        "population": whom,
        "n": len(positives),
        "date": date,
        "valid": "this bundle only, for marked slices; void after drift, a new device or other preprocessing",
    }
    published = {
        "kind": "fixed",
        "feasible": True,
        "tau_low": THRESHOLD,
        "tau": THRESHOLD,
        "tau_high": THRESHOLD,
        "how": "the paper's threshold; it has no gray zone",
        "guarantee": "none: 0.5 is the paper's threshold, fitted on nobody",
    }
    return {"policies": {"published": {**published, **shared}, "screening": {**_sensitive(positives, negatives, whom), **shared}}}


def _sensitive(positives: NDArray[np.float64], negatives: NDArray[np.float64], whom: str) -> dict[str, Any]:
    point: dict[str, Any] = {"kind": "sensitivity", "alpha": 0.90, "delta": 0.05}
    try:
        tau = lowered(threshold(positives, 0.90, 0.05))
    except Infeasible as missing:
        nothing = {"tau_low": None, "tau": None, "tau_high": None, "feasible": False, "n_needed": missing.n_needed}
        reason = f"{len(positives)} patients with PIMA, {missing.n_needed} are needed for sensitivity 0.90"
        return {**point, **nothing, "reason": reason, "guarantee": f"no valid guarantee: {reason}"}
    try:
        low = min(tau, lowered(threshold(positives, 0.97, 0.05)))
        promised = f"sensitivity >= 0.97 with 95 % confidence, n={len(positives)}"
    except Infeasible:
        low, promised = min(tau, lowered(float(positives.min()))), "the lowest score of any PIMA of the sample; no guarantee"
    high = threshold_high(positives, negatives, tau, 0.80)
    return {
        **point,
        "feasible": True,
        "tau_low": low,
        "tau": tau,
        "tau_high": None if high is None else raised(high),
        "tau_low_meaning": promised,
        "tau_high_meaning": "precision >= 0.80 (Clopper-Pearson lower bound) at the sample's share of PIMA",
        "how": "order statistic of the scores of the patients with PIMA",
        "guarantee": f"sensitivity >= 0.90 with 95 % confidence on {whom}, n={len(positives)}",
    }


@torch.no_grad()
def reference(net: SeDasResNet50, learn: SliceSet, normalise: tuple[float, float]) -> Arrays:
    """Return where the training slices' embeddings lie."""
    parts = [net.features(as_input(learn.images[n : n + 32], normalise)).mean((2, 3)) for n in range(0, len(learn.labels), 32)]
    return of_embeddings(torch.cat(parts).double().numpy())


def on_test(
    cohort: Cohort, trained: Trained, temperature: float, policies: Mapping[str, Mapping[str, Any]], source: str
) -> dict[str, Any]:
    """Return sensitivity and specificity of every policy that has a threshold, on the patients of the test part."""
    test = cohort.named("test")
    labels, p = cohort.labels_of(test), trained.of_patients(test, temperature)
    found = {}
    for name, point in policies.items():
        if point["feasible"]:
            at = sensitivity_specificity(labels, p, point["tau"])
            found[name] = {kind: {source: getattr(at, kind).told()} for kind in ("sensitivity", "specificity")}
    return found
