"""The texts of the bundle ``ct_pima_ipn``, filled with its figures: manifest, limits, what it is worth, tables of the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.markdown import interval
from models.training.slices.cohort import Cohort
from models.training.slices.report import PIMA
from models.training.slices.study import Form

NAME, VERSION = "ct_pima_ipn", "0.1.0"
FULL_WIDTH = 64
DRAWN_LIMITS = (
    "Trained on drawn chests: on a person's CT its answer means nothing.",
    (
        "Measured with the lungs as drawn and on slices drawn 5 mm thick: through the node, which has to find the lungs, it may be "
        "worse."
    ),
)


def manifest(
    form: Form,
    preprocessing: Mapping[str, Any],
    normalise: tuple[float, float],
    tables: Mapping[str, Any],
    synthetic: bool,
    missed: str,
) -> dict[str, Any]:
    """Return ``bundle.yaml`` without its file list."""
    size, (mean, deviation) = int(preprocessing["size"]), normalise
    twin = form.width < FULL_WIDTH
    return {
        "name": NAME,
        "version": VERSION,
        "task": "Invasive mucinous adenocarcinoma (PIMA) or inflammatory nodule (IPN), on marked slices of a chest CT.",
        "intended_use": "Trying out the way of a CT study through the node. Research use only.",
        "worth": worth(tables, synthetic, twin),
        "evidence": "demo",
        "synthetic": synthetic,
        "twin": twin,
        "needs": [],
        "inputs": {
            "image": {
                "modality": ["CT"],
                "shape": ["n", 1, size, size],
                "dtype": "float32",
                "unit": "HU over the window, then (x - mean) / deviation",
                "value_range": [-mean / deviation, (1 - mean) / deviation],
            }
        },
        "preprocessing": {**preprocessing, "normalise": {"mean": mean, "deviation": deviation}},
        "outputs": [
            {
                "key": "pima",
                "code": ["PIMA", "99PACSAI", "Pulmonary invasive mucinous adenocarcinoma"],
                "activation": "sigmoid",
                "assessed": True,
                "note": "Against inflammatory nodules alone; says nothing of other nodules.",
            }
        ],
        "graph_outputs": {
            "logits": ["n", 1],
            "probabilities": ["n", 1],
            "embedding": ["n", "k"],
            "cam": ["n", 1, "h", "w"],
            "campp": ["n", 1, "h", "w"],
        },
        "saliency": "cam",
        "saliency_outputs": {"Grad-CAM": "cam", "Grad-CAM++": "campp", "of": "logit", "values": "raw, not negative"},
        "parity_tolerance": 1e-4,
        "architecture": {
            "name": "se_das_resnet50",
            "file": "models/zoo/se_das_resnet50.py",
            "width": form.width,
            "attention": "das",
        },
        "out_of_distribution": {"reference": "reference.npz", "limit": "distance_limit"},
        "limits": [
            *(DRAWN_LIMITS if synthetic else []),
            "Only slices that a person marked are the validated procedure; slices chosen automatically always go to review.",
            "Asked of any other nodule, or of none, it still answers PIMA or IPN.",
            "Contrast agent and slices thicker than 5 mm were not in the training.",
            *([] if form.judge is None else [f"It sees a square about the thickest dense piece of each marked slice.{missed}"]),
            "A lesion at mediastinum or diaphragm can fall outside the lungs that are found, and is then hidden from the network.",
        ],
        "assumed": [
            "fusion of the two gates (add) and their reduction (16)",
            "pixel size and size of the slices",
            "learning rates, epochs, batch",
            "the bare network as the base of the rows with attention alone",
            "a patient's slices weigh together as one patient in the loss",
            "augmentation: mirrored, turned by up to 10 degrees",
            "temperature fitted on slices with labels weighted alike",
            *(["reduced width"] if twin else []),
            *(["a square about the thickest dense piece instead of the whole slice"] if form.judge is not None else []),
        ],
    }


def missed(cohort: Cohort, form: Form) -> str:
    """Return a sentence on how often the square misses the lesion, where its place is told; else none."""
    tested = np.isin(cohort.patients, cohort.named("test"))
    if form.judge is None or (cohort.places[tested] < 0).any():
        return ""
    found = np.array([place or (-form.judge.side, 0) for place in cohort.found])[tested]
    outside: NDArray[np.bool_] = np.any(np.abs(found - cohort.places[tested]) > form.judge.side / 2, axis=1)
    return (
        f" In {int(outside.sum())} of {len(outside)} test slices something else is thicker: it then sees that, and not the lesion."
    )


def worth(tables: Mapping[str, Any], synthetic: bool, twin: bool) -> str:
    """Return what the bundle is worth, in figures."""
    size = "a twin of reduced width" if twin else "the full network"
    figures = (
        f"AUC {interval(tables['full']['auc'])} on {tables['full']['n']} patients of the test part, "
        f"16 x 16 pixels {interval(tables['thumbnail']['auc'])}"
    )
    if synthetic:
        return (
            f"SYNTHETIC: {size}, trained and tested on drawn chests only ({figures}). It shows that the node works; it proves "
            "nothing about patients, and the node runs it only where allow_synthetic is set."
        )
    return f"This is {size}, trained on one site's data ({figures}). No other hospital has tested it."


def beside_thumbnail(tables: Mapping[str, Any], counts: Sequence[Mapping[str, Any]], synthetic: bool) -> dict[str, Any]:
    """Return the test part as the card tells of a cohort."""
    tested = [row for row in counts if row["part"] == "test"]
    return {
        "cohort": "drawn chests" if synthetic else "the site's patients",
        "kind": "PIMA and IPN, marked slices",
        "images": sum(row["images"] for row in tested),
        "abnormal": sum(row["images"] for row in tested if row["label"] == PIMA),
        "patients": tables["full"]["n"],
        "auc": tables["full"]["auc"],
        "thumbnail_auc": tables["thumbnail"]["auc"],
        "difference": tables["above_thumbnail"],
        "above_thumbnail": bool(tables["above_thumbnail"][1] > 0),
    }


def card_tables(tables: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of the card, the worst news first."""
    full = tables["full"]
    beside: list[Sequence[str]] = [
        *([("all test patients by the diameter alone", interval(tables["diameter_alone"]))] if "diameter_alone" in tables else []),
        *((f"site {row['site']}, by a network of the other sites", interval(row["auc"])) for row in found.get("sites", [])),
        ("all test patients, this network", interval(full["auc"])),
    ]
    shares = [
        (name, f"{full[name]['hits']}/{full[name]['n']}", interval(full[name]["wilson"]), interval(full[name]["clopper_pearson"]))
        for name in ("sensitivity", "specificity", "accuracy")
    ]
    groups = [
        (row["kind"], row["value"], f"{row['n']} ({row['positives']})", interval(row.get("auc")) if "auc" in row else "too few")
        for row in tables["subgroups"]
    ]
    return [
        {"title": "What it reaches on the test part (patients)", "text": "", "head": ["", "AUC"], "rows": beside},
        {
            "title": "At the published threshold 0.5",
            "text": "",
            "head": ["", "patients", "Wilson", "Clopper-Pearson"],
            "rows": shares,
        },
        {"title": "Subgroups", "text": "", "head": ["", "", "patients (PIMA)", "AUC"], "rows": groups},
    ]
