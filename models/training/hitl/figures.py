"""Every figure of a study with physicians, drawn or real, and for what cannot be computed the reason why.

``found`` is what ``report`` prints and what ``metrics.json`` keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.calibrate import fit_temperature, sigmoid
from models.training.hitl import bundle as bundles
from models.training.hitl import interaction
from models.training.hitl.bundle_texts import Source
from models.training.hitl.folds import Folds
from models.training.hitl.network import Trainer, names_digest
from models.training.hitl.protocol import FIRST, HITL, REREAD, Outcome, Round
from models.training.hitl.study import (
    CLINICAL_ONLY,
    PICTURE_ONLY,
    Tested,
    baselines,
    differences,
    discrimination,
    energy_in_lesion,
)
from models.training.hitl.training import Volumes, logits_of
from models.training.statistics import auc, difference_by_patient

LEAST = 5  # patients of each label below which nothing is measured on a cohort
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """Patients whom the network never learned from. ``lesions``: (n, d, h, w), ``None`` where nobody drew them.

    ``consensus``: chosen because readers agree: easier than patients who come, so thresholds are not judged on them.
    """

    names: Sequence[str]
    volumes: Volumes
    labels: Labels
    lesions: NDArray[np.float32] | None = None
    consensus: bool = False


@dataclass(frozen=True)
class Study:
    """What was trained, and on whom it is tested.

    ``learned``: patients of the lesson with the label that the baselines learn. ``select``: the validation patients with readers'
    labels, who chose the epochs. ``places``: test cohorts by name. ``thresholds``: patients for operating points.
    """

    trainer: Trainer
    outcomes: Mapping[str, Outcome]
    folds: Folds
    learned: tuple[Volumes, Labels]
    select: tuple[Volumes, Labels]
    places: Mapping[str, Place]
    thresholds: Place
    date: str
    resamples: int = 10_000

    @property
    def chief(self) -> str:
        """The arm whose network is packed: with the model where there was a second look."""
        return HITL if HITL in self.outcomes else FIRST


def network_figures(study: Study, source: Source) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Return every figure of the network, the operating points, and the temperature of the chief arm."""
    trainer, final = study.trainer, {arm: outcome.states[-1] for arm, outcome in study.outcomes.items()}
    enough = {name: place for name, place in study.places.items() if _enough(place.labels)}
    tested = {}
    for name, place in enough.items():
        said = {arm: trainer.said(state, place.volumes) for arm, state in final.items()}
        tested[name] = Tested(
            place.labels, {arm: p for arm, (p, _) in said.items()}, {arm: maps for arm, (_, maps) in said.items()}, place.lesions
        )
    simple = baselines(*study.learned, {name: place.volumes for name, place in enough.items()})
    beside = {name: replace(t, probabilities={**t.probabilities, **simple[name]}) for name, t in tested.items()}

    net = trainer.load(final[study.chief])
    temperature = fit_temperature(study.select[1], logits_of(net, study.select[0]))
    calibrated = {
        name: np.asarray(sigmoid(logits_of(net, place.volumes) / temperature)) if len(place.labels) else np.zeros(0)
        for name, place in {"thresholds": study.thresholds, **study.places}.items()
    }
    points = bundles.operating_points(
        study.thresholds.labels, calibrated["thresholds"], list(study.thresholds.names), study.date, source
    )
    unseen = {name: (place.labels, calibrated[name]) for name, place in enough.items() if not place.consensus}
    found = {
        "chief": study.chief,
        "discrimination": discrimination(beside, study.resamples),
        "differences": differences(tested, study.resamples) if study.chief == HITL else [],
        "against_baselines": against_baselines(beside, study.chief, study.resamples),
        "energy": energy_in_lesion(tested, study.resamples),
        "policies": bundles.on_test(points, unseen),
        "temperature": temperature,
        "epochs": sum(len(state["auc_by_epoch"]) for state in study.outcomes[study.chief].states),
        "split_hash": names_digest([*study.folds.train, "|", *study.folds.validation, "|", *study.folds.test]),
        "too_few": {name: _too_few(place.labels) for name, place in study.places.items() if name not in enough},
    }
    return found, points, temperature


