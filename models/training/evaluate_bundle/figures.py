"""The figures of an evaluation: every source by itself, adults and children apart, the patient as the unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.training.data import Row, adult
from models.training.evaluate import Floats, at_threshold
from models.training.evaluate_bundle.reading import Read
from models.training.statistics import (
    auc,
    auc_by_patient,
    calibration_error,
    difference_by_patient,
    mean_by_patient,
    reliability,
)

NO_EVIDENCE = "label and source are the same here: no evidence"
LEAST = 10  # images of each label that give a source a figure, as in the card
TOO_FEW = f"fewer than {LEAST} images of one label: no figure"
ONE_SOURCE = "normal and abnormal of one source"
ONE_VIEW = "normal and abnormal of one source and view"
CHILDREN = "children, outside the intended use"
PEOPLE = ("adults", "children")


def group_of(row: Row) -> str:
    """Return ``adults`` or ``children``; an unknown age counts as adult."""
    return PEOPLE[0] if adult(row) else PEOPLE[1]


def chosen(read: Read, people: str) -> tuple[list[Row], Floats, Floats]:
    """Return images, probabilities and logits of the baseline of adults or children."""
    index = [n for n, row in enumerate(read.rows) if group_of(row) == people]
    return [read.rows[n] for n in index], np.asarray(read.probabilities)[index], np.asarray(read.baseline)[index]


def figures(read: Read, points: Mapping[str, Mapping[str, Any]], people: str) -> dict[str, Any]:
    """Return all figures of adults or of children; thresholds of adults on the policy's own views, of children on all."""
    rows, p, simple = chosen(read, people)
    told = any(row.view for row in rows)
    views = {name: list(point["views"]) for name, point in points.items()}
    policies: dict[str, Any] = {}
    for name, point in points.items():
        if not point["feasible"]:
            policies[name] = {"feasible": False, "reason": point["reason"]}
            continue
        on_all = people == "children" or not told
        seen = [n for n, row in enumerate(rows) if on_all or row.view in views[name]]
        result = at_threshold([rows[n] for n in seen], p[seen], point["tau"])
        policies[name] = {
            "feasible": True,
            "tau": point["tau"],
            "views": "all" if on_all else views[name],
            "view_stated": told,
            "images": len(seen),
            "images_of_other_views": len(rows) - len(seen),
            **result,
            "patients": confusion(result),
        }
    return {
        "images": len(rows),
        "patients": len({row.patient for row in rows}),
        "discrimination": by_source(rows, p, simple, children=people == "children"),
        "policies": policies,
        "calibration": calibration(rows, p),
    }


def by_source(rows: Sequence[Row], scores: Floats, simple: Floats, *, children: bool = False) -> list[dict[str, Any]]:
    """Return for each source, and each of its views where that can be told, the AUC of bundle and thumbnail over patients."""
    table = []
    for source in sorted({row.source for row in rows}):
        mine = [n for n, row in enumerate(rows) if row.source == source]
        kind = CHILDREN if children else ONE_SOURCE
        table.append(_entry(source, "", kind, rows, mine, scores, simple))
        for view in sorted({rows[n].view.upper().split()[0] for n in mine if rows[n].view}):
            part = [n for n in mine if rows[n].view.upper().startswith(view)]
            entry = _entry(source, view, ONE_VIEW, rows, part, scores, simple)
            if entry["auc"] is not None and len(part) < len(mine):
                table.append(entry)
    return table


def _entry(
    source: str, view: str, kind: str, rows: Sequence[Row], mine: Sequence[int], scores: Floats, simple: Floats
) -> dict[str, Any]:
    labels, patients = [rows[n].abnormal for n in mine], [rows[n].patient for n in mine]
    fewest = min(labels.count(0), labels.count(1))
    entry: dict[str, Any] = {
        "source": source,
        "view": view,
        "kind": kind if fewest >= LEAST else TOO_FEW if fewest else NO_EVIDENCE,
        "images": len(mine),
        "abnormal": sum(labels),
        "patients": len(set(patients)),
        "auc": None,
        "thumbnail_auc": None,
        "difference": None,
        "above_thumbnail": None,
    }
    if fewest >= LEAST:
        own = auc_by_patient(labels, scores[mine], patients)
        entry["auc"] = list(own)
        if np.isfinite(simple[mine]).all():
            other = auc_by_patient(labels, simple[mine], patients)
            paired = difference_by_patient(auc, labels, scores[mine], simple[mine], patients)
            entry |= {"thumbnail_auc": list(other), "difference": list(paired), "above_thumbnail": paired.low > 0}
    return entry


def confusion(result: Mapping[str, Any]) -> dict[str, int]:
    """Return patients by label and call, all sources together."""
    (hits, ill), (right, well) = (
        (sum(e["hits"] for e in result[kind].values()), sum(e["n"] for e in result[kind].values()))
        for kind in ("sensitivity", "specificity")
    )
    return {"true_positive": hits, "false_negative": ill - hits, "true_negative": right, "false_positive": well - right}


def calibration(rows: Sequence[Row], probabilities: Floats) -> dict[str, Any] | None:
    """Return Brier score (interval by drawing patients), ECE and reliability over sources that hold both labels."""
    kinds: dict[str, list[int]] = {}
    for row in rows:
        kinds.setdefault(row.source, []).append(row.abnormal)
    fair = sorted(s for s, labels in kinds.items() if min(labels.count(0), labels.count(1)) >= LEAST)
    mine = [n for n, row in enumerate(rows) if row.source in fair]
    if not mine:
        return None
    labels, p = np.array([rows[n].abnormal for n in mine]), probabilities[mine]
    patients = [rows[n].patient for n in mine]
    return {
        "sources": fair,
        "images": len(mine),
        "patients": len(set(patients)),
        "brier": list(mean_by_patient((p - labels) ** 2, patients)),
        "ece": calibration_error(labels, p),
        "reliability": reliability(labels, p),
    }


def refusals(read: Read) -> list[dict[str, Any]]:
    """Return images and patients that were refused, by reason, adults or children, source and label."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row, reason in read.refused:
        groups.setdefault((reason, group_of(row), row.source, row.label), []).append(row)
    return [
        {
            **dict(zip(("reason", "people", "source", "label"), key, strict=True)),
            "images": len(rows),
            "patients": len({row.patient for row in rows}),
        }
        for key, rows in sorted(groups.items())
    ]


def asked(read: Read) -> list[dict[str, Any]]:
    """Return how many images of each source and label were read, and refused, adults and children apart."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for taken, rows in ((0, read.rows), (1, [row for row, _ in read.refused])):
        for row in rows:
            groups.setdefault((group_of(row), row.source, row.label), [0, 0])[taken] += 1
    return [
        {"people": people, "source": source, "label": label, "read": n[0], "refused": n[1]}
        for (people, source, label), n in sorted(groups.items())
    ]
