"""The tables of a study that tells two kinds of patients apart: each figure with its interval, the patient as the unit.

One row of ``Patients`` is one patient. Label 1 is the kind that is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.statistics import (
    auc_by_patient,
    brier,
    calibration_error,
    compare_numbers,
    compare_shares,
    counts_at,
    delong_test,
    holm,
    log_loss,
    measures_by_patient,
    reliability,
    sensitivity_specificity,
    share,
)

Floats = NDArray[np.float64]
LEAST_FOR_AUC = 5  # patients of each label below which a subgroup gets counts only


@dataclass(frozen=True)
class Patients:
    """``labels``: (n,) of 0 and 1. ``numbers``, ``kinds``: characteristics by name, each (n,), nan or "" where unknown."""

    names: NDArray[np.str_]
    labels: NDArray[np.int64]
    numbers: Mapping[str, Floats]
    kinds: Mapping[str, NDArray[np.str_]]


def measures(labels: NDArray[Any], probabilities: Floats, threshold: float, resamples: int = 10_000) -> dict[str, Any]:
    """Return AUC, and at ``threshold`` accuracy, sensitivity, specificity (Wilson, Clopper-Pearson), F1 (bootstrap), counts."""
    who = np.arange(len(labels))
    at = sensitivity_specificity(labels, probabilities, threshold)
    right = at.counts.true_positive + at.counts.true_negative
    called = counts_at(labels, probabilities, threshold)
    # F1 is undefined, not zero, where nothing is called and nothing is there
    defined = called.true_positive + called.false_positive + called.false_negative > 0
    f1 = list(measures_by_patient(labels, probabilities >= threshold, who, ("f1",), resamples)["f1"]) if defined else None
    return {
        "n": len(labels),
        "positives": int(np.sum(labels)),
        "auc": list(auc_by_patient(labels, probabilities, who, resamples)),
        "threshold": threshold,
        "accuracy": share(right, len(labels)).told(),
        "sensitivity": at.sensitivity.told(),
        "specificity": at.specificity.told(),
        "f1": f1,
        "counts": dict(zip(("true_positive", "false_positive", "false_negative", "true_negative"), called, strict=True)),
    }


def ablation(
    labels: NDArray[Any], scores: Mapping[str, Floats], full: str, threshold: float, resamples: int = 10_000
) -> list[dict[str, Any]]:
    """Return ``measures`` of each variant on the same patients, each against ``full`` by DeLong, adjusted by Holm.

    A P value of a few dozen patients says little: with 38 and 51 patients the test has about 3 % power to tell 0.983 from 0.990.
    """
    others = [name for name in scores if name != full]
    who = np.arange(len(labels))
    tests = {name: delong_test(labels, scores[full], scores[name], who) for name in others}
    known = [name for name in others if np.isfinite(tests[name].p_value)]
    adjusted = dict(zip(known, holm([tests[name].p_value for name in known]), strict=True)) if known else {}
    rows = []
    for name, p in scores.items():
        row = {"variant": name, **measures(labels, p, threshold, resamples)}
        if name != full:
            row |= {
                "full_minus_this": list(tests[name].difference),
                "p_value": tests[name].p_value,
                "p_holm": float(adjusted[name]) if name in adjusted else None,
            }
        rows.append(row)
    return rows


def confusion(labels: NDArray[Any], probabilities: Floats, threshold: float) -> dict[str, int]:
    """Return the four counts at ``threshold``, of patients or of slices."""
    counts = counts_at(labels, probabilities, threshold)
    return dict(zip(("true_positive", "false_positive", "false_negative", "true_negative"), counts, strict=True))


def subgroups(patients: Patients, probabilities: Floats, threshold: float, resamples: int = 10_000) -> list[dict[str, Any]]:
    """Return, for every value of every kind, the counts, and the measures where each label has enough patients."""
    rows = []
    for kind, values in patients.kinds.items():
        for value in sorted(set(values.tolist()) - {""}):
            mine = values == value
            y, p = patients.labels[mine], probabilities[mine]
            row: dict[str, Any] = {"kind": kind, "value": value, "n": len(y), "positives": int(y.sum())}
            if min(row["positives"], row["n"] - row["positives"]) >= LEAST_FOR_AUC:
                row |= measures(y, p, threshold, resamples)
            else:
                row |= confusion(y, p, threshold)
            rows.append(row)
    return rows


def cohort_table(patients: Patients) -> list[dict[str, Any]]:
    """Return each characteristic by label, with the test that compares them: Mann-Whitney, chi-square or Fisher."""
    positive = patients.labels == 1
    rows: list[dict[str, Any]] = []
    for name, values in patients.numbers.items():
        known = ~np.isnan(values)
        first, second = values[known & positive], values[known & ~positive]
        if len(first) and len(second):
            tested = compare_numbers(first, second)
            quartiles = [[float(q) for q in np.quantile(group, (0.5, 0.25, 0.75))] for group in (first, second)]
            rows.append({"name": name, "groups": quartiles, "known": int(known.sum()), **tested._asdict()})
    for name, kinds in patients.kinds.items():
        listed = sorted(set(kinds.tolist()) - {""})
        counts = [[int(((kinds == value) & group).sum()) for value in listed] for group in (positive, ~positive)]
        row = {"name": name, "values": listed, "groups": counts, "known": int((kinds != "").sum())}
        rows.append({**row, **(compare_shares(counts)._asdict() if len(listed) > 1 else {"test": "-", "p_value": None})})
    return rows


def calibration(labels: NDArray[Any], probabilities: Floats, bins: int = 5) -> dict[str, Any]:
    """Return Brier score, log-loss, calibration error, and the reliability diagram in quantile bins with Wilson's intervals."""
    return {
        "n": len(labels),
        "brier": brier(labels, probabilities),
        "log_loss": log_loss(labels, probabilities),
        "ece": calibration_error(labels, probabilities),
        "reliability": reliability(labels, probabilities, bins),
    }


def by_site(patients: Patients, probabilities: Mapping[str, Floats], threshold: float) -> list[dict[str, Any]]:
    """Return the measures on each site by the network that was trained on the other sites (``probabilities`` by site)."""
    rows = []
    for site, p in probabilities.items():
        mine = patients.kinds["site"] == site
        rows.append({"site": site, **measures(patients.labels[mine], p, threshold)})
    return rows


def median_and_quartiles(values: Sequence[float]) -> str:
    """Return ``median (lower to upper quartile)`` as text."""
    return f"{values[0]:.1f} ({values[1]:.1f} to {values[2]:.1f})"
