"""Train the NTM network with (simulated) physicians in the loop: ``python -m models.recipes.ct_ntm --quick --out DIR``.

Chests are drawn (``training/hitl/phantom_cohort.py``), readers are drawn (``readers.py``); the protocol (``protocol.py``) is the
one that a site's own readers would go through, and ``node_export.py`` reads their answers as the node exports them. Three arms: the
rounds with the model, the same readers looking again without it, and first reads only. Every table goes to ``report.md`` and
``metrics.json``; ``--bundle DIR`` writes the network of the first arm, ``--page`` a second copy of the report. Finished
trainings and drawn chests in ``--out`` are kept, so a run that was stopped goes on where it was.

``--quick``: 540 patients at 16 x 32 x 32, channels 8-16-24-32, 20 epochs and 2 a round: about 12 minutes.
The full form is the design's: 64 x 128 x 128, channels 32-64-128-256, 80 epochs and 20 a round, 1,900 patients: for a GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.calibrate import fit_temperature, sigmoid
from models.training.data import as_json
from models.training.hitl import bundle as bundles
from models.training.hitl import interaction, report
from models.training.hitl.cases import Case, is_consensus
from models.training.hitl.folds import Folds, divide
from models.training.hitl.network import Trainer, names_digest
from models.training.hitl.phantom_cohort import PhantomCohort, draw_cohort
from models.training.hitl.protocol import ARMS, FIRST, HITL, Outcome, run
from models.training.hitl.readers import PROFILES, SimulatedReaders
from models.training.hitl.study import (
    CLINICAL_ONLY,
    PICTURE_ONLY,
    Tested,
    baselines,
    differences,
    discrimination,
    energy_in_lesion,
)
from models.training.hitl.training import FitSettings, logits_of
from models.training.kept_fits import Arrays
from models.training.statistics import auc, difference_by_patient
from models.zoo.ntm_cnn3d import FULL, TWIN

INTERNAL, FRESH, EXTERNAL = "internal, consensus", "internal, whoever comes", "external"
PREPROCESSING: dict[str, Any] = {"window_hu": [-1000, 400], "margin_mm": 10, "outside": "floor"}
ROUNDS = 2
SEED = 20


@dataclass(frozen=True)
class Form:
    """How large the study is: drawn chests by purpose, the network's input and channels, and both kinds of training."""

    words: str
    read: int
    calibration: int
    fresh: int
    external: int
    size: tuple[int, int, int]
    channels: tuple[int, int, int, int]
    base: FitSettings
    fine: FitSettings
    resamples: int = 10_000


QUICK = Form(
    "REDUCED: 16 x 32 x 32, channels 8-16-24-32, 20 epochs and 2 a round.", 300, 80, 80, 80, (16, 32, 32), TWIN,
    FitSettings(20, rate=3e-3, patience=20), FitSettings(2, rate=1e-3, patience=2),
)  # fmt: skip
WHOLE = Form(
    "64 x 128 x 128, channels 32-64-128-256, 80 epochs and 20 a round.", 1200, 200, 200, 300, (64, 128, 128), FULL,
    FitSettings(), FitSettings(20, rate=1e-4),
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """The cohorts: ``read`` by the readers, the others for thresholds and tests alone."""

    read: PhantomCohort
    calibration: PhantomCohort
    fresh: PhantomCohort
    external: PhantomCohort


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="reduced width, size and number")
    parser.add_argument("--out", type=Path, required=True, help="folder for results; what is finished in it is not repeated")
    parser.add_argument("--bundle", type=Path, help="bundle folder to write")
    parser.add_argument("--page", type=Path, help="a second place for report.md")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--date", default="2026-11-21", help="date written into the bundle; nothing reads the clock")
    return parser.parse_args(given)


def main(given: list[str] | None = None, form: Form | None = None) -> None:
    """Draw, read, train all arms, write every table, and the bundle where one is asked for."""
    options = arguments(given)
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    form = form or (QUICK if options.quick else WHOLE)
    preprocessing = {**PREPROCESSING, "size": list(form.size)}
    drawn = draw(form, preprocessing, options.out / "drawn")
    say(f"{form.read + form.calibration + form.fresh + form.external} chests after {time.monotonic() - started:.0f} s")
    found, trainer, outcomes, points, temperature = study(drawn, form, options)
    command = "python -m models.recipes.ct_ntm" + (" --quick" if options.quick else "")
    text = report.page(found, command)
    (options.out / "metrics.json").write_text(as_json(found), encoding="utf-8")
    if options.bundle:
        taught = outcomes[HITL].taught
        made = bundles.write(
            options.bundle, trainer.load(outcomes[HITL].states[-1]), form.channels, preprocessing,
            drawn.read.volumes.of(drawn.read.rows(taught.names)), temperature, points, card_figures(found), worth(found),
            {"command": command, "date": options.date, "seed": SEED, "epochs": found["epochs"],
             "split_sha256": found["split_hash"]},
        )  # fmt: skip
        text += f"\nBundle {made.label}, hash {made.sha256}.\n"
    for path in (options.out / "report.md", options.page):
        if path:
            path.write_text(text, encoding="utf-8")
    print(text)
    say(f"{worth(found)} {time.monotonic() - started:.0f} s")


