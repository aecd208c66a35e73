"""Operating points of a bundle that decides on ``abnormal``: what ``operating_points.yaml`` holds and how it is fitted.

The scores are those of the calibration part, adults, PA, one image a patient and label. Sources are not pooled: the threshold of a
guarantee is the lowest of the sources' own thresholds (delta shared among them), so that it holds in each of them and in any mixture.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.data import Row
from models.training.evaluate import predictive_values
from models.training.policy import Infeasible, n_needed, threshold, threshold_expected, threshold_high, threshold_naive

Floats = NDArray[np.float64]
DELTA = 0.05


def one_per_patient(rows: Sequence[Row]) -> list[int]:
    """Return indices with one image a patient and label, the first by image id: repeated films are not new patients."""
    first: dict[tuple[str, int], int] = {}
    for index in sorted(range(len(rows)), key=lambda n: rows[n].image_id):
        first.setdefault((rows[index].patient, rows[index].abnormal), index)
    return sorted(first.values())


def fit_points(rows: Sequence[Row], probabilities: Floats, views: Sequence[str], date: str) -> dict[str, Any]:
    """Return the content of ``operating_points.yaml``. ``rows``: calibration part, already one image a patient and label."""
    chosen = [n for n, row in enumerate(rows) if row.view in views]
    rows, p = [rows[n] for n in chosen], np.asarray(probabilities, np.float64)[chosen]
    positive = np.array([row.abnormal == 1 for row in rows])
    source = np.array([row.source for row in rows])
    shared = {
        "finding": "abnormal",
        "views": list(views),
        "population": f"adults, {' or '.join(views)} view, research sources {', '.join(sorted(set(source)))}",
        "cohort_sha256": hashlib.sha256("\n".join(sorted(f"{r.image_id} {r.abnormal}" for r in rows)).encode()).hexdigest(),
        "date": date,
        "valid": "this bundle only; void after drift, a new device model or any change of preprocessing; the sources are no hospital's mix",
    }
    by_source = {name: p[positive & (source == name)] for name in sorted(set(source[positive]))}
    lowest = _floor(float(p[positive].min()))
    policies = {
        "screening": _sensitive(by_source, p[positive], p[~positive], 0.90, lowest),
        "triage": _specific(p[positive], p[~positive], source[~positive], 0.80, lowest),
        "rule_out": _sensitive(by_source, p[positive], p[~positive], 0.97, lowest),
    }
    return {"policies": {name: {**point, **shared} for name, point in policies.items()}}


def _sensitive(by_source: dict[str, Floats], positives: Floats, negatives: Floats, alpha: float, lowest: float) -> dict[str, Any]:
    least = n_needed(alpha, DELTA)
    covered = {name: scores for name, scores in by_source.items() if len(scores) >= least}
    share = DELTA / max(1, len(covered))  # Bonferroni over the sources
    covered = {name: scores for name, scores in covered.items() if len(scores) >= n_needed(alpha, share)}
    point: dict[str, Any] = {
        "kind": "sensitivity",
        "alpha": alpha,
        "delta": DELTA,
        "n": int(sum(len(scores) for scores in covered.values())),
        "n_by_source": {name: len(scores) for name, scores in by_source.items()},
        "how": "the lowest of the sources' order-statistic thresholds, delta shared among them",
    }
    if not covered:
        reason = f"no source has the {least} abnormal patients that sensitivity {alpha:.2f} needs"
        return {**point, **_nothing(), "feasible": False, "reason": reason, "n_needed": least, "guarantee": f"no valid guarantee: {reason}"}
    tau = _floor(min(threshold(scores, alpha, share) for scores in covered.values()))
    high = threshold_high(positives, negatives, tau, 0.80)
    sensitivity, specificity = float((positives >= tau).mean()), float((negatives < tau).mean())
    names = " and ".join(f"{name} (n={len(scores)})" for name, scores in covered.items())
    uncovered = [name for name in by_source if name not in covered]
    return {
        **point,
        "feasible": True,
        "tau_low": min(lowest, tau),
        "tau": tau,
        "tau_high": None if high is None else _floor(high),
        "tau_low_meaning": "the lowest score of any abnormal patient of the sample; no guarantee of its own",
        "tau_high_meaning": "precision >= 0.80 (Clopper-Pearson lower bound) at the sample's share of abnormal images",
        "guarantee": f"sensitivity >= {alpha:.2f} with {1 - DELTA:.0%} confidence on abnormal adult PA images of {names}, n={point['n']}".replace("95%", "95 %")
        + (f"; not covered: {', '.join(uncovered)}" if uncovered else ""),
        "in_sample": {"sensitivity": sensitivity, "specificity": specificity, "n_negative": len(negatives)},
        "at_prevalence": predictive_values(sensitivity, specificity),
        "for_comparison": {"naive": threshold_naive(positives, alpha), "expected": _finite(threshold_expected(positives, alpha))},
    }


def _specific(positives: Floats, negatives: Floats, sources: NDArray[np.str_], alpha: float, lowest: float) -> dict[str, Any]:
    names = {str(name): int((sources == name).sum()) for name in sorted(set(sources))}
    point: dict[str, Any] = {
        "kind": "specificity",
        "alpha": alpha,
        "delta": DELTA,
        "n": len(negatives),
        "n_by_source": names,
        "how": "order statistic of the normal patients' scores: at most one in five of them is called first; no promise on sensitivity",
    }
    try:
        # specificity is the sensitivity of the negated score; a normal case exactly at the bound must stay below tau
        tau = _ceil(float(np.nextafter(-threshold(-negatives, alpha, DELTA), math.inf)))
    except Infeasible as missing:
        reason = f"{len(negatives)} normal patients, {missing.n_needed} are needed for specificity {alpha:.2f}"
        return {**point, **_nothing(), "feasible": False, "reason": reason, "n_needed": missing.n_needed, "guarantee": f"no valid guarantee: {reason}"}
    sensitivity, specificity = float((positives >= tau).mean()), float((negatives < tau).mean())
    listed = ", ".join(f"{name} {n}" for name, n in names.items())
    return {
        **point,
        "feasible": True,
        "tau_low": min(lowest, tau),
        "tau": tau,
        "tau_high": tau,
        "tau_low_meaning": "the lowest score of any abnormal patient of the sample; no guarantee of its own",
        "tau_high_meaning": "the same as tau: whatever is called first is called suspected",
        "guarantee": f"specificity >= {alpha:.2f} with 95 % confidence on normal adult PA images ({listed}), n={len(negatives)}; no guarantee on sensitivity",
        "in_sample": {"sensitivity": sensitivity, "specificity": specificity, "n_positive": len(positives)},
        "at_prevalence": predictive_values(sensitivity, specificity),
    }


def _nothing() -> dict[str, None]:
    return {"tau_low": None, "tau": None, "tau_high": None}


def _floor(value: float) -> float:
    return math.floor(value * 1e6) / 1e6  # files keep six decimals: rounding must not lift a threshold over a patient


def _ceil(value: float) -> float:
    return math.ceil(value * 1e6) / 1e6


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
