"""Train the NTM network with physicians in the loop: ``python -m models.recipes.ct_ntm --quick --out DIR [--data DIR]``.

With ``--data`` the scans, first reads and answers are a site's own (``training/hitl/site_index.py`` says how they are indexed):
round 0 without ``--round``, then ``--round 1 --answers EXPORT``, and so on, always with the same ``--out``.

Without it chests are drawn (``hitl/phantom_cohort.py``), readers are drawn (``readers.py``), and three arms go through the same
protocol (``protocol.py``): the rounds with the model, the same readers looking again without it, and first reads only. Every table
goes to ``report.md`` and ``metrics.json``; ``--bundle DIR`` writes the network of the first arm, ``--page`` a second copy of the
report. Finished trainings and drawn chests in ``--out`` are kept, so a run that was stopped goes on where it was.

``--quick``: 1,080 patients at 24 x 48 x 48, channels 8-16-24-32, 12 epochs and 2 a round: 8 minutes on two cores.
The full form is the design's: 64 x 128 x 128, channels 32-64-128-256, 80 epochs and 20 a round, 1,940 patients: for a GPU.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.training.hitl import bundle as bundles
from models.training.hitl import report
from models.training.hitl.bundle_texts import DRAWN
from models.training.hitl.cases import Case, is_consensus
from models.training.hitl.figures import Place, Study, card_figures, network_figures, reader_figures, worth
from models.training.hitl.folds import Folds, divide
from models.training.hitl.network import Trainer
from models.training.hitl.phantom_cohort import PhantomCohort, draw_cohort
from models.training.hitl.protocol import ARMS, HITL, run
from models.training.hitl.readers import PROFILES, SimulatedReaders
from models.training.hitl.site_run import Asked, SiteForm, site_run
from models.training.hitl.training import FitSettings
from models.training.json_text import as_json
from models.zoo.ntm_cnn3d import FULL, TWIN

INTERNAL, FRESH, EXTERNAL = "internal, consensus", "internal, whoever comes", "external"
PREPROCESSING: dict[str, Any] = {"window_hu": [-1000, 400], "margin_mm": 10, "outside": "floor", "rim_mm": 5}
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
    "REDUCED: 24 x 48 x 48, channels 8-16-24-32, 12 epochs and 2 a round.", 600, 240, 120, 120, (24, 48, 48), TWIN,
    FitSettings(12, rate=1e-3, patience=12), FitSettings(2, rate=5e-4, patience=2),
)  # fmt: skip
WHOLE = Form(
    "64 x 128 x 128, channels 32-64-128-256, 80 epochs and 20 a round.", 1200, 240, 200, 300, (64, 128, 128), FULL,
    FitSettings(), FitSettings(20, rate=1e-4),
)  # fmt: skip
#: First seed of each cohort, apart from all that the network and its settings were chosen with.
SEEDS = {"read": 4_700_000, "calibration": 4_800_000, "fresh": 4_500_000, "external": 4_600_000}


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
    parser.add_argument("--data", type=Path, help="a site's own patients: folder with index.csv and the series it names")
    parser.add_argument("--round", type=int, default=0, help="with --data: rounds that have been answered (default 0)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="with --data: rounds planned (default 2)")
    parser.add_argument("--answers", type=Path, nargs="+", default=[], help="with --data: exports of the node, oldest first")
    parser.add_argument("--bundle", type=Path, help="bundle folder to write")
    parser.add_argument("--page", type=Path, help="a second place for report.md")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--date", default="2026-11-22", help="date written into the bundle; nothing reads the clock")
    return parser.parse_args(given)


def main(given: list[str] | None = None, form: Form | None = None) -> None:
    """Draw, read, train all arms, write every table, and the bundle where one is asked for."""
    options = arguments(given)
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    form = form or (QUICK if options.quick else WHOLE)
    preprocessing = {**PREPROCESSING, "size": list(form.size)}
    if options.data:
        print(of_site(options, form, preprocessing))
        say(f"{time.monotonic() - started:.0f} s, {sum(os.times()[:4]):.0f} s of CPU")
        return
    drawn = draw(form, preprocessing, options.out / "drawn", options.threads)
    say(f"{form.read + form.calibration + form.fresh + form.external} chests after {time.monotonic() - started:.0f} s")
    made, figures = study(drawn, form, options)
    of_network, points, temperature = network_figures(made, DRAWN)
    found = {**figures, **of_network}
    command = "python -m models.recipes.ct_ntm" + (" --quick" if options.quick else "")
    text = report.page(report.DRAWN_HEAD.format(command=command, form=form.words), found)
    (options.out / "metrics.json").write_text(as_json(found), encoding="utf-8")
    told = f"{worth(found, DRAWN.whom)} It proves nothing about patients."
    if options.bundle:
        bundle = bundles.write(
            options.bundle, made.trainer.load(made.outcomes[HITL].states[-1]), form.channels, preprocessing, made.learned[0],
            temperature, points, card_figures(found, "drawn patients"), told,
            {"command": command, "date": options.date, "seed": SEED, "epochs": found["epochs"],
             "split_sha256": found["split_hash"]},
            DRAWN,
        )  # fmt: skip
        text += f"\nBundle {bundle.label}.\n"  # its hash changes with every figure that is measured later
    for path in (options.out / "report.md", options.page):
        if path:
            path.write_text(text, encoding="utf-8")
    print(text)
    say(f"{told} {time.monotonic() - started:.0f} s, {sum(os.times()[:4]):.0f} s of CPU")


def of_site(options: argparse.Namespace, form: Form, preprocessing: Mapping[str, Any]) -> str:
    """Go as far as the site's answers have come; return the report. A mistake in the index ends with its line and its cure."""
    command = "python -m models.recipes.ct_ntm --data DIR" + (" --quick" if options.quick else "")
    asked = Asked(
        options.data, options.answers, options.round, options.rounds, options.out, options.bundle, options.date,
        command + (f" --round {options.round} --answers EXPORT" if options.round else ""),
    )  # fmt: skip
    base, fine = (replace(settings, threads=options.threads) for settings in (form.base, form.fine))
    try:
        return site_run(asked, SiteForm(form.words, preprocessing, form.channels, base, fine, form.resamples), say)
    except ValueError as error:
        raise SystemExit(f"ct_ntm: {error}") from error


