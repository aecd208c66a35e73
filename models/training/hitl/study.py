"""What the rounds did to the network: internal and external patients, each arm beside the others, and beside what needs no lungs.

Two baselines show what could be had without looking at disease: a logistic regression on the clinical data alone, and one on a
16 x 16 picture of the whole chest (mean along the body). A figure that they reach, too, is no achievement of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training import thumbnail
from models.training.calibrate import sigmoid
from models.training.hitl.protocol import ARMS, FIRST, HITL
from models.training.hitl.training import Volumes
from models.training.slices.patient_tables import measures
from models.training.statistics import auc as auc_of
from models.training.statistics import delong_test, difference_by_patient, mean_by_patient

THRESHOLD = 0.5
CLINICAL_ONLY, PICTURE_ONLY = "clinical data alone", "16 x 16 picture alone"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tested:
    """One cohort. ``probabilities``, ``maps`` (n, d, h, w): by arm. ``lesions``: (n, d, h, w), shares of cells, where known."""

    labels: NDArray[np.int64]
    probabilities: Mapping[str, Floats]
    maps: Mapping[str, NDArray[np.float32]]
    lesions: NDArray[np.float32] | None = None


def discrimination(cohorts: Mapping[str, Tested], resamples: int = 10_000) -> list[dict[str, Any]]:
    """Return AUROC, accuracy, sensitivity, specificity and F1 with intervals, by cohort and arm, at 0.5."""
    return [
        {"cohort": name, "arm": arm, **measures(tested.labels, p, THRESHOLD, resamples)}
        for name, tested in cohorts.items()
        for arm, p in tested.probabilities.items()
    ]


def differences(cohorts: Mapping[str, Tested], resamples: int = 10_000) -> list[dict[str, Any]]:
    """Return the AUROC of the arm with the model minus each other arm's, on the same patients, and DeLong's P value."""
    rows = []
    for name, tested in cohorts.items():
        who = np.arange(len(tested.labels))
        for arm in ARMS:
            if arm == HITL or arm not in tested.probabilities:
                continue
            new, old = tested.probabilities[HITL], tested.probabilities[arm]
            difference = difference_by_patient(auc_of, tested.labels, new, old, who, resamples)
            rows.append(
                {
                    "cohort": name,
                    "against": arm,
                    "difference": list(difference),
                    "p_value": delong_test(tested.labels, new, old, who).p_value,
                }
            )
    return rows


def energy_in_lesion(cohorts: Mapping[str, Tested], resamples: int = 10_000) -> list[dict[str, Any]]:
    """Return the share of the class map's energy that lies in the drawn disease, mean over patients who have some.

    Beside it the change against the arm of first reads, on the same patients, and ``even``: what a map has that is even over the
    whole picture. A patient whose map is empty counts as 0.
    """
    rows = []
    for name, tested in cohorts.items():
        lesions = tested.lesions
        if lesions is None:
            continue
        ill = (tested.labels == 1) & (lesions.sum((1, 2, 3)) > 0)
        inside = {arm: _inside(maps[ill], lesions[ill]) for arm, maps in tested.maps.items()}
        who, even = np.arange(int(ill.sum())), float(lesions[ill].mean((1, 2, 3)).mean())
        for arm, shares in inside.items():
            row: dict[str, Any] = {"cohort": name, "arm": arm, "n": int(ill.sum()), "even": even}
            row["share"] = list(mean_by_patient(shares, who, resamples))
            row["change"] = None if arm == FIRST else list(mean_by_patient(shares - inside[FIRST], who, resamples))
            rows.append(row)
    return rows


def baselines(learn: Volumes, labels: NDArray[np.int64], tested: Mapping[str, Volumes]) -> dict[str, dict[str, Floats]]:
    """Return the probabilities of both baselines, fitted on ``learn``, by cohort."""
    clinical, picture = thumbnail.fit(learn.clinical.astype(np.float64), labels), thumbnail.fit(_pictures(learn), labels)
    return {
        name: {
            CLINICAL_ONLY: sigmoid(clinical.logits(volumes.clinical.astype(np.float64))),
            PICTURE_ONLY: sigmoid(picture.logits(_pictures(volumes))),
        }
        for name, volumes in tested.items()
    }


def _pictures(volumes: Volumes) -> Floats:
    means = volumes.images.astype(np.float32).mean(1)
    side = (thumbnail.SIDE, thumbnail.SIDE)
    return np.stack([cv2.resize(m, side, interpolation=cv2.INTER_AREA).ravel() for m in means]).astype(np.float64)


def _inside(maps: NDArray[np.float32], lesions: NDArray[np.float32]) -> Floats:
    whole = maps.sum((1, 2, 3), dtype=np.float64)
    return np.asarray((maps * lesions).sum((1, 2, 3), dtype=np.float64) / np.where(whole > 0, whole, 1.0))
