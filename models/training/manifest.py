"""The texts of the chest radiograph bundle's manifest, filled with its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.training.evaluate import CHILDREN


def manifest(config: Mapping[str, Any], metrics: Mapping[str, Any], architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``bundle.yaml`` without its file list."""
    size = int(config["size"])
    low, high = -config["mean"] / config["std"], (1 - config["mean"]) / config["std"]
    return {
        "name": "cxr_tb",
        "version": "0.1.1",
        "task": "Abnormal or not, on one frontal chest radiograph of an adult.",
        "intended_use": "Trying out the way from PACS to PACS with adults' PA chest radiographs. Research use only.",
        "worth": worth(metrics),
        "evidence": "demo",
        "synthetic": False,
        "twin": False,
        "needs": ["lungs_cxr@>=0.1"],
        "inputs": {
            "image": {
                "modality": ["CR", "DX"],
                "shape": ["n", 1, size, size],
                "dtype": "float32",
                "unit": "grey value after preprocessing, brighter = more attenuation",
                "value_range": [low, high],
            }
        },
        "preprocessing": dict(config),
        "outputs": outputs(metrics["assessable"]),
        "graph_outputs": {
            "logits": ["n", 4],
            "probabilities": ["n", 4],
            "embedding": ["n", "k"],
            "cam": ["n", 4, "h", "w"],
            "campp": ["n", 4, "h", "w"],
        },
        "saliency": "cam",
        "saliency_outputs": {"Grad-CAM": "cam", "Grad-CAM++": "campp", "of": "logit", "values": "raw, not negative"},
        "parity_tolerance": 1e-4,
        "architecture": dict(architecture),
        "out_of_distribution": {"reference": "reference.npz", "limit": "distance_limit"},
        "limits": [
            "Tuberculosis comes from one source without normals: no figure here is evidence that tuberculosis is detected.",
            "Nearly all normal adults come from one hospital: those of other sources are recognised in part by style.",
            "The few normal images of the collection of infected lungs score as high as its abnormal ones, for their style.",
            "The labels of the hospital with both are mined from report texts and noisy.",
            "AP and bedside images trained along, but no threshold was fitted on them.",
            "Children are outside the intended use. Their figure shows that the score does not transfer to them.",
            "Films with letters, arrows, cables or cut fields were hardly seen; the crop depends on the lungs found.",
            "Opacities were also pasted by computer into normal lungs: it knows soft densities best, fine changes least.",
        ],
        "assumed": [
            "network width",
            "augmentation strengths and share of pasted opacities",
            "shares of sources in a batch",
            "crop margin",
            "CLAHE clip limit",
            "temperature fitted with labels weighted alike",
            "thresholds fitted on all sources together",
            "target of the triage policy (specificity 0.70)",
        ],
    }


def worth(metrics: Mapping[str, Any]) -> str:
    """Return the card's first paragraph: how little the figures prove, in figures."""
    told = []
    for row in sorted(metrics["discrimination"], key=lambda r: r["kind"] == CHILDREN):
        if row["kind"] == "normal and abnormal of one source":
            told.append(
                f"within {row['cohort']} it tells abnormal from normal with an AUC of {row['auc'][0]:.2f} ({row['auc'][1]:.2f} to "
                f"{row['auc'][2]:.2f}), a logistic regression on 16 x 16 pixels with {row['thumbnail_auc'][0]:.2f}"
            )
        elif row["kind"] == CHILDREN:
            told.append(f"on children, for whom it is not made, its AUC is {row['auc'][0]:.2f}")
    text = "; ".join(told) or "no source of the test part holds both labels"
    return (
        "This model shows that the node works; it proves nothing about patients. It was trained for minutes on a few hundred "
        f"public images in which label and hospital are hard to tell apart: {text}. No hospital has tested it."
    )


def outputs(judged: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the classes in the order of the graph's columns. ``judged``: ``evaluate.assessable`` of each class."""
    listed: list[dict[str, Any]] = [
        {
            "key": "abnormal",
            "code": ["263654008", "SCT", "Abnormal"],
            "activation": "sigmoid",
            "assessed": True,
            "note": "Any abnormality of the kinds trained on; says nothing of which.",
        }
    ]
    for key, code, meaning in (("tuberculosis", "56717001", "Tuberculosis"), ("pneumonia", "233604007", "Pneumonia")):
        serving = [name for name, entry in judged[key]["sources"].items() if entry["serves"]]
        assessed = bool(judged[key]["assessed"])
        listed.append(
            {
                "key": key,
                "code": [code, "SCT", meaning],
                "activation": "softmax",
                "assessed": assessed,
                "note": ""
                if assessed
                else f"Not assessed: {len(serving)} of two needed sources hold enough adults with and without {meaning.lower()}, "
                "so a score could as well tell hospitals apart.",
            }
        )
    listed.append(
        {
            "key": "normal",
            "code": ["17621005", "SCT", "Normal"],
            "activation": "softmax",
            "assessed": False,
            "note": "Internal: the rest of the classes.",
        }
    )
    return listed