def reader_figures(
    outcomes: Mapping[str, Outcome],
    first: Mapping[str, tuple[float, ...]],
    truth: Mapping[str, int],
    resamples: int = 10_000,
) -> dict[str, dict[str, Any]]:
    """Return the readers' tables, an arm with a second look each.

    ``truth``: of whom it is known. Whether readers are right, and automation bias, are counted on those alone (``None``: on
    nobody); kappa on the cases with the commonest number of readers, as Fleiss' needs one number for all.
    """
    found = {}
    for arm, outcome in outcomes.items():
        if not any(one.after for one in outcome.rounds):
            continue
        known = tuple(_only(one, truth) for one in outcome.rounds)
        anybody = any(one.after for one in known)
        again = {name for one in outcome.rounds for name in one.after}
        sizes = [len(scores) for scores in first.values()]
        usual = max(set(sizes), key=sizes.count)
        alike = {name for name, scores in first.items() if len(scores) == usual}
        rest = [scores for name, scores in first.items() if name in alike - again]
        found[arm] = {
            "consensus": interaction.reached_consensus(outcome.rounds),
            "helpful": interaction.helpful_maps(outcome.rounds),
            "usefulness": interaction.usefulness(outcome.rounds, resamples),
            "kappas": interaction.kappas([_only(one, alike) for one in outcome.rounds], rest, resamples // 5),
            "right": interaction.majority_right(known, truth) if anybody else None,
            "automation": interaction.moved_to_wrong(replace(outcome, rounds=known), outcomes[HITL], truth) if anybody else None,
        }
    return found


def against_baselines(tested: Mapping[str, Tested], arm: str, resamples: int) -> list[dict[str, Any]]:
    """Return by how much the AUROC of ``arm`` exceeds each baseline's, on the same patients."""
    rows = []
    for name, t in tested.items():
        who = np.arange(len(t.labels))
        for baseline in (CLINICAL_ONLY, PICTURE_ONLY):
            difference = difference_by_patient(auc, t.labels, t.probabilities[arm], t.probabilities[baseline], who, resamples)
            rows.append({"cohort": name, "baseline": baseline, "difference": list(difference)})
    return rows


def card_figures(found: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return ``metrics.json`` of the bundle, in the form that the card reads. ``source``: whose patients they are."""
    rows = {(row["cohort"], row["arm"]): row for row in found["discrimination"]}
    beaten = {row["cohort"]: row["difference"] for row in found["against_baselines"] if row["baseline"] == PICTURE_ONLY}
    against = [
        {
            "cohort": f"{source}, {name}", "kind": source, "images": rows[name, found["chief"]]["n"],
            "abnormal": rows[name, found["chief"]]["positives"], "patients": rows[name, found["chief"]]["n"],
            "auc": rows[name, found["chief"]]["auc"], "thumbnail_auc": rows[name, PICTURE_ONLY]["auc"], "difference": difference,
            "above_thumbnail": difference[1] > 0,
        }
        for name, difference in beaten.items()
    ]  # fmt: skip
    counts = [
        {"part": part, "source": source, "label": label, "images": n, "patients": n}
        for part, whole, ill in found["cohort"]["parts"]
        for label, n in (("disease", ill), ("none", whole - ill))
    ]
    study = ("discrimination", "differences", "against_baselines", "energy", "readers", "cohort")
    return {
        "discrimination": against,
        "policies_on_test": found["policies"],
        "patient_score": "that of the one scan",
        "counts": counts,
        "study": {key: found[key] for key in study},
        "split_hash": found["split_hash"],
        "history": list(range(found["epochs"])),
    }


def worth(found: Mapping[str, Any], whom: str) -> str:
    """Return in sentences what it reaches, on whom, and what the rounds added. ``whom``: "drawn chests" or like words."""
    told = [f"{row['auc'][0]:.3f} on {row['cohort']}" for row in found["discrimination"] if row["arm"] == found["chief"]]
    if not told:
        return f"Not measured: too few {whom} of each label in every test cohort."
    text = f"AUROC on {whom}: {', '.join(told)}."
    for arm, words in ((FIRST, "first reads alone"), (REREAD, "looking again without the model")):
        rows = [row for row in found["differences"] if row["against"] == arm]
        gained = [row["cohort"] for row in rows if row["difference"][1] > 0]
        if rows:
            text += f" Against {words} the rounds {'raised it on ' + ', '.join(gained) if gained else 'are not shown to raise it'}."
    return text


def _enough(labels: Labels) -> bool:
    return min(int(labels.sum()), int((1 - labels).sum())) >= LEAST


def _too_few(labels: Labels) -> str:
    ill = int(labels.sum())
    return f"{ill} with and {len(labels) - ill} without the disease; {LEAST} of each are needed"


def _only(one: Round, names: Mapping[str, Any] | set[str]) -> Round:
    return replace(one, after={name: said for name, said in one.after.items() if name in names})
