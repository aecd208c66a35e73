"""Train SE-DAS ResNet-50 for PIMA or IPN: ``python -m models.recipes.ct_pima_ipn (--data DIR | --phantoms N) --out DIR``.

``DIR`` is a site's own data (``training/slices/cohort.py`` says how it is indexed); ``--phantoms`` draws a cohort instead, which
proves the recipe and nothing about patients. Eight variants, cross-validation, held-out sites; every table goes to ``report.md``
and ``metrics.json``. A run that was stopped goes on where it was.

Full form (the paper's): width 64, 512 x 512 at 0.7 mm, up to 100 epochs, for a GPU; start from ImageNet with ``--weights``.
``--quick``: width 8 and squares of 90 mm, and every table says so; 14 minutes on two cores that had other work as well. A small
network that starts from nothing does not find so small a thing in a whole slice: it sees a square about the thickest dense piece of
each marked slice, which the node finds (``prepare_ct``). Where the lesion's middle is told, as in drawn chests, it first learns
from squares about that.
``--bundle DIR`` writes the full variant as a bundle; ``--bundle-only`` trains nothing else.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from models.training.calibrate import fit_temperature
from models.training.json_text import as_json
from models.training.slices import report
from models.training.slices.bundle import write_bundle
from models.training.slices.cohort import Cohort, Square, from_index
from models.training.slices.loop import FitSettings
from models.training.slices.patient_report import plot_calibration
from models.training.slices.patient_tables import ablation
from models.training.slices.phantom_cohort import from_phantoms
from models.training.slices.side_by_side import train_side_by_side
from models.training.slices.study import (
    FULL,
    VARIANTS,
    WITHIN,
    Form,
    Trained,
    Variant,
    Wanted,
    cross_validated,
    fold_trainings,
    site_trainings,
    thumbnail_scores,
    train,
)

WINDOW = {"window": {"level": -600, "width": 1500}, "outside": "floor", "slab_mm": 5.0}
FULL_FORM = {**WINDOW, "pixel_mm": 0.7, "size": 512}
QUICK_FORM = {**WINDOW, "pixel_mm": 1.4, "size": 224}
SIDE = 64  # pixels of 1.4 mm
QUICK = FitSettings(12, 32, 2e-3, 2e-3, 1e-2, 1, 12)
QUICK_FOLDS = FitSettings(8, 32, 2e-3, 2e-3, 1e-2, 1, 8)
AS_FOUND = FitSettings(5, 32, 1e-3, 1e-3, 1e-2, 1, 5)
FOLDS = 5


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help="folder with index.csv and the series it names")
    source.add_argument("--phantoms", type=int, help="drawn patients to learn from (default 600)")
    parser.add_argument("--test-phantoms", type=int, default=200, help="drawn patients for the test part")
    parser.add_argument("--quick", action="store_true", help="reduced width and size")
    parser.add_argument("--out", type=Path, required=True, help="folder for results; finished trainings in it are not repeated")
    parser.add_argument("--bundle", type=Path, help="bundle folder to write")
    parser.add_argument("--bundle-only", action="store_true", help="train the full variant alone")
    parser.add_argument("--within", action="store_true", help="also train other ways to join the two gates, and each gate alone")
    parser.add_argument("--page", type=Path, help="a second place for report.md")
    parser.add_argument("--weights", type=Path, help="ResNet-50 weights (safetensors) to start from, full form only")
    parser.add_argument(
        "--threads", type=int, default=2, help="of the first network; the others train so many at a time, on one each"
    )
    parser.add_argument("--date", default="2026-11-21", help="date written into the bundle; nothing reads the clock")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    """Train, compare, write every table, and the bundle where one is asked for."""
    options = arguments(given)
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    preprocessing = QUICK_FORM if options.quick else FULL_FORM
    if options.data:
        cohort = from_index(options.data, preprocessing)
    else:
        cohort = from_phantoms(
            options.phantoms or 600, options.test_phantoms, preprocessing, options.out / "drawn", options.threads
        )
    form = form_of(options)
    say(f"{len(cohort.about.names)} patients, {len(cohort.patients)} slices, after {time.monotonic() - started:.0f} s")
    full = train_full(cohort, form, options)
    found: dict[str, Any] = {"counts": report.counts(cohort, "drawn" if options.data is None else "site")}
    pages = []
    if not options.bundle_only:
        found |= study(cohort, form, full, options)
        pages.append(report.ablation_section(found["variants"], form.words))
        if options.within:
            found["within"] = within(cohort, form, full, options)
            pages.append(report.within_section(found["within"], form.words))
        pages.append(report.generalisation_section(found, words_of(options, folds_settings(options, form).epochs)))
    found |= report.cohort_figures(cohort)
    pages = [title(options), report.cohort_section(found, found["counts"]), *pages]
    final, final_form = as_found(cohort, full, form, options)
    _, thumbs = thumbnail_scores(cohort, final_form, cohort.named("test"))
    found["final"] = report.figures(cohort, {FULL: final}, FULL, thumbs, temperature_of(cohort, final))
    pages.append(report.network_section(found["final"], f"{FULL}: the test part", final_form.words))
    plot_calibration(found["final"]["calibration"]["after"], "patients of the test part", options.out / "calibration.png")
    if options.bundle:
        bundle = write_bundle(cohort, final, final_form, found["final"], found, options)
        pages.append(f"The bundle {bundle.label} is the network of the last section.")
    (options.out / "metrics.json").write_text(as_json(found), encoding="utf-8")
    text = "\n\n".join(pages) + "\n"
    for path in (options.out / "report.md", options.page):
        if path:
            path.write_text(text, encoding="utf-8")
    print(text)
    say(f"{report.summary(found['final'])}; {time.monotonic() - started:.0f} s")


def form_of(options: argparse.Namespace) -> Form:
    """Return how large the study is."""
    weights = load_file(options.weights) if options.weights else None
    if not options.quick:
        settings = FitSettings(threads=options.threads)
        return Form(words_of(options, settings.epochs), 64, None, None, settings, weights)
    if weights is not None:
        raise SystemExit("--weights are of the full width: not with --quick")
    learn = Square(SIDE, told=options.data is None)
    return Form(words_of(options, QUICK.epochs), 8, learn, Square(SIDE, told=False), replace(QUICK, threads=options.threads))


def words_of(options: argparse.Namespace, epochs: int) -> str:
    """Return what a reader of a table must know of its trainings."""
    if not options.quick:
        return f"Width 64, 512 x 512 at 0.7 mm, at most {epochs} epochs."
    words = f"REDUCED: width 8 of 64, squares of 90 mm (64 x 64 at 1.4 mm), {epochs} epochs."
    if not options.data:
        words += " Learnt from squares about the lesion, judged as the node cuts them. Drawn chests: no patient."
    return words


def folds_settings(options: argparse.Namespace, form: Form) -> FitSettings:
    """Return how the networks of folds and held-out sites are trained: in the reduced form there are many, so shorter."""
    return replace(QUICK_FOLDS, threads=options.threads) if options.quick else form.settings


def parts_of(cohort: Cohort) -> tuple[list[str], list[str], list[str]]:
    """Return who is learnt from, who chooses the epoch, and who is then scored."""
    return cohort.named("train"), cohort.named("selection"), cohort.named("selection", "calibration", "test")


def train_full(cohort: Cohort, form: Form, options: argparse.Namespace) -> Trained:
    """Return the full variant."""
    return train(cohort, variant_of(cohort, FULL, VARIANTS[FULL], form), options.out / "fits", say)


def variant_of(cohort: Cohort, name: str, variant: Variant, form: Form) -> Wanted:
    """Return the training of one row."""
    return Wanted(_file(name), variant, parts_of(cohort), form)


def study(cohort: Cohort, form: Form, full: Trained, options: argparse.Namespace) -> dict[str, Any]:
    """Return every figure of the ablation, the folds and the sites."""
    fits = options.out / "fits"
    rows = {name: variant_of(cohort, name, variant, form) for name, variant in VARIANTS.items() if name != FULL}
    folds_form = replace(form, settings=folds_settings(options, form))
    folds = fold_trainings(cohort, VARIANTS[FULL], folds_form, FOLDS)
    sites = site_trainings(cohort, VARIANTS[FULL], folds_form)
    train_side_by_side(cohort, [*rows.values(), *folds, *sites.values()], fits, options.threads)
    trained = {name: train(cohort, one, fits, say) for name, one in rows.items()} | {FULL: full}
    crossed = cross_validated(cohort, folds, fits, say)
    elsewhere = {name: train(cohort, one, fits, say).of_patients(list(one.parts[2])) for name, one in sites.items()}
    _, thumbs = thumbnail_scores(cohort, form, cohort.named("test"))
    found = report.generalisation_figures(cohort, crossed, elsewhere)
    found["variants"] = report.figures(cohort, trained, FULL, thumbs, temperature_of(cohort, full))
    found["seconds"] = {name: one.seconds for name, one in trained.items()}
    return found


def within(cohort: Cohort, form: Form, full: Trained, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of what the paper leaves open, beside the full variant."""
    fits = options.out / "fits"
    rows = {name: variant_of(cohort, name, variant, form) for name, variant in WITHIN.items()}
    train_side_by_side(cohort, list(rows.values()), fits, options.threads)
    test = cohort.named("test")
    scores = {FULL: full.of_patients(test)}
    scores |= {name: train(cohort, one, fits, say).of_patients(test) for name, one in rows.items()}
    return ablation(cohort.labels_of(test), scores, FULL, report.THRESHOLD)


