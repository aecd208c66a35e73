"""``python -m models.training.through_node --bundle DIR``: draw, let the pipeline read, say; and write where asked."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from models.bundle import Bundle, load_bundle
from models.card import through_node as on_card
from models.training.amend import add_figures
from models.training.json_text import as_json
from models.training.through_node import ct_ntm, ct_pima_ipn
from models.training.through_node.figures import Cohort, Read, figures, read_all
from pipelines import ct_ntm as ct_ntm_pipeline
from pipelines import ct_pima_ipn as ct_pima_ipn_pipeline


class Kind(NamedTuple):
    """Who reads whom. ``words``: what a reader of the figures must know of the recipe's scans."""

    pipeline: ModuleType
    cohorts: Sequence[Cohort]
    words: str


KINDS = {
    "ct_ntm": Kind(ct_ntm_pipeline, ct_ntm.COHORTS, ct_ntm.WORDS),
    "ct_pima_ipn": Kind(ct_pima_ipn_pipeline, ct_pima_ipn.COHORTS, ct_pima_ipn.WORDS),
}


def main(given: list[str] | None = None) -> None:
    """Measure one bundle and print its section; nothing is kept without ``--write`` or ``--page``."""
    parser = argparse.ArgumentParser(prog="python -m models.training.through_node", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder of ct_ntm or ct_pima_ipn")
    parser.add_argument("--phantoms", type=int, default=200, help="patients of a cohort (default 200); of fine scans half as many")
    parser.add_argument("--write", action="store_true", help="put the figures into the bundle's card")
    parser.add_argument("--page", type=Path, help="evidence page whose section is written anew")
    options = parser.parse_args(given)
    found = measured(options.bundle, options.phantoms)
    text = "\n\n".join(on_card.section({"through_node": found}))
    print(text, flush=True)
    if options.write:
        add_figures(options.bundle, {"through_node": found})
    if options.page:
        options.page.write_text(with_section(options.page.read_text(encoding="utf-8"), text), encoding="utf-8")


def measured(folder: Path, phantoms: int, resamples: int = 10_000) -> dict[str, Any]:
    """Return what ``metrics.json`` keeps under ``through_node``."""
    bundle = load_bundle(folder)
    if bundle.name not in KINDS:
        raise SystemExit(f"{bundle.label}: drawn chests are there for {', '.join(KINDS)}")
    kind = KINDS[bundle.name]
    read = [read_all(cohort, cohort.seeds(phantoms), kind.pipeline, bundle) for cohort in kind.cohorts]
    return told(bundle, kind, read, resamples)


def told(bundle: Bundle, kind: Kind, read: Sequence[Sequence[Read]], resamples: int = 10_000) -> dict[str, Any]:
    """Return the figures of patients who were read, by cohort, as the card reads them."""
    found = {
        "command": f"python -m models.training.through_node --bundle DIR --phantoms {len(read[0])}",
        "words": kind.words,
        "finding": bundle.config["outputs"][0]["key"],
        "cohorts": [figures(cohort, patients, bundle, resamples) for cohort, patients in zip(kind.cohorts, read, strict=True)],
    }
    return dict(json.loads(as_json(found)))


def with_section(page: str, section: str) -> str:
    """Return the page with this section in place of the one of its heading; at its end where it has none."""
    without = re.sub(rf"\n{re.escape(on_card.HEADING)}\n.*?(?=\n## |\Z)", "", page, flags=re.DOTALL).rstrip("\n")
    return f"{without}\n\n{section}\n"


if __name__ == "__main__":
    main()
