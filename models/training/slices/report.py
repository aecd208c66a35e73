"""One page of a study of CT slices: every table in the form of Xie et al. 2026, each figure with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.markdown import interval, table
from models.training.slices.cohort import PARTS, Cohort
from models.training.slices.patient_report import (
    ablation_text,
    calibration_text,
    cohort_text,
    confusion_text,
    shares_text,
    subgroups_text,
)
from models.training.slices.patient_tables import ablation, by_site, calibration, cohort_table, confusion, measures, subgroups
from models.training.slices.study import FULL, Trained
from models.training.statistics import auc_by_patient, delong_test

PIMA, IPN = "PIMA", "IPN"
THRESHOLD = 0.5  # the paper's


def counts(cohort: Cohort, source: str) -> list[dict[str, Any]]:
    """Return patients and slices by part and label."""
    rows = []
    for part in PARTS:
        names = cohort.named(part)
        labels = cohort.labels_of(names)
        for label, name in ((1, PIMA), (0, IPN)):
            mine = [patient for patient, found in zip(names, labels, strict=True) if found == label]
            slices = int(np.isin(cohort.patients, mine).sum())
            rows.append({"part": part, "source": source, "label": name, "images": slices, "patients": len(mine)})
    return rows


def figures(
    cohort: Cohort,
    trained: Mapping[str, Trained],
    full: str,
    thumbs: NDArray[np.float64],
    temperature: float,
    resamples: int = 10_000,
) -> dict[str, Any]:
    """Return every figure of the test part. ``full``: whose tables follow the first one. ``thumbs``: (patients,)."""
    test = cohort.named("test")
    labels, about = cohort.labels_of(test), _of(cohort, test)
    scores = {name: one.of_patients(test) for name, one in trained.items()}
    best = trained[full]
    slices = cohort.slices(test, lungs_alone=True)
    found: dict[str, Any] = {
        "ablation": ablation(labels, scores, full, THRESHOLD, resamples),
        "full": measures(labels, scores[full], THRESHOLD, resamples),
        "thumbnail": measures(labels, thumbs, THRESHOLD, resamples),
        "above_thumbnail": list(delong_test(labels, scores[full], thumbs, np.array(test)).difference),
        "confusion": {
            "patient": confusion(labels, scores[full], THRESHOLD),
            "slice": confusion(slices.labels, best.of_slices(test), THRESHOLD),
        },
        "subgroups": subgroups(about, scores[full], THRESHOLD, resamples),
        "calibration": {
            "before": calibration(labels, scores[full]),
            "after": calibration(labels, best.of_patients(test, temperature)),
        },
        "temperature": temperature,
    }
    if "diameter_mm" in about.numbers and not np.isnan(about.numbers["diameter_mm"]).any():
        found["diameter_alone"] = list(auc_by_patient(labels, about.numbers["diameter_mm"], np.array(test), resamples))
    return found


def _of(cohort: Cohort, names: Sequence[str]) -> Any:
    """Return the characteristics of these patients, in their order."""
    at = {name: n for n, name in enumerate(cohort.about.names.tolist())}
    rows = np.array([at[name] for name in names])
    return type(cohort.about)(
        cohort.about.names[rows],
        cohort.about.labels[rows],
        {name: values[rows] for name, values in cohort.about.numbers.items()},
        {name: values[rows] for name, values in cohort.about.kinds.items()},
    )


def cohort_figures(cohort: Cohort) -> dict[str, Any]:
    """Return the characteristics of both groups, and who was left out."""
    return {"cohort": cohort_table(cohort.about), "left_out": list(cohort.left_out)}


def generalisation_figures(cohort: Cohort, crossed: Mapping[str, Any], sites: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Return what comes of patients and of sites that were not learnt from."""
    names = list(crossed["scores"])
    p = np.array([crossed["scores"][name] for name in names])
    found: dict[str, Any] = {"all_folds": measures(cohort.labels_of(names), p, THRESHOLD)}
    found["folds"] = [
        {
            "fold": one["fold"],
            "n": len(one["patients"]),
            "positives": int(cohort.labels_of(one["patients"]).sum()),
            "auc": list(auc_by_patient(cohort.labels_of(one["patients"]), one["probabilities"], np.array(one["patients"]))),
        }
        for one in crossed["folds"]
    ]
    if sites:
        found["sites"] = by_site(cohort.about, sites, THRESHOLD)
    return found