def draw(form: Form, preprocessing: Mapping[str, Any], keep_in: Path) -> Drawn:
    """Draw every cohort; no two share a seed."""
    return Drawn(
        draw_cohort(0, form.read, preprocessing, keep_in),
        draw_cohort(100_000, form.calibration, preprocessing, keep_in),
        draw_cohort(200_000, form.fresh, preprocessing, keep_in),
        draw_cohort(300_000, form.external, preprocessing, keep_in, external=True),
    )


def study(
    drawn: Drawn, form: Form, options: argparse.Namespace
) -> tuple[dict[str, Any], Trainer, dict[str, Outcome], dict[str, Any], float]:
    """Return every figure, the trainer, the arms, the operating points, and the temperature of the arm with the model."""
    cohort = drawn.read
    by_name = {str(name): n for n, name in enumerate(cohort.names)}
    lungs, lesions = ({name: part[n] for name, n in by_name.items()} for part in (cohort.lungs, cohort.lesions))
    readers = SimulatedReaders(PROFILES, cohort.evidence(), lesions, lungs, SEED)
    first = {name: readers.first_scores(name) for name in by_name}
    folds = divide([Case(name, name, scores) for name, scores in first.items()], ROUNDS)
    select_labels = np.array([int(np.mean(first[name]) > 0.5) for name in folds.validation], np.int64)
    threads = options.threads
    trainer = Trainer(
        cohort, folds.validation, select_labels, form.channels,
        replace(form.base, threads=threads), replace(form.fine, threads=threads), options.out / "fits", say,
    )  # fmt: skip
    outcomes = {arm: run(arm, folds, first, lungs, trainer, readers.ask_again) for arm in ARMS}
    final: dict[str, Arrays] = {arm: outcome.states[-1] for arm, outcome in outcomes.items()}

    consensus = cohort.of(folds.test)
    places = {INTERNAL: consensus, FRESH: drawn.fresh, EXTERNAL: drawn.external}
    tested = {name: _tested(trainer, final, place) for name, place in places.items()}
    learned = cohort.rows(outcomes[HITL].taught.names)
    simple = baselines(cohort.volumes.of(learned), cohort.labels[learned], {name: p.volumes for name, p in places.items()})
    beside = {name: replace(t, probabilities={**t.probabilities, **simple[name]}) for name, t in tested.items()}

    selected = logits_of(trainer.load(final[HITL]), cohort.volumes.of(cohort.rows(folds.validation)))
    temperature = fit_temperature(select_labels, selected)
    calibrated = {
        name: np.asarray(sigmoid(logits_of(trainer.load(final[HITL]), place.volumes) / temperature))
        for name, place in {"calibration": drawn.calibration, **places}.items()
    }
    points = bundles.operating_points(
        drawn.calibration.labels, calibrated["calibration"], drawn.calibration.names.tolist(), options.date
    )
    found = {
        "form": form.words,
        "cohort": cohort_figures(drawn, folds, first, consensus),
        "discrimination": discrimination(beside, form.resamples),
        "differences": differences(tested, form.resamples),
        "against_baselines": against_baselines(beside, form.resamples),
        "energy": energy_in_lesion(tested, form.resamples),
        "readers": reader_figures(outcomes, first, cohort, form.resamples),
        "policies": bundles.on_test(points, {name: (places[name].labels, calibrated[name]) for name in (FRESH, EXTERNAL)}),
        "temperature": temperature,
        "epochs": sum(len(state["auc_by_epoch"]) for state in outcomes[HITL].states),
        "split_hash": names_digest([*folds.train, "|", *folds.validation, "|", *folds.test]),
    }
    return found, trainer, outcomes, points, temperature


def _tested(trainer: Trainer, states: Mapping[str, Arrays], place: PhantomCohort) -> Tested:
    said = {arm: trainer.said(state, place.volumes) for arm, state in states.items()}
    return Tested(
        place.labels, {arm: p for arm, (p, _) in said.items()}, {arm: maps for arm, (_, maps) in said.items()}, place.lesions
    )


