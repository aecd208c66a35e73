"""Drawn patients through a pipeline: whom it reads, how well it tells them apart, what its thresholds do to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.training.slices.patient_tables import calibration
from models.training.statistics import Floats, auc, auc_by_patient, difference_by_patient, mean_by_patient, sensitivity_specificity
from models.training.through_node.drawn import Patient, as_study

Labels = NDArray[np.int64]
POLICY = "screening"  # whose zones are counted; the probability is the same under every policy


@dataclass(frozen=True)
class Cohort:
    """Patients of one kind. ``scanned``: how, in words. ``first``: seed of the first, whom no choice was made on.

    ``share``: of how many are asked for; a fine scan takes three times as long to draw and to read.
    ``as_learned``: the probability of a patient whom the recipe itself prepared; ``None`` where it draws other chests.
    """

    name: str
    scanned: str
    first: int
    patient: Callable[[int], Patient]
    as_learned: Callable[[int, Bundle], float] | None = None
    share: float = 1.0

    def seeds(self, phantoms: int) -> range:
        """Return the patients of this cohort where ``phantoms`` are asked for."""
        return range(self.first, self.first + max(1, round(self.share * phantoms)))


class Answer(NamedTuple):
    """``probability``: ``None`` where the node refused, with ``refusal``. ``zone``: of the whole result."""

    probability: float | None
    refusal: str = ""
    zone: str = ""


def read(patient: Patient, pipeline: ModuleType, bundle: Path) -> Answer:
    """Let the pipeline read one patient, as the node would; only the leave to run a synthetic model is added.

    Raises
    ------
    RuntimeError
        What was known beside the images did not reach the pipeline.
    """
    settings = pipeline.Settings(allow_synthetic=True, threads=1, device="cpu")
    with TemporaryDirectory() as folder:
        study = as_study(patient, Path(folder))
        selection = pipeline.select_images(study, settings)
        found = pipeline.run(study, selection, {pipeline.NEEDS[0]: bundle}, POLICY, settings)
    if found.abstention:
        return Answer(None, found.abstention.reason)
    if not patient.heard(found):
        raise RuntimeError(f"seed {patient.seed}: marks or laboratory values of the patient were not read")
    return Answer(found.findings[0].probability, "", str(found.zone))


class Read(NamedTuple):
    """A patient and what came of them. ``as_learned``: see ``Cohort``; ``None`` where there is none, or the node refused."""

    label: int
    answer: Answer
    as_learned: float | None = None


def read_all(cohort: Cohort, seeds: Iterable[int], pipeline: ModuleType, bundle: Bundle) -> list[Read]:
    """Draw and read these patients of a cohort."""
    found = []
    for seed in seeds:
        patient = cohort.patient(seed)
        answer = read(patient, pipeline, bundle.folder)
        asked = cohort.as_learned if answer.probability is not None else None
        found.append(Read(patient.label, answer, None if asked is None else asked(seed, bundle)))
    return found


def figures(cohort: Cohort, found: Sequence[Read], bundle: Bundle, resamples: int = 10_000) -> dict[str, Any]:
    """Return what patients of a cohort show: who is read, AUC, calibration, each policy's shares, zones, refusals by reason.

    ``as_learned``: AUC and policies of the same patients as the recipe prepares them, the node's AUC minus that, and by how much
    the node's log-odds lie above it (mean); ``None`` where there is none.

    Raises
    ------
    ValueError
        Of those who were read none, or all, have what is looked for.
    """
    answered = [one for one in found if one.answer.probability is not None]
    y, p = np.array([one.label for one in answered], np.int64), np.array([one.answer.probability for one in answered], np.float64)
    learned = np.array([one.as_learned for one in answered if one.as_learned is not None], np.float64)
    zones = {
        kind: dict(Counter(one.answer.zone for one in answered if one.label == label))
        for kind, label in (("positives", 1), ("negatives", 0))
    }
    return {
        "cohort": cohort.name,
        "scanned": cohort.scanned,
        "drawn": len(found),
        "patients": len(y),
        "positives": int(y.sum()),
        "auc": list(auc_by_patient(y, p, np.arange(len(y)), resamples)),
        "as_learned": _beside(y, p, learned, bundle, resamples) if len(learned) else None,
        "calibration": calibration(y, p),
        "policies": _policies(y, p, bundle),
        "zones": zones,
        "refused": dict(Counter(one.answer.refusal for one in found if one.answer.probability is None)),
    }


def _beside(y: Labels, p: Floats, learned: Floats, bundle: Bundle, resamples: int) -> dict[str, Any]:
    who = np.arange(len(y))
    higher = _log_odds(p) - _log_odds(learned)
    return {
        "auc": list(auc_by_patient(y, learned, who, resamples)),
        "change": list(difference_by_patient(auc, y, p, learned, who, resamples)),
        "higher": list(mean_by_patient(higher, who, resamples)),
        "policies": _policies(y, learned, bundle),
    }


def _log_odds(p: Floats) -> Floats:
    inner = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inner / (1 - inner)))


def _policies(y: Labels, p: Floats, bundle: Bundle) -> dict[str, Any]:
    """Return sensitivity and specificity of every policy that has a threshold."""
    found = {}
    for name, point in bundle.operating_points().items():
        if point["feasible"]:
            at = sensitivity_specificity(y, p, point["tau"])
            found[name] = {"sensitivity": at.sensitivity.told(), "specificity": at.specificity.told()}
    return found