def ablation_section(found: Mapping[str, Any], words: str) -> str:
    """Return the eight rows, and beside them what 16 x 16 pixels and the diameter reach."""
    beside = [("16 x 16 thumbnail", interval(found["thumbnail"]["auc"]))]
    if "diameter_alone" in found:
        beside.append(("diameter alone", interval(found["diameter_alone"])))
    without = "The same patients without a network:"
    return "\n\n".join(["## Eight variants", words, ablation_text(found["ablation"], FULL), without, table(("", "AUC"), beside)])


def within_section(rows: Sequence[Mapping[str, Any]], words: str) -> str:
    """Return the rows of ``study.WITHIN`` beside the full variant."""
    return "\n\n".join(["## Within the attention", words, ablation_text(rows, FULL)])


def network_section(found: Mapping[str, Any], title: str, words: str) -> str:
    """Return the tables of one network on the test part."""
    beside = (
        f"A regression on 16 x 16 pixels of the same slices: AUC {interval(found['thumbnail']['auc'])}, "
        f"the network {interval(found['above_thumbnail'])} above it (DeLong)."
    )
    return "\n\n".join(
        [
            f"## {title}",
            words,
            f"AUC {interval(found['full']['auc'])} (patient bootstrap, 95 %). {beside}",
            shares_text(found["full"]),
            "### Confusion at 0.5",
            confusion_text(found["confusion"], PIMA, IPN),
            "### Subgroups",
            subgroups_text(found["subgroups"]),
            "### Calibration",
            "As the network gives it: " + calibration_text(found["calibration"]["before"]),
            f"At temperature {found['temperature']:.3f}: " + calibration_text(found["calibration"]["after"]),
        ]
    )


def cohort_section(found: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]) -> str:
    """Return who took part."""
    body = [(row["part"], row["label"], row["patients"], row["images"]) for row in listed]
    told = ["## Patients", table(("part", "kind", "patients", "slices"), body), cohort_text(found["cohort"], PIMA, IPN)]
    if found["left_out"]:
        told.append(f"Left out ({len(found['left_out'])}): " + "; ".join(found["left_out"][:20]))
    return "\n\n".join(told)


def generalisation_section(found: Mapping[str, Any], words: str) -> str:
    """Return folds and sites."""
    body = [(one["fold"], one["n"], one["positives"], interval(one["auc"])) for one in found["folds"]]
    body.append(("all", found["all_folds"]["n"], found["all_folds"]["positives"], interval(found["all_folds"]["auc"])))
    head = ("fold", "patients", PIMA, "AUC")
    told = ["## Patients and sites that the network never saw", words, "Cross-validation by patient:", table(head, body)]
    if "sites" in found:
        body = [
            (row["site"], row["n"], row["positives"], interval(row["auc"]),
             *(interval(row[name]["wilson"]) for name in ("accuracy", "sensitivity", "specificity")))
            for row in found["sites"]
        ]  # fmt: skip
        told += ["Each site by the network of the others:",
                 table(("site", "patients", PIMA, "AUC", "accuracy", "sensitivity", "specificity"), body)]  # fmt: skip
    else:
        told.append("One site only, or none named: no site was held out.")
    return "\n\n".join(told)


def summary(found: Mapping[str, Any]) -> str:
    """Return the network on the test part in one line."""
    reached = interval(found["full"]["auc"])
    return f"{FULL}: AUC {reached} in {found['full']['n']} patients, thumbnail {interval(found['thumbnail']['auc'])}"
