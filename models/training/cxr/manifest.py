"""The texts of the chest radiograph bundle's manifest, filled with its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicom_node.core import codes
from models.training.cxr.radiograph_input import radiograph_input
from models.training.cxr.remedies import Remedies
from models.training.evaluate import CHILDREN

VERSION = "0.2.0"


def manifest(
    config: Mapping[str, Any], metrics: Mapping[str, Any], architecture: Mapping[str, Any], remedies: Remedies, lungs: str
) -> dict[str, Any]:
    """Return ``bundle.yaml`` without its file list. ``lungs``: version of the lung bundle that cropped the training images."""
    return {
        "name": "cxr_tb",
        "version": VERSION,
        "task": "Abnormal or not, on one frontal chest radiograph of an adult.",
        "intended_use": "Trying out the way from PACS to PACS with adults' PA chest radiographs. Research use only.",
        "worth": worth(metrics),
        "evidence": "demo",
        "synthetic": False,
        "twin": False,
        "needs": ["lungs_cxr@>=" + ".".join(lungs.split(".")[:2])],
        "inputs": radiograph_input(config),
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
        "limits": limits(metrics, remedies),
        "assumed": [
            "network width",
            "number of blocks left as ImageNet made them",
            "augmentation strengths" + (" and share of pasted opacities" if remedies.pasted else ""),
            *(["shares of sources in a batch"] if remedies.balanced else []),
            "crop margin" + (" and margin round the lungs" if remedies.masked else ""),
            "CLAHE clip limit",
            "temperature fitted with labels weighted alike",
            "thresholds fitted on all sources together",
            "target of the triage policy (specificity 0.70)",
        ],
    }


def limits(metrics: Mapping[str, Any], remedies: Remedies) -> list[str]:
    """Return what fails and what is not known, in words; what figures can say the card adds."""
    pasted = metrics["pasted"]
    blind = pasted["n"] and pasted["wilson"][1] <= 0.5
    return [
        *([NO_REACTION.format(**pasted)] if blind else []),
        "Tuberculosis comes from one source without normals: no figure here is evidence that tuberculosis is detected.",
        "Which of tuberculosis, pneumonia, normal: no valid guarantee can be given, so the policies decide on abnormal alone.",
        "Nearly all normal adults come from one hospital: those of other sources are recognised in part by style.",
        "The few normal images of the collection of infected lungs score as high as its abnormal ones, for their style.",
        "The labels of the hospital with both are mined from report texts and noisy.",
        "AP and bedside images trained along, but no threshold was fitted on them.",
        "Children are outside the intended use. Their figure shows that the score does not transfer to them.",
        "Films with letters, arrows, cables or cut fields were hardly seen; the crop depends on the lungs found.",
        *([PASTED] if remedies.pasted else []),
        *([OUTSIDE] if remedies.masked else []),
        LOOKED_TWICE,
    ]


NO_REACTION = (
    "A soft opacity that is laid into a normal lung raises its score in only {higher} of {n} test radiographs, no more than "
    "chance: it judges what whole lungs look like, and single densities hardly count."
)
LOOKED_TWICE = (
    "The test part was looked at twice before this network was made, so its figures may flatter: a training at 224 x 224 pixels "
    "gave way to the setting that the rule of selection had judged, after that setting had scored higher on test; and one "
    "without pasted opacities gave way because it did not react to them (27 of 51 test radiographs)."
)
OUTSIDE = (
    "It sees the lungs that were found and a narrow margin, the rest is grey to it: a dense opacity that the lung network takes "
    "for no lung is hidden from it in part."
)
PASTED = "Opacities were also pasted by computer into normal lungs: it knows soft densities best, fine changes least."


def worth(metrics: Mapping[str, Any]) -> str:
    """Return how little the figures prove, in figures: where 16 x 16 pixels are clearly beaten, and where they are not."""
    fair = [row for row in metrics["discrimination"] if row["kind"].startswith("normal and abnormal of one source")]
    told = []
    for above, words in ((False, "NOT clearly better than"), (True, "clearly better than")):
        listed = [
            f"{row['cohort']} (AUC {row['auc'][0]:.2f} against {row['thumbnail_auc'][0]:.2f})"
            for row in fair
            if row["above_thumbnail"] is above
        ]
        if listed:
            told.append(f"it is {words} a logistic regression on 16 x 16 pixels for {'; '.join(listed)}")
    told += [
        f"on children, for whom it is not made, its AUC is {row['auc'][0]:.2f}"
        for row in metrics["discrimination"]
        if row["kind"] == CHILDREN
    ]
    text = ". ".join(part[0].upper() + part[1:] for part in told) or "No source of the test part holds both labels"
    return (
        "This model shows that the node works; it proves nothing about patients. It was trained for minutes on a few hundred "
        f"public images in which label and hospital are hard to tell apart. {text}. No hospital has tested it."
    )


def outputs(judged: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the classes in the order of the graph's columns. ``judged``: ``evaluate.assessable`` of each class."""
    listed: list[dict[str, Any]] = [
        {
            "key": "abnormal",
            "code": list(codes.ABNORMAL),
            "activation": "sigmoid",
            "assessed": True,
            "note": "Any abnormality of the kinds trained on; says nothing of which.",
        }
    ]
    for key, code in (("tuberculosis", codes.TUBERCULOSIS), ("pneumonia", codes.PNEUMONIA)):
        serving = [name for name, entry in judged[key]["sources"].items() if entry["serves"]]
        assessed = bool(judged[key]["assessed"])
        listed.append(
            {
                "key": key,
                "code": list(code),
                "activation": "softmax",
                "assessed": assessed,
                "note": ""
                if assessed
                else f"Not assessed: {len(serving)} of two needed sources hold enough adults with and without {key}, "
                "so a score could as well tell hospitals apart.",
            }
        )
    listed.append(
        {
            "key": "normal",
            "code": list(codes.NORMAL),
            "activation": "softmax",
            "assessed": False,
            "note": "Internal: the rest of the classes.",
        }
    )
    return listed
