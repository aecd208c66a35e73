"""Operating points of a bundle that decides on ``abnormal``: what ``operating_points.yaml`` holds and how it is fitted.

The scores are those of the calibration part, adults, PA, one image a patient and label. Abnormal patients of all sources fit a
threshold together, so its guarantee is about that mix, which the sentence names; what each source shows by itself stands beside it.
Normals and the upper threshold come from sources with both labels only: elsewhere a high score may just name the source.
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
from models.training.policy import Infeasible, lowered, raised, threshold, threshold_expected, threshold_high, threshold_naive
from models.training.statistics import clopper_pearson

Floats = NDArray[np.float64]
DELTA = 0.05
LEAST_OF_BOTH = 10  # patients of each label that make a source fair


def one_per_patient(rows: Sequence[Row]) -> list[int]:
    """Return indices with one image a patient and label, the first by image id: repeated films are not new patients."""
    first: dict[tuple[str, int], int] = {}
    for index in sorted(range(len(rows)), key=lambda n: rows[n].image_id):
        first.setdefault((rows[index].patient, rows[index].abnormal), index)
    return sorted(first.values())


def fit_points(rows: Sequence[Row], probabilities: Floats, views: Sequence[str], date: str) -> dict[str, Any]:
    """Return the content of ``operating_points.yaml``. ``rows``: calibration part, already one image a patient and label."""
    chosen = [n for n, row in enumerate(rows) if row.view in views]
    sample = Sample([rows[n] for n in chosen], np.asarray(probabilities, np.float64)[chosen])
    sources = ", ".join(sorted({row.source for row in sample.rows}))
    shared = {
        "finding": "abnormal",
        "views": list(views),
        "population": f"adults, {' or '.join(views)} view, research sources {sources}",
        "cohort_sha256": hashlib.sha256("\n".join(sorted(f"{r.image_id} {r.abnormal}" for r in sample.rows)).encode()).hexdigest(),
        "date": date,
        "valid": "this bundle only; void after drift, a new device or other preprocessing; the mix of sources is no hospital's",
    }
    low, promised = _lower(sample)
    policies = {
        "screening": _sensitive(sample, 0.90, low, promised),
        "triage": _specific(sample, 0.70, low, promised),
        "rule_out": _sensitive(sample, 0.97, low, promised),
    }
    return {"policies": {name: {**point, **shared} for name, point in policies.items()}}


class Sample:
    """The calibration sample: its scores, all together and by source."""

    def __init__(self, rows: Sequence[Row], scores: Floats) -> None:
        self.rows = list(rows)
        self.scores = scores
        self.abnormal = np.array([row.abnormal == 1 for row in rows])
        self.source = np.array([row.source for row in rows])
        self.positives, self.negatives = scores[self.abnormal], scores[~self.abnormal]
        both = [s for s in set(self.source) if min(self._count(s, True), self._count(s, False)) >= LEAST_OF_BOTH]
        #: rows of sources that hold both labels: only there does a high score not merely name the source
        self.fair = np.isin(self.source, both)

    def _count(self, source: str, abnormal: bool) -> int:
        return int(((self.source == source) & (self.abnormal == abnormal)).sum())

    def by_source(self, abnormal: bool) -> dict[str, int]:
        """Return patients of that label by source."""
        return {str(s): self._count(s, abnormal) for s in sorted(set(self.source)) if self._count(s, abnormal)}


def _lower(sample: Sample) -> tuple[float, str]:
    """Return the lower bound of the gray zone and what it promises."""
    try:
        tau = lowered(threshold(sample.positives, 0.97, DELTA))
        return tau, f"sensitivity >= 0.97 with 95 % confidence, n={len(sample.positives)}"
    except Infeasible:
        lowest = lowered(float(sample.positives.min()))
        return lowest, "the lowest score of any abnormal patient of the sample; no guarantee of its own"


def _sensitive(sample: Sample, alpha: float, low: float, promised: str) -> dict[str, Any]:
    by_source = sample.by_source(True)
    point: dict[str, Any] = {
        "kind": "sensitivity",
        "alpha": alpha,
        "delta": DELTA,
        "n": len(sample.positives),
        "n_by_source": by_source,
        "how": "order statistic of the abnormal patients' scores, all sources together; each source is then checked by itself",
    }
    try:
        tau = lowered(threshold(sample.positives, alpha, DELTA))
    except Infeasible as missing:
        return _infeasible(
            point, f"{len(sample.positives)} abnormal patients, {missing.n_needed} are needed for sensitivity {alpha:.2f}", missing
        )
    high = threshold_high(sample.scores[sample.abnormal & sample.fair], sample.scores[~sample.abnormal & sample.fair], tau, 0.80)
    listed = ", ".join(f"{name} {n}" for name, n in by_source.items())
    return {
        **point,
        **_measured(sample, tau),
        "feasible": True,
        "tau_low": min(low, tau),
        "tau": tau,
        "tau_high": None if high is None else lowered(high),
        "tau_low_meaning": promised,
        "tau_high_meaning": "precision >= 0.80 (Clopper-Pearson lower bound) in sources with both labels, at their prevalence",
        "guarantee": f"sensitivity >= {alpha:.2f} with 95 % confidence on abnormal adult PA images of this mix of sources "
        f"({listed}), n={point['n']}",
        "for_comparison": {
            "naive": threshold_naive(sample.positives, alpha),
            "expected": _finite(threshold_expected(sample.positives, alpha)),
        },
    }


def _specific(sample: Sample, alpha: float, low: float, promised: str) -> dict[str, Any]:
    negatives = sample.scores[~sample.abnormal & sample.fair]
    names = {name: n for name, n in sample.by_source(False).items() if name in set(sample.source[sample.fair])}
    point: dict[str, Any] = {
        "kind": "specificity",
        "alpha": alpha,
        "delta": DELTA,
        "n": len(negatives),
        "n_by_source": names,
        "how": f"order statistic of the normal patients' scores: at most {1 - alpha:.0%} are called first; none on sensitivity",
    }
    try:
        # specificity is the sensitivity of the negated score; a normal case exactly at the bound must stay below tau
        tau = raised(float(np.nextafter(-threshold(-negatives, alpha, DELTA), math.inf)))
    except Infeasible as missing:
        return _infeasible(
            point, f"{len(negatives)} normal patients, {missing.n_needed} are needed for specificity {alpha:.2f}", missing
        )
    listed = ", ".join(f"{name} {n}" for name, n in names.items())
    return {
        **point,
        **_measured(sample, tau),
        "feasible": True,
        "tau_low": min(low, tau),
        "tau": tau,
        "tau_high": tau,
        "tau_low_meaning": promised,
        "tau_high_meaning": "the same as tau: whatever is called first is called suspected",
        "guarantee": f"specificity >= {alpha:.2f} with 95 % confidence on normal adult PA images ({listed}), n={len(negatives)}; "
        "no guarantee on sensitivity",
    }


def _measured(sample: Sample, tau: float) -> dict[str, Any]:
    """Return what the calibration sample itself shows at ``tau``; a source whose interval lies wholly below 0.90 is named."""
    sensitivity, specificity = float((sample.positives >= tau).mean()), float((sample.negatives < tau).mean())
    checks = {}
    for name, n in sample.by_source(True).items():
        hits = int((sample.scores[sample.abnormal & (sample.source == name)] >= tau).sum())
        checks[name] = {"hits": hits, "n": n, "clopper_pearson": list(clopper_pearson(hits, n))}
    return {
        "in_sample": {"sensitivity": sensitivity, "specificity": specificity, "sensitivity_by_source": checks},
        "at_prevalence": predictive_values(sensitivity, specificity),
    }


def _infeasible(point: dict[str, Any], reason: str, missing: Infeasible) -> dict[str, Any]:
    text = f"no valid guarantee: {reason}"
    return {**point, **_nothing(), "feasible": False, "reason": reason, "n_needed": missing.n_needed, "guarantee": text}


def _nothing() -> dict[str, None]:
    return {"tau_low": None, "tau": None, "tau_high": None}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
