"""What a classifier's scores are worth, source by source, beside what 16 x 16 thumbnails reach on the same images.

A figure that the thumbnail reaches too is a shortcut: it can be had without looking at the lungs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.data import Row
from models.training.statistics import (
    auc,
    auc_by_patient,
    brier,
    calibration_error,
    clopper_pearson,
    delong_test,
    difference_by_patient,
    mean_by_patient,
    reliability,
    wilson,
)

Floats = NDArray[np.float64]
NIH = "nih_cxr14"
#: NIH's normals come only from these patients: outside them the number alone names the label.
SHARED_PATIENTS = (1280, 3970)
CHILDREN = "children, outside the intended use; a source never trained on"


def in_shared_patients(row: Row) -> bool:
    """Say whether the image is of an NIH patient whose number lies where both labels come from."""
    digits = "".join(c for c in row.patient if c.isdigit())
    return row.source == NIH and bool(digits) and SHARED_PATIENTS[0] <= int(digits) <= SHARED_PATIENTS[1]


def cohorts(rows: Sequence[Row]) -> dict[str, tuple[str, NDArray[np.bool_]]]:
    """Return name -> (what it is, which rows): each adult source by view, the children apart, and the pooled comparisons.

    Of NIH also the patients whose numbers both labels have.
    """
    source = np.array([row.source for row in rows])
    view = np.array([row.view for row in rows])
    normal = np.array([row.abnormal == 0 for row in rows])
    named: dict[str, tuple[str, NDArray[np.bool_]]] = {}
    for name in sorted(set(source)):
        mine = source == name
        if normal[mine].sum() >= 10 and (~normal[mine]).sum() >= 10:
            named[name] = (CHILDREN if name == "kermany_pediatric" else "normal and abnormal of one source", mine)
            for projection in ("PA", "AP"):
                part = mine & (view == projection)
                if normal[part].sum() >= 10 and (~normal[part]).sum() >= 10 and part.sum() < mine.sum():
                    named[f"{name}, {projection}"] = ("normal and abnormal of one source and view", part)
            shared = mine & np.array([in_shared_patients(row) for row in rows])
            if min(normal[shared].sum(), (~normal[shared]).sum()) >= 10 and shared.sum() < mine.sum():
                low, high = SHARED_PATIENTS
                named[f"{name}, patients {low} to {high}"] = ("normal and abnormal of one source, patients of one range", shared)
        else:
            others = normal & np.isin(source, [n for n in set(source) if n != "kermany_pediatric"])
            named[f"{name} against other sources' normals"] = (
                "label and source are the same here: no evidence",
                (mine & ~normal) | others,
            )
    return named


def discrimination(rows: Sequence[Row], scores: Floats, baseline: Floats) -> list[dict[str, Any]]:
    """Return for every cohort the AUC of network and thumbnail with patient-bootstrap intervals, and n.

    ``difference``: network minus thumbnail on the same draws of patients; clearly above if its interval lies above 0. ``p_value``:
    DeLong's paired test.
    """
    table = []
    for name, (kind, chosen) in cohorts(rows).items():
        part = [row for row, take in zip(rows, chosen, strict=True) if take]
        labels, patients = [row.abnormal for row in part], [row.patient for row in part]
        if len(set(labels)) < 2:
            continue
        network, thumbnail = (auc_by_patient(labels, values[chosen], patients) for values in (scores, baseline))
        difference = difference_by_patient(auc, labels, scores[chosen], baseline[chosen], patients)
        table.append(
            {
                "cohort": name,
                "kind": kind,
                "images": len(part),
                "abnormal": sum(labels),
                "patients": len(set(patients)),
                "auc": list(network),
                "thumbnail_auc": list(thumbnail),
                "difference": list(difference),
                "p_value": delong_test(labels, scores[chosen], baseline[chosen], patients).p_value,
                "above_thumbnail": bool(difference.low > 0),
            }
        )
    return table


def at_threshold(rows: Sequence[Row], probabilities: Floats, tau: float) -> dict[str, Any]:
    """Return sensitivity and specificity by source at p >= tau, each with Wilson and Clopper-Pearson intervals, patients as units.

    A patient's score is that of the highest of the patient's images: one image that is called calls the patient. A patient with
    images of both labels (films of two days) counts once under each, by the images of that label.
    """
    result: dict[str, Any] = {"sensitivity": {}, "specificity": {}}
    for kind, wanted in (("sensitivity", 1), ("specificity", 0)):
        highest: dict[str, dict[str, float]] = {}
        for row, p in zip(rows, probabilities, strict=True):
            if row.abnormal == wanted:
                mine = highest.setdefault(row.source, {})
                mine[row.patient] = max(mine.get(row.patient, 0.0), float(p))
        for source, scores in sorted(highest.items()):
            hits, n = [int((p >= tau) == bool(wanted)) for p in scores.values()], len(scores)
            result[kind][source] = {
                "n": n,
                "hits": sum(hits),
                "wilson": list(wilson(sum(hits), n)),
                "clopper_pearson": list(clopper_pearson(sum(hits), n)),
            }
    return result


def predictive_values(
    sensitivity: float, specificity: float, prevalences: Sequence[float] = (0.005, 0.02, 0.10)
) -> list[dict[str, float]]:
    """Return PPV, NPV, flagged share and images read per case found at assumed prevalences (Bayes)."""
    table = []
    for share in prevalences:
        hit, false = share * sensitivity, (1 - share) * (1 - specificity)
        right = (1 - share) * specificity
        table.append(
            {
                "prevalence": share,
                "ppv": hit / (hit + false) if hit + false else float("nan"),
                "npv": right / (right + share - hit) if right + share - hit else float("nan"),
                "flagged": hit + false,
                "read_per_case": (hit + false) / hit if hit else float("inf"),
            }
        )
    return table


def calibration_table(rows: Sequence[Row], before: Floats, after: Floats) -> dict[str, Any]:
    """Return Brier, ECE and the reliability diagram before and after temperature scaling."""
    labels = [row.abnormal for row in rows]
    return {
        name: {
            "n": len(rows),
            "brier": brier(labels, p),
            "ece": calibration_error(labels, p),
            "reliability": reliability(labels, p),
        }
        for name, p in (("before", before), ("after", after))
    }


def dice(masks: NDArray[np.bool_], found: NDArray[np.bool_]) -> Floats:
    """Return 2 |A and B| / (|A| + |B|) for each pair (n, h, w); 1.0 where both are empty."""
    both = (masks & found).sum((1, 2)).astype(np.float64)
    total = masks.sum((1, 2)) + found.sum((1, 2))
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def overlap_by_source(rows: Sequence[Row], values: Floats) -> list[dict[str, Any]]:
    """Return mean Dice with a patient-bootstrap interval, and the worst tenth, by source."""
    table = []
    for source in sorted({row.source for row in rows}):
        mine = [n for n, row in enumerate(rows) if row.source == source]
        patients = [rows[n].patient for n in mine]
        table.append(
            {
                "source": source,
                "images": len(mine),
                "patients": len(set(patients)),
                "dice": list(mean_by_patient(values[mine], patients)),
                "dice_10th_percentile": float(np.quantile(values[mine], 0.1)),
            }
        )
    return table


def assessable(rows: Sequence[Row], label: str, least: int = 29) -> Mapping[str, Any]:
    """Say whether a class may carry a probability, by counts of patients in adult sources.

    It needs ``least`` positives (the fewest for which a 0.90 bound exists) in at least two sources, and in each of them at least
    ten patients with another label: else the network may be telling sources apart, and nobody could see it.
    """
    table = {}
    for source in sorted({row.source for row in rows}):
        own = {row.patient for row in rows if row.source == source and row.label == label}
        rest = {row.patient for row in rows if row.source == source and row.label != label}
        table[source] = {"positives": len(own), "others": len(rest), "serves": len(own) >= least and len(rest) >= 10}
    return {"assessed": sum(entry["serves"] for entry in table.values()) >= 2, "sources": table}