def draw(form: Form, preprocessing: Mapping[str, Any], keep_in: Path, workers: int) -> Drawn:
    """Draw every cohort; no two share a seed."""

    def cohort(name: str, count: int, external: bool = False) -> PhantomCohort:
        return draw_cohort(SEEDS[name], count, preprocessing, keep_in, external, workers)

    return Drawn(
        cohort("read", form.read),
        cohort("calibration", form.calibration),
        cohort("fresh", form.fresh),
        cohort("external", form.external, external=True),
    )


def study(drawn: Drawn, form: Form, options: argparse.Namespace) -> tuple[Study, dict[str, Any]]:
    """Train every arm; return them with their test cohorts, and the figures of the cohort and of the readers."""
    cohort = drawn.read
    by_name = {str(name): n for n, name in enumerate(cohort.names)}
    lungs, lesions = ({name: part[n] for name, n in by_name.items()} for part in (cohort.lungs, cohort.lesions))
    readers = SimulatedReaders(PROFILES, cohort.evidence(), lesions, lungs, SEED)
    first = {name: readers.first_scores(name) for name in by_name}
    folds = divide([Case(name, name, scores) for name, scores in first.items()], ROUNDS)
    select_labels = np.array([int(np.mean(first[name]) > 0.5) for name in folds.validation], np.int64)
    trainer = Trainer(
        cohort, folds.validation, select_labels, form.channels, replace(form.base, threads=options.threads),
        replace(form.fine, threads=options.threads), options.out / "fits", say,
    )  # fmt: skip
    outcomes = {arm: run(arm, folds, first, lungs, trainer, readers.ask_again) for arm in ARMS}
    consensus = cohort.of(folds.test)
    learned = cohort.rows(outcomes[HITL].taught.names)
    made = Study(
        trainer,
        outcomes,
        folds,
        (cohort.volumes.of(learned), cohort.labels[learned]),
        (cohort.volumes.of(cohort.rows(folds.validation)), select_labels),
        {
            INTERNAL: replace(_place(consensus), consensus=True),
            FRESH: _place(drawn.fresh),
            EXTERNAL: _place(drawn.external),
        },
        _place(drawn.calibration),
        options.date,
        form.resamples,
    )
    figures = {
        "form": form.words,
        "cohort": cohort_figures(drawn, folds, first),
        "readers": reader_figures(outcomes, first, _truth(cohort), form.resamples),
        "not_computed": {},
    }
    return made, figures


def _place(cohort: PhantomCohort) -> Place:
    return Place(cohort.names.tolist(), cohort.volumes, cohort.labels, cohort.lesions)


def cohort_figures(drawn: Drawn, folds: Folds, first: Mapping[str, tuple[float, ...]]) -> dict[str, Any]:
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
    right = sum((np.mean(first[name]) > 0.5) == truth[name] for name in agreed)
    words = (
        f"Three readers looked at {len(first)} internal patients: {len(agreed)} consensus cases, of which the readers' side is "
        f"the drawn truth in {right}; {len(first) - len(agreed)} on which they differ. Truth below is always the drawn one; what "
        "trains is what readers said."
    )
    return {
        "words": words,
        "read": len(first),
        "consensus": len(agreed),
        "consensus_right": right,
        "low": len(first) - len(agreed),
        "parts": parts,
    }


def _truth(cohort: PhantomCohort) -> dict[str, int]:
    return {str(name): int(label) for name, label in zip(cohort.names, cohort.labels, strict=True)}


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
