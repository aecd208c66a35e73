"""One bundle of chest CT, measured: drawn patients, each cohort's figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from models.bundle import Bundle, load_bundle
from models.training.json_text import as_json
from models.training.side_by_side import side_by_side
from models.training.through_node import ct_ntm, ct_pima_ipn
from models.training.through_node.figures import Cohort, Read, figures, read_all
from pipelines import ct_ntm as ct_ntm_pipeline
from pipelines import ct_pima_ipn as ct_pima_ipn_pipeline


class Kind(NamedTuple):
    """Who reads whom. ``words``: what a reader of the figures must know of the recipe's scans."""

    pipeline: ModuleType
    cohorts: Sequence[Cohort]
    words: str


AT_ONCE = 10  # patients of a piece of work
KINDS = {
    "ct_ntm": Kind(ct_ntm_pipeline, ct_ntm.COHORTS, ct_ntm.WORDS),
    "ct_pima_ipn": Kind(ct_pima_ipn_pipeline, ct_pima_ipn.COHORTS, ct_pima_ipn.WORDS),
}


def measured(folder: Path, phantoms: int, resamples: int = 10_000, processes: int = 1) -> dict[str, Any]:
    """Return what ``metrics.json`` keeps under ``through_node``."""
    bundle = load_bundle(folder)
    if bundle.name not in KINDS:
        raise SystemExit(f"{bundle.label}: drawn chests are there for {', '.join(KINDS)}")
    kind = KINDS[bundle.name]
    each = [
        (n, seeds[at : at + AT_ONCE])
        for n, seeds in enumerate(cohort.seeds(phantoms) for cohort in kind.cohorts)
        for at in range(0, len(seeds), AT_ONCE)
    ]
    pieces = [partial(read_some, folder, n, seeds) for n, seeds in each]
    done = side_by_side(pieces, processes) if processes > 1 else [piece() for piece in pieces]
    read: list[list[Read]] = [[] for _ in kind.cohorts]
    for (n, _), some in zip(each, done, strict=True):
        read[n] += some
    return told(bundle, kind, read, resamples)


def read_some(folder: Path, cohort: int, seeds: range) -> list[Read]:
    """Draw and read these patients of a cohort, by its number."""
    bundle = load_bundle(folder)
    kind = KINDS[bundle.name]
    return read_all(kind.cohorts[cohort], seeds, kind.pipeline, bundle)


def told(bundle: Bundle, kind: Kind, read: Sequence[Sequence[Read]], resamples: int = 10_000) -> dict[str, Any]:
    """Return the figures of patients who were read, by cohort, as the card reads them."""
    found = {
        "command": f"python -m models.training.through_node --bundle DIR --phantoms {len(read[0])}",
        "words": kind.words,
        "finding": bundle.config["outputs"][0]["key"],
        "cohorts": [figures(cohort, patients, bundle, resamples) for cohort, patients in zip(kind.cohorts, read, strict=True)],
    }
    return dict(json.loads(as_json(found)))
