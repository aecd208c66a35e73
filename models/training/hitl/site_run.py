"""The protocol on a site's own scans and readers, as far as answers have come: round 0, then a round an export.

``OUT`` keeps everything that the next call goes on from: scans that were read, finished trainings, ``protocol.json``. Each call
writes ``report.md``, ``metrics.json``, the bundle of its last round where one is asked for, and ``next.csv``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.hitl import bundle as bundles
from models.training.hitl import report, site_state, site_worklist
from models.training.hitl.bundle_texts import SITE
from models.training.hitl.cases import LEAST_READERS, is_consensus, soft_label
from models.training.hitl.figures import Place, Study, card_figures, network_figures, reader_figures, worth
from models.training.hitl.network import Trainer
from models.training.hitl.node_export import ExportedCase
from models.training.hitl.protocol import FIRST, HITL, Outcome, run
from models.training.hitl.site_answers import SecondLooks, first_reads, read_exports
from models.training.hitl.site_cohort import SiteCohort, read_scans
from models.training.hitl.site_index import READ, TEST, THRESHOLDS, Row, part_of, read_index, read_readers
from models.training.hitl.site_state import ProtocolState
from models.training.hitl.training import FitSettings
from models.training.json_text import as_json

INTERNAL, FRESH, EXTERNAL = "internal, consensus", "internal, whoever comes", "external"


@dataclass(frozen=True)
class SiteForm:
    """How the network is made. ``words``: its size, for the report."""

    words: str
    preprocessing: Mapping[str, Any]
    channels: tuple[int, int, int, int]
    base: FitSettings
    fine: FitSettings
    resamples: int = 10_000


@dataclass(frozen=True)
class Asked:
    """The command: where the index lies, exports with answers, rounds answered so far (``number``) and planned (``rounds``)."""

    data: Path
    answers: Sequence[Path]
    number: int
    rounds: int
    out: Path
    bundle: Path | None
    date: str
    command: str


def site_run(asked: Asked, form: SiteForm, say: Callable[[str], None]) -> str:
    """Train up to round ``asked.number``, write everything, and return the report.

    Raises
    ------
    ValueError
        The index or an export cannot be used, readers differ on too few, or a round before has not been run; with the cure.
    """
    rows = {row.patient: row for row in read_index(asked.data)}
    exports = read_exports(asked.answers, {row.export_id: row.patient for row in rows.values()}, read_readers(asked.data))
    state, first, parts, unused = _parts(asked, rows, exports)
    cohort = read_scans([rows[name] for name in parts], form.preprocessing, asked.out / "scans", say)
    state, told = _begin_or_go_on(asked, state, first, parts, cohort)
    unused += told
    lungs = {str(name): cohort.lungs[n] for n, name in enumerate(cohort.names)}
    scores, folds = state.scores(), state.folds
    labels = _sides(state)
    trainer = Trainer(cohort, folds.validation, labels, form.channels, form.base, form.fine, asked.out / "fits", say)
    looks = SecondLooks(cohort, exports, state.first, state.bundles)
    so_far = replace(folds, low=folds.low[: asked.number + 1])
    arms = (HITL, FIRST) if asked.number else (FIRST,)
    outcomes = {arm: run(arm, so_far, scores, lungs, trainer, looks.ask_again) for arm in arms}

    study = _study(asked, form, rows, parts, cohort, state, first, trainer, outcomes)
    network, points, temperature = network_figures(study, SITE)
    truth = {name: row.truth for name, row in rows.items() if row.truth is not None}
    found = {
        "form": form.words,
        "round": asked.number,
        "cohort": _cohort_figures(asked, rows, parts, study, state),
        "readers": reader_figures(outcomes, scores, truth, form.resamples),
        **network,
        "left_out": list(cohort.left_out),
        "unused": sorted({*unused, *looks.unused}),
    }
    found["not_computed"] = _not_computed(found, asked.number)
    last = outcomes[study.chief].states[-1]
    label = ""
    if asked.bundle:
        made = bundles.write(
            asked.bundle, trainer.load(last), form.channels, form.preprocessing, study.learned[0], temperature, points,
            card_figures(found, SITE.whom), worth(found, SITE.whom),
            {"command": asked.command, "date": asked.date, "seed": form.base.seed, "epochs": found["epochs"],
             "split_sha256": found["split_hash"]},
            SITE,
        )  # fmt: skip
        whole = site_state.load(asked.out) or state
        site_state.save(whole.with_bundle(asked.number, made.sha256), asked.out)
        label = f"Bundle {made.label}, hash {made.sha256}."
    coming: Sequence[str] = folds.low[asked.number + 1] if asked.number < asked.rounds else ()
    (asked.out / site_worklist.FILE).unlink(missing_ok=True)
    if coming:
        site_worklist.write(asked.out, coming, rows, cohort, outcomes[study.chief].scores, trainer.show(last, coming))
    text = report.page(_head(asked, form), found) + "\n".join(_tail(asked, found, coming, label))
    (asked.out / "metrics.json").write_text(as_json(found), encoding="utf-8")
    (asked.out / "report.md").write_text(text, encoding="utf-8")
    return text


def _parts(
    asked: Asked, rows: Mapping[str, Row], exports: Mapping[str, Sequence[ExportedCase]]
) -> tuple[ProtocolState | None, dict[str, dict[str, float]], dict[str, str], list[str]]:
    """Return what round 0 left, first reads, the part of each patient, and who has none."""
    state = site_state.load(asked.out)
    if asked.number and state is None:
        raise ValueError(f"{asked.out} holds no round 0: run without --round first, with the same --out")
    if not 0 <= asked.number <= asked.rounds:
        raise ValueError(f"round {asked.number} is none of 0 to {asked.rounds}")
    first = {name: {**first_reads(exports.get(name, ())), **row.first} for name, row in rows.items()}
    kept = set(state.first) if state else set()
    parts: dict[str, str] = {}
    unused = []
    for name, row in rows.items():
        part = READ if name in kept else part_of(row, first[name])
        if part == READ and state is not None and name not in kept:
            unused.append(f"{name}: came after round 0, whose folds stay as they were")
        elif part == READ and len(first[name]) < LEAST_READERS and name not in kept:
            unused.append(f"{name}: {len(first[name])} first reads; {LEAST_READERS} are needed")
        elif part in (TEST, THRESHOLDS) and _label(row, first[name]) is None:
            unused.append(f"{name}: for {part}, but neither a truth nor readers who agree")
        elif not part:
            unused.append(f"{name}: neither {LEAST_READERS} first reads nor a truth")
        else:
            parts[name] = part
    if not parts:
        raise ValueError(f"no patient of the index can be used: {'; '.join(unused[:3])}")
    return state, first, parts, unused


def _begin_or_go_on(
    asked: Asked,
    state: ProtocolState | None,
    first: Mapping[str, Mapping[str, float]],
    parts: Mapping[str, str],
    cohort: SiteCohort,
) -> tuple[ProtocolState, list[str]]:
    there = {str(name) for name in cohort.names}
    if state is None:
        state = site_state.begin(
            {name: first[name] for name, part in parts.items() if part == READ and name in there}, asked.rounds
        )
        if len(set(_sides(state).tolist())) < 2:
            agreed = len(state.folds.validation)
            raise ValueError(f"the {agreed} consensus patients who choose the epoch are all alike: read more, of both kinds")
        site_state.save(state, asked.out)
    if len(state.folds.low) != asked.rounds + 1:
        raise ValueError(f"round 0 planned {len(state.folds.low) - 1} rounds: give --rounds {len(state.folds.low) - 1}")
    gone = sorted(set(state.first) - there)
    return state.among(there), [f"{name}: was there in round 0, and is gone" for name in gone]


def _sides(state: ProtocolState) -> NDArray[np.int64]:
    """Return the side on which readers agree, of each validation patient."""
    scores = state.scores()
    return np.array([int(soft_label(scores[name]) > 0.5) for name in state.folds.validation], np.int64)


def _label(row: Row, first: Mapping[str, float]) -> int | None:
    """Return the truth; else the side on which three readers or more agree."""
    if row.truth is not None:
        return row.truth
    scores = tuple(first.values())
    return int(scores[0] > 0.5) if len(scores) >= LEAST_READERS and is_consensus(scores) else None


def _study(
    asked: Asked, form: SiteForm, rows: Mapping[str, Row], parts: Mapping[str, str], cohort: SiteCohort, state: ProtocolState,
    first: Mapping[str, Mapping[str, float]], trainer: Trainer, outcomes: Mapping[str, Outcome],
) -> Study:  # fmt: skip
    there = [str(name) for name in cohort.names]
    said = {**first, **state.first}

    def place(names: Sequence[str], consensus: bool = False) -> Place:
        labels = [_label(rows[name], said[name]) for name in names]
        known = [(name, label) for name, label in zip(names, labels, strict=True) if label is not None]
        chosen = [name for name, _ in known]
        y = np.array([label for _, label in known], np.int64)
        return Place(chosen, cohort.volumes.of(cohort.rows(chosen)), y, None, consensus)

    tests = [name for name in there if parts[name] == TEST]
    taught = outcomes[HITL if HITL in outcomes else FIRST].taught
    learned = np.array([int(taught.labels[name] > 0.5) for name in taught.names], np.int64)
    return Study(
        trainer,
        outcomes,
        state.folds,
        (cohort.volumes.of(cohort.rows(taught.names)), learned),
        (cohort.volumes.of(cohort.rows(state.folds.validation)), trainer.select_labels),
        {
            INTERNAL: place(state.folds.test, consensus=True),
            FRESH: place([name for name in tests if not rows[name].external]),
            EXTERNAL: place([name for name in tests if rows[name].external]),
        },
        place([name for name in there if parts[name] == THRESHOLDS]),
        asked.date,
        form.resamples,
    )


def _cohort_figures(
    asked: Asked, rows: Mapping[str, Row], parts: Mapping[str, str], study: Study, state: ProtocolState
) -> dict[str, Any]:
    scores, folds = state.scores(), state.folds
    agreed = [name for name, said in scores.items() if is_consensus(said)]
    proven = [name for name in agreed if rows[name].truth is not None]
    right = sum(int(soft_label(scores[name]) > 0.5) == rows[name].truth for name in proven)
    tested = [name for place in study.places.values() for name in place.names]
    by_truth = sum(rows[name].truth is not None for name in tested)
    words = (
        f"At least {LEAST_READERS} readers looked at {len(scores)} internal patients: {len(agreed)} consensus cases; "
        f"{len(scores) - len(agreed)} on which they differ. The truth is known of {len(proven)} consensus cases, and the readers' "
        f"side is the truth in {right} of them. Tests are judged by the truth in {by_truth} of {len(tested)} patients, by readers "
        f"who agree in the others. Folds 1 to {asked.rounds} are looked at again; answers are in for {asked.number} of them. With "
        "disease: by what the patients are judged or learned by."
    )
    sets = [
        *((f"consensus, {word}", names) for word, names in (("train", folds.train), ("validation", folds.validation))),
        *((f"readers differ, fold {n}", fold) for n, fold in enumerate(folds.low)),
    ]
    found = [(word, len(names), sum(soft_label(scores[name]) > 0.5 for name in names)) for word, names in sets]
    found += [(word, len(p.labels), int(p.labels.sum())) for word, p in (("thresholds", study.thresholds), *study.places.items())]
    return {"words": words, "read": len(scores), "consensus": len(agreed), "low": len(scores) - len(agreed), "parts": found}


def _not_computed(found: Mapping[str, Any], number: int) -> dict[str, str]:
    """Return by table why it is not there."""
    no_answers = "no round has been answered yet" if not number else "nobody looked again"
    why = {
        report.COMPARED: no_answers if not number else "no test cohort has enough patients",
        report.ENERGY: "nobody drew the disease in the test patients",
        report.READERS: no_answers,
        report.USEFUL: "the node's answers say whether a map lies at the right place, and nothing between 1 and 5",
        report.THRESHOLDS: "too few patients of part thresholds, or none to test on",
        report.CONTROL: "it needs readers who look again without the model; part of every change is looking again alone",
    }
    if found["readers"] and found["readers"][HITL]["automation"] is None:
        why[report.RIGHT] = "the truth of none of the cases looked at again is known"
    return why


def _head(asked: Asked, form: SiteForm) -> str:
    return (
        f"{report.TITLE}\n\nWritten by `{asked.command}`. RESEARCH USE ONLY. A site's own patients and readers, after round "
        f"{asked.number} of {asked.rounds}. {form.words}"
    )


def _tail(asked: Asked, found: Mapping[str, Any], coming: Sequence[str], label: str) -> list[str]:
    """Return what was left out, what was not used, and what to do next."""
    lines = []
    for title, listed in (("Left out", found["left_out"]), ("Not used", found["unused"])):
        lines += ["", f"## {title}", "", *(f"- {line}" for line in listed or ["nobody" if title == "Left out" else "nothing"])]
    lines += ["", "## What comes next", ""]
    if label:
        lines.append(f"- {label}")
    if coming:
        more = asked.number + 1
        put = "Put the bundle into the node" if label else "Write the bundle (`--bundle DIR/ct_ntm/X.Y.Z`), put it into the node"
        lines += [
            f"- {put} and let it read the {len(coming)} patients of `{site_worklist.FILE}` (fold {more}) again.",
            "- Their readers open each result, say how likely the disease is, and whether the map lies at the right place.",
            f"- Then `dicom-node learning export`, and this command with `--round {more} --answers EXPORT` and the same `--out`.",
        ]
    else:
        lines.append("- All planned rounds are answered: this is the last network.")
    return [*lines, ""]