def cohort_figures(drawn: Drawn, folds: Folds, first: Mapping[str, tuple[float, ...]], consensus: PhantomCohort) -> dict[str, Any]:
    """Return who was read, how many agree, and the parts with how many are ill."""
    cohort = drawn.read
    truth = _truth(cohort)
    agreed = [name for name, scores in first.items() if is_consensus(scores)]
    parts: list[tuple[str, int, int]] = [
        (word, len(names), sum(truth[name] for name in names))
        for word, names in (
            ("consensus, train", folds.train), ("consensus, validation", folds.validation), ("consensus, test", folds.test),
            *((f"readers differ, fold {n}", fold) for n, fold in enumerate(folds.low)),
        )
    ]  # fmt: skip
    parts += [
        (word, len(place.labels), int(place.labels.sum()))
        for word, place in (("thresholds", drawn.calibration), (FRESH, drawn.fresh), (EXTERNAL, drawn.external))
    ]
    return {
        "read": len(first),
        "consensus": len(agreed),
        "consensus_right": sum((np.mean(first[name]) > 0.5) == truth[name] for name in agreed),
        "low": len(first) - len(agreed),
        "parts": parts,
    }


def reader_figures(
    outcomes: Mapping[str, Outcome], first: Mapping[str, tuple[float, ...]], cohort: PhantomCohort, resamples: int
) -> dict[str, dict[str, Any]]:
    """Return the readers' tables, an arm with a second look each."""
    truth = _truth(cohort)
    found = {}
    for arm, outcome in outcomes.items():
        if arm == FIRST:
            continue
        again = {name for one in outcome.rounds for name in one.after}
        rest = [scores for name, scores in first.items() if name not in again]
        found[arm] = {
            "consensus": interaction.reached_consensus(outcome.rounds),
            "helpful": interaction.helpful_maps(outcome.rounds),
            "usefulness": interaction.usefulness(outcome.rounds, resamples),
            "kappas": interaction.kappas(outcome.rounds, rest, resamples // 5),
            "right": interaction.majority_right(outcome.rounds, truth),
            "automation": interaction.moved_to_wrong(outcome, outcomes[HITL], truth),
        }
    return found


def against_baselines(tested: Mapping[str, Tested], resamples: int) -> list[dict[str, Any]]:
    """Return by how much the AUROC of the arm with the model exceeds each baseline's, on the same patients."""
    rows = []
    for name, t in tested.items():
        who = np.arange(len(t.labels))
        for baseline in (CLINICAL_ONLY, PICTURE_ONLY):
            p: NDArray[np.float64] = t.probabilities[baseline]
            difference = difference_by_patient(auc, t.labels, t.probabilities[HITL], p, who, resamples)
            rows.append({"cohort": name, "baseline": baseline, "difference": list(difference)})
    return rows


def card_figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``metrics.json`` of the bundle, in the form that the card reads."""
    rows = {(row["cohort"], row["arm"]): row for row in found["discrimination"]}
    beaten = {row["cohort"]: row["difference"] for row in found["against_baselines"] if row["baseline"] == PICTURE_ONLY}
    against = [
        {
            "cohort": f"drawn patients, {name}", "kind": "drawn patients", "images": rows[name, HITL]["n"],
            "abnormal": rows[name, HITL]["positives"], "patients": rows[name, HITL]["n"], "auc": rows[name, HITL]["auc"],
            "thumbnail_auc": rows[name, PICTURE_ONLY]["auc"], "difference": difference, "above_thumbnail": difference[1] > 0,
        }
        for name, difference in beaten.items()
    ]  # fmt: skip
    counts = [
        {"part": part, "source": "phantoms", "label": label, "images": n, "patients": n}
        for part, whole, ill in found["cohort"]["parts"]
        for label, n in (("disease", ill), ("none", whole - ill))
    ]
    return {
        "discrimination": against,
        "policies_on_test": found["policies"],
        "patient_score": "that of the one scan",
        "counts": counts,
        "study": {key: found[key] for key in ("discrimination", "differences", "against_baselines", "energy", "readers", "cohort")},
        "split_hash": found["split_hash"],
        "history": list(range(found["epochs"])),
    }


def worth(found: Mapping[str, Any]) -> str:
    """Return in sentences what it reaches, on whom, and what the rounds added."""
    aucs = {(row["cohort"], row["arm"]): row["auc"] for row in found["discrimination"]}
    told = ", ".join(f"{aucs[name, HITL][0]:.3f} on {name}" for name in (INTERNAL, FRESH, EXTERNAL))
    gained = [row for row in found["differences"] if row["against"] == FIRST and row["difference"][1] > 0]
    added = f"raised it on {', '.join(row['cohort'] for row in gained)}" if gained else "are not shown to have raised it anywhere"
    return f"AUROC on drawn chests: {told}. The rounds with drawn readers {added}. It proves nothing about patients."


def _truth(cohort: PhantomCohort) -> dict[str, int]:
    return {str(name): int(label) for name, label in zip(cohort.names, cohort.labels, strict=True)}


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
