"""Every candidate and remedy on the test part, once: within each source, and on sources that were left out of training.

The networks are those of the comparison (its setting, its one seed), fitted anew on other rows of the train and selection parts:

==================  ==========================================================  ===============================================
fitted on           judged on                                                   which asks
==================  ==========================================================  ===============================================
adults              NIH: all, PA, AP, patients 1280 to 3970; children           within one hospital; without Kermany
all but NIH         NIH                                                         without NIH: all normals are then children
all but ieee8023    abnormal images of ieee8023_covid against NIH normals       adults without ieee8023
adults, children    NIH; children                                               what children add, and within Kermany
==================  ==========================================================  ===============================================

Beside each figure stands the thumbnail that was fitted on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.cxr.bench import KERMANY, Bench
from models.training.cxr.remedies import Remedies
from models.training.cxr.selection import RESAMPLES, UNSEEN
from models.training.cxr.stability import CHANGES, MOST, worst
from models.training.cxr.views import Indices
from models.training.data import Row, adult
from models.training.evaluate import NIH, in_shared_patients
from models.training.kept_fits import kept
from models.training.statistics import auc, auc_by_patient, difference_by_patient

Wanted = Callable[[Row], bool]

FITS: dict[str, Wanted] = {
    "adults": adult,
    "all but NIH": lambda row: row.source != NIH,
    "all but ieee8023": lambda row: adult(row) and row.source != UNSEEN,
    "adults and children": lambda row: True,
}
COHORTS: dict[str, tuple[str, Wanted]] = {
    "within NIH": ("adults", lambda row: adult(row) and row.source == NIH),
    "within NIH, PA": ("adults", lambda row: adult(row) and row.source == NIH and row.view == "PA"),
    "within NIH, AP": ("adults", lambda row: adult(row) and row.source == NIH and row.view != "PA"),
    "within NIH, patients 1280 to 3970": ("adults", lambda row: adult(row) and in_shared_patients(row)),
    "without NIH: NIH": ("all but NIH", lambda row: adult(row) and row.source == NIH),
    "without Kermany: Kermany": ("adults", lambda row: row.source == KERMANY),
    "without ieee8023: ieee8023 against NIH normals": (
        "all but ieee8023",
        lambda row: (row.source == UNSEEN and row.abnormal == 1) or (adult(row) and row.source == NIH and row.abnormal == 0),
    ),
    "with children: NIH": ("adults and children", lambda row: adult(row) and row.source == NIH),
    "within Kermany": ("adults and children", lambda row: row.source == KERMANY),
}


class Generalisation:
    """The rows that are learned from and judged, and the thumbnails' figures."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.test = bench.where(lambda row: row.part == "test")
        self.nih = bench.where(lambda row: row.part == "test" and adult(row) and row.source == NIH)
        learned = bench.where(lambda row: row.part in ("train", "selection"))
        self.adults = np.array([i for i in learned if adult(bench.rows[i])])
        self.young = np.array([i for i in learned if not adult(bench.rows[i])], np.intp)
        self.learn = {name: np.array([i for i in learned if wanted(bench.rows[i])]) for name, wanted in FITS.items()}
        self._thumbnails: dict[str, NDArray[np.float64]] = {}

    def thumbnail(self, fit: str) -> NDArray[np.float64]:
        """Return what the thumbnail baseline, fitted on the rows of a fit, says of the test rows."""
        if fit not in self._thumbnails:
            self._thumbnails[fit] = self.bench.thumbnail_logits(self.learn[fit], self.test)
        return self._thumbnails[fit]

    def row(self, name: str, classifier: Any, remedies: Remedies, fits: tuple[str, ...], seeds: tuple[int, ...]) -> dict[str, Any]:
        """Fit and judge one candidate; ``fits``: which of ``FITS``; the logits of several seeds are averaged."""
        logits: dict[str, NDArray[np.float64]] = {}
        changes: dict[str, NDArray[np.float64]] = {}
        for fit in fits:
            every = [self._fitted(classifier, remedies, fit, seed) for seed in seeds]
            logits[fit] = np.mean([said["plain"] for said in every], axis=0)
            if fit == "adults":
                changes = {change: np.mean([said[change] for said in every], axis=0) for change in CHANGES}
        return {"name": name, "seeds": list(seeds), **self._figures(logits, changes)}

    def _fitted(self, classifier: Any, remedies: Remedies, fit: str, seed: int) -> dict[str, NDArray[Any]]:
        facts = {**self.bench.facts, "name": classifier.name, "remedies": remedies.facts(), "draws": self.bench.draws, "seed": seed}
        name = f"test-{classifier.name}"
        return kept(self.bench.work, name, {**facts, "fit": fit}, lambda: self._said(classifier, remedies, fit, seed))

    def _said(self, classifier: Any, remedies: Remedies, fit: str, seed: int) -> dict[str, NDArray[Any]]:
        groups = [self.adults, self.young] if fit in ("all but NIH", "adults and children") else [self.adults]
        sample = self.bench.samples(classifier, remedies, *groups)
        fitted = self.bench.fitted(classifier, remedies, sample, self.learn[fit], seed)
        said = {"plain": fitted.logits(self.bench.described(classifier, remedies, self.test))}
        if fit == "adults":
            for change in CHANGES:
                said[change] = fitted.logits(self.bench.described(classifier, remedies, self.nih, change))
        return said

    def _figures(self, logits: dict[str, NDArray[np.float64]], changes: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
        found = {}
        for cohort, (fit, wanted) in COHORTS.items():
            mine = np.array([n for n, i in enumerate(self.test) if wanted(self.bench.rows[i])])
            labels = self.bench.labels(self.test[mine]) if len(mine) else np.zeros(0, int)
            if fit in logits and 0 < labels.sum() < len(labels):
                patients = self.bench.patients(self.test[mine])
                found[cohort] = compared(labels, logits[fit][mine], self.thumbnail(fit)[mine], patients)
        table: dict[str, Any] = {"cohorts": found}
        if changes:
            labels = self.bench.labels(self.nih)
            at = np.searchsorted(self.test, self.nih)
            after = {change: auc(labels, values) for change, values in changes.items()}
            table["worst_change"] = worst(after, auc(labels, logits["adults"][at]))
            table["stable"] = bool(table["worst_change"] <= MOST)
        return table


def compared(labels: Indices, scores: NDArray[np.float64], thumbnail: NDArray[np.float64], patients: Any) -> dict[str, Any]:
    """Return both AUCs and their paired difference with patient-bootstrap intervals, and n."""
    difference = difference_by_patient(auc, labels, scores, thumbnail, patients, RESAMPLES)
    return {
        "images": len(labels),
        "abnormal": int(labels.sum()),
        "patients": len(set(patients)),
        "auc": list(auc_by_patient(labels, scores, patients, RESAMPLES)),
        "thumbnail_auc": list(auc_by_patient(labels, thumbnail, patients, RESAMPLES)),
        "difference": list(difference),
        "clearly_above": bool(difference.low > 0),
    }