def as_found(cohort: Cohort, full: Trained, form: Form, options: argparse.Namespace) -> tuple[Trained, Form]:
    """Return the full variant, trained further on what the node will show it where it was not trained on that."""
    if form.learn == form.judge:
        return full, form
    words = (
        f"REDUCED: width 8 of 64, squares of 90 mm (64 x 64 at 1.4 mm): {form.settings.epochs} epochs about the lesion, then "
        f"{AS_FOUND.epochs} as the node cuts them. Drawn chests: no patient."
    )
    stage = replace(form, words=words, learn=form.judge, settings=replace(AS_FOUND, threads=options.threads))
    wanted = variant_of(cohort, "as_found", VARIANTS[FULL], stage)._replace(start=full.state)
    return train(cohort, wanted, options.out / "fits", say), stage


def temperature_of(cohort: Cohort, trained: Trained) -> float:
    """Return the temperature of the selection part's slices: it is applied to slices, of which the mean is taken."""
    mine = [n for n, name in enumerate(trained.patients.tolist()) if name in set(cohort.named("selection"))]
    return fit_temperature(cohort.labels_of(trained.patients[mine].tolist()), trained.logits[mine])


def title(options: argparse.Namespace) -> str:
    """Return the head of the page."""
    command = "python -m models.recipes.ct_pima_ipn"
    command += "".join(f" --{word.replace('_', '-')}" for word in ("quick", "bundle_only", "within") if getattr(options, word))
    what = (
        "Drawn chests (`models/phantoms`): these figures prove that the recipe works, and nothing about patients."
        if options.data is None
        else "A site's own data."
    )
    return f"# PIMA or IPN on chest CT: what the network reaches\n\nWritten by `{command}`. RESEARCH USE ONLY. {what}"


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def _file(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).strip("_").lower()


if __name__ == "__main__":
    main()
