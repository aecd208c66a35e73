"""What the bundle ``ct_pima_ipn`` reaches through the node: ``python -m models.training.slices.through_node --bundle DIR``.

Training and test slices come with the lungs as drawn. Here whole chests are drawn, written as DICOM and read by the pipeline as the
node runs it: header gates, series, volume, lungs, slices that were marked. Refused patients are counted, and left out of the AUC.
With ``--write`` the figures go into the bundle's card.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dicom_node.core.study import Study
from dicom_node.imaging.header import read_instance
from models.phantoms.ct import PIMA, CtPhantom, thorax
from models.phantoms.ct_dicom import as_series
from models.training.amend import add_figures
from models.training.markdown import interval
from models.training.slices.phantom_cohort import MARKED, SLICE_MM, who
from models.training.statistics import auc_by_patient
from pipelines import ct_pima_ipn

FIRST_SEED = 1_200_000  # neither the recipe's training nor its test part holds one of these
SLICES, SIZE = 60, 384  # 300 mm of chest at 5 mm; 1 mm in plane
TITLE = "Through the node, which finds the lungs itself"


def chest(seed: int, size: int) -> CtPhantom:
    """Return a whole chest of a patient as the recipe's are."""
    about = who(seed)
    return thorax(
        seed,
        slices=SLICES,
        size=size,
        nodules=(about.kind,),
        clarity=about.clarity,
        kernel=about.kernel,
        noise_hu=about.noise_hu,
    )


def read(phantom: CtPhantom, bundle: Path, seed: int) -> tuple[float | None, str]:
    """Return the patient's probability and "", or ``None`` and why the pipeline refused."""
    settings = ct_pima_ipn.Settings(allow_synthetic=True, threads=1, device="cpu")
    lesion = phantom.nodules[0]
    areas = lesion.mask.sum((1, 2), dtype=np.int64)
    shown = [int(n) + lesion.box[0].start for n in np.argsort(-areas, kind="stable")[:MARKED] if areas[n]]
    with TemporaryDirectory() as folder:
        instances = []
        for n, data_set in enumerate(as_series(phantom, seed=f"through node {seed}")):
            path = Path(folder) / f"{n}.dcm"
            data_set.save_as(path, enforce_file_format=True)
            instances.append(read_instance(path))
        upwards = sorted(instances, key=lambda instance: instance.facts.image_position_mm[2])
        marks = tuple((upwards[n].sop_instance_uid, None) for n in shown)
        study = Study("st_drawn", instances[0].study_instance_uid, tuple(instances), marks=marks)
        selection = ct_pima_ipn.select_images(study, settings)
        found = ct_pima_ipn.run(study, selection, {ct_pima_ipn.NAME: bundle}, "published", settings)
    if found.abstention:
        return None, found.abstention.reason
    assert {one.how for one in found.slices} == {"marked"}, "the marks were not read"
    return found.findings[0].probability, ""


def figures(seeds: Sequence[int], bundle: Path, size: int = SIZE, resamples: int = 10_000) -> dict[str, Any]:
    """Return AUC, patients and refusals by reason."""
    labels, scores, refused = [], [], Counter[str]()
    for seed in seeds:
        p, why = read(chest(seed, size), bundle, seed)
        if p is None:
            refused[why] += 1
            continue
        labels.append(int(who(seed).kind == PIMA))
        scores.append(p)
    y = np.array(labels)
    reached = auc_by_patient(y, np.array(scores), np.arange(len(y)), resamples)
    return {"patients": len(y), "pima": int(y.sum()), "auc": list(reached), "refused": dict(refused), "slice_mm": SLICE_MM}


def in_words(found: dict[str, Any]) -> str:
    """Return the figures in a sentence."""
    refused = ", ".join(f"{why}: {n}" for why, n in sorted(found["refused"].items())) or "none"
    return f"AUC {interval(found['auc'])} in {found['patients']} drawn patients ({found['pima']} PIMA); refused: {refused}"


def main() -> None:
    """Draw, read, say, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--phantoms", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="put the figures into the bundle's card")
    options = parser.parse_args()
    found = figures(range(FIRST_SEED, FIRST_SEED + options.phantoms), options.bundle)
    print(in_words(found))
    if options.write:
        metrics = json.loads((options.bundle / "metrics.json").read_text(encoding="utf-8"))
        tables = [told for told in metrics.get("tables", []) if told["title"] != TITLE]
        row = [f"{found['patients']} ({found['pima']})", interval(found["auc"]), str(sum(found["refused"].values()))]
        mine = {"title": TITLE, "text": "", "head": ["patients (PIMA)", "AUC", "refused"], "rows": [row]}
        add_figures(options.bundle, {"tables": [mine, *tables], "through_node": found})


if __name__ == "__main__":
    main()
