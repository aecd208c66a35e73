"""A cohort of drawn chests for ``cohort``: proves that the recipe works, and nothing about patients.

Each patient is five slices of 5 mm about one lesion, in a chest of its own: so much of a phantom is all that its three marked
slices need. The lungs are those that were drawn; the node has to find them. Half of the patients are of site A, half of site B (a
sharper kernel); the later half of each came with less noise; of one in ten the two kinds are drawn less unlike: a hard case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.phantoms.ct import IPN, PIMA, thorax
from models.phantoms.drawing import stream
from models.training.kept_fits import Arrays, kept
from models.training.side_by_side import side_by_side
from models.training.slices.cohort import Cohort, part_of, size_group
from models.training.slices.patient_tables import Patients
from pipelines.blocks.prepare_ct import prepare_slice

DRAWING = 2  # raised whenever other pictures would be drawn for the same seed: what was kept is then drawn anew
FIRST_SEED = 500_000  # tests and demonstrations draw from 0
FIRST_TEST_SEED = 1_100_000  # no training ever saw one of these, and no choice was made on them
SLICES, SLICE_MM = 5, 5.0
MARKED = 3
CHUNK = 50  # patients a file: a recipe that was stopped goes on at the last whole one


def from_phantoms(learn: int, test: int, preprocessing: Mapping[str, Any], keep_in: Path, processes: int = 1) -> Cohort:
    """Draw ``learn`` patients, parted by the keyed hash without its test part, and ``test`` others; what is kept is read."""
    chunks = [
        range(start, min(start + CHUNK, first + count))
        for first, count in ((FIRST_SEED, learn), (FIRST_TEST_SEED, test))
        for start in range(first, first + count, CHUNK)
    ]
    if processes > 1:
        side_by_side([partial(_kept_chunk, seeds, dict(preprocessing), keep_in) for seeds in chunks], processes)
    parts = [_kept_chunk(seeds, preprocessing, keep_in) for seeds in chunks]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    drawn = whole["seed"]
    names = np.array([f"phantom-{seed}" for seed in drawn])
    diameters = whole["diameter_mm"]
    kinds = {name: whole[name] for name in ("site", "period", "hard")}
    kinds["size"] = np.array([size_group(value) for value in diameters])
    return Cohort(
        Patients(names, whole["label"], {"diameter_mm": diameters}, kinds),
        np.array(["test" if seed >= FIRST_TEST_SEED else _learning_part(name) for seed, name in zip(drawn, names, strict=True)]),
        whole["lungs"],
        whole["around"],
        np.array([f"phantom-{seed}" for seed in whole["of_slice"]]),
        whole["places"],
        preprocessing,
    )


def _kept_chunk(seeds: range, preprocessing: Mapping[str, Any], keep_in: Path) -> Arrays:
    facts = {"drawing": DRAWING, "seeds": [seeds.start, seeds.stop], "preprocessing": dict(preprocessing)}
    return kept(keep_in, f"phantoms_{seeds.start}", facts, partial(_drawn, seeds, preprocessing))


def _learning_part(name: str) -> str:
    """Return the part of a patient of whom none is test: what would be test trains."""
    part = part_of(name)
    return "train" if part == "test" else part


def _drawn(seeds: Sequence[int], preprocessing: Mapping[str, Any]) -> Arrays:
    patients: list[dict[str, Any]] = []
    images: dict[str, list[NDArray[np.float16]]] = {"floor": [], "keep": []}
    places: list[tuple[int, int]] = []
    of_slice: list[int] = []
    for seed in seeds:
        about, volume, lungs, marked, place = draw(seed, float(preprocessing["pixel_mm"]), int(preprocessing["size"]))
        if not marked:  # the lesion lies between two slices
            continue
        patients.append(about)
        spacing = (SLICE_MM, float(preprocessing["pixel_mm"]), float(preprocessing["pixel_mm"]))
        for n in marked:
            for outside, found in images.items():
                prepared = prepare_slice(volume, spacing, lungs, n, {**preprocessing, "outside": outside})
                found.append(prepared.network_input[0, 0].astype(np.float16))
            places.append(place)
            of_slice.append(seed)
    columns = {name: np.array([one[name] for one in patients]) for name in patients[0]}
    return {
        **columns,
        "lungs": np.stack(images["floor"]),
        "around": np.stack(images["keep"]),
        "places": np.array(places, np.int64),
        "of_slice": np.array(of_slice, np.int64),
    }


class Who(NamedTuple):
    """Who a seed is, and how the chest was scanned. ``noise_hu``: of pixels and slabs that are means of finer ones."""

    kind: str
    site: str
    period: str
    hard: str
    noise_hu: float
    start_mm: float

    @property
    def clarity(self) -> float:
        """How far the two kinds differ."""
        return 0.6 if self.hard == "yes" else 1.0

    @property
    def kernel(self) -> str:
        """Site B's is sharper."""
        return "sharp" if self.site == "B" else "soft"


def who(seed: int) -> Who:
    """Return the patient of this seed."""
    rng = stream(seed, "ct cohort")
    kind, site = (PIMA, IPN)[int(rng.random() < 0.5)], "AB"[int(rng.random() < 0.5)]
    late, hard = bool(rng.random() < 0.5), bool(rng.random() < 0.1)
    noise = float(rng.uniform(5, 9) if late else rng.uniform(9, 14)) * (0.5 if site == "B" else 1.0)
    return Who(kind, site, "later" if late else "earlier", "yes" if hard else "no", noise, float(rng.uniform(-60, 60)))


def draw(
    seed: int, pixel_mm: float, size: int
) -> tuple[dict[str, Any], NDArray[np.float32], NDArray[np.uint8], list[int], tuple[int, int]]:
    """Return who the patient is, HU and lungs (slices, size, size), the marked slices, row and column of the lesion's middle."""
    about = who(seed)
    phantom = thorax(
        seed,
        slices=SLICES,
        size=size,
        spacing_mm=(SLICE_MM, pixel_mm, pixel_mm),
        start_mm=about.start_mm,
        nodules=(about.kind,),
        clarity=about.clarity,
        kernel=about.kernel,
        noise_hu=about.noise_hu,
    )
    lesion = phantom.nodules[0]
    areas = lesion.mask.sum((1, 2), dtype=np.int64)
    largest = [int(n) + lesion.box[0].start for n in np.argsort(-areas, kind="stable")[:MARKED] if areas[n]]
    told = {
        "seed": seed,
        "label": int(about.kind == PIMA),
        "diameter_mm": lesion.diameter_mm,
        "site": about.site,
        "period": about.period,
        "hard": about.hard,
    }
    row, column = (round(mm / pixel_mm + (size - 1) / 2) for mm in lesion.center[1:])
    return told, phantom.hu, phantom.lungs, sorted(largest), (row, column)
