"""Drawn chests with clinical data for the protocol: proves that it runs, and nothing about patients.

A patient has the disease or not; cavities, tree-in-bud and widened bronchi are more of it with the disease, and both kinds overlap:
where they do, readers differ. A third of all carry a nodule that has nothing to do with it. Smear, species, age and sex lean with
the disease, and each may be missing. Site B (``external``) has a sharper kernel, other patients, and more of its data missing.

Every patient has a body of their own, so no body that was learned from is tested on, and a scan finer than the network's grid, in
which the node's own module finds the lungs: a network that learned from exact masks takes the rim of found ones for disease.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.imaging.volume import SliceRef, Volume
from models.phantoms.ct import IPN, CtPhantom, thick, thorax
from models.phantoms.drawing import stream
from models.training.hitl.attention_target import share_of_cells
from models.training.hitl.training import Volumes
from models.training.kept_fits import Arrays, kept
from models.training.side_by_side import side_by_side
from pipelines.blocks.clinical import SPECIES, Clinical, encoded
from pipelines.blocks.lungs_ct import find_lungs
from pipelines.blocks.prepare_ct import prepare_volume

DRAWING = 5  # raised whenever other pictures would be drawn for the same seed
FIRST_SEED = 1_500_000  # tests and demonstrations draw from 0
CHUNK = 40
SLICES, PIXELS = (44, 73), (88, 133)  # of 300 mm and of 380 mm
NOISE_HU = (6.0, 18.0)
#: Log-odds of the disease that a perfect reader sees at a density, and the density at which nobody can tell.
STEEPNESS, EVEN = 11.0, 0.42


@dataclass(frozen=True)
class PhantomCohort:
    """n patients. ``lungs``, ``lesions``: float32 (n, d, h, w), the share of each cell that they fill. ``density``: (n,)."""

    names: NDArray[np.str_]
    volumes: Volumes
    labels: NDArray[np.int64]
    lungs: NDArray[np.float32]
    lesions: NDArray[np.float32]
    density: NDArray[np.float64]

    def evidence(self) -> dict[str, float]:
        """Return what a perfect reader perceives, in log-odds, by name."""
        return {str(n): STEEPNESS * (float(d) - EVEN) for n, d in zip(self.names, self.density, strict=True)}

    def rows(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Return where these cases stand, in the order given."""
        place = {str(name): n for n, name in enumerate(self.names)}
        return np.array([place[name] for name in names], np.intp)

    def of(self, names: Sequence[str]) -> PhantomCohort:
        """Return some of them as a cohort of their own."""
        rows = self.rows(names)
        return PhantomCohort(
            self.names[rows],
            self.volumes.of(rows),
            self.labels[rows],
            self.lungs[rows],
            self.lesions[rows],
            self.density[rows],
        )


def draw_cohort(
    first: int, count: int, preprocessing: Mapping[str, Any], keep_in: Path, external: bool = False, workers: int = 1
) -> PhantomCohort:
    """Draw ``count`` patients from seed ``FIRST_SEED + first`` on, in ``workers`` processes; what was drawn before is read."""
    start, stop = FIRST_SEED + first, FIRST_SEED + first + count
    chunks = [range(n, min(n + CHUNK, stop)) for n in range(start, stop, CHUNK)]
    drawn = functools.partial(_kept_chunk, preprocessing, keep_in, external)
    if workers > 1:
        side_by_side([functools.partial(drawn, chunk) for chunk in chunks], workers)
    parts = [drawn(chunk) for chunk in chunks]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return PhantomCohort(
        np.array([f"phantom-{seed}" for seed in whole["seed"]]),
        Volumes(whole["image"], whole["clinical"]),
        whole["label"],
        whole["lungs"].astype(np.float32),
        whole["lesion"].astype(np.float32),
        whole["density"],
    )


def _kept_chunk(preprocessing: Mapping[str, Any], keep_in: Path, external: bool, seeds: range) -> Arrays:
    facts = {"drawing": DRAWING, "seeds": [seeds.start, seeds.stop], "external": external, "as": dict(preprocessing)}
    return kept(keep_in, f"ntm_{seeds.start}", facts, lambda: _drawn(seeds, preprocessing, external))


def _drawn(seeds: Sequence[int], preprocessing: Mapping[str, Any], external: bool) -> Arrays:
    each = [draw(seed, preprocessing, external) for seed in seeds]
    return {name: np.stack([np.asarray(one[name]) for one in each]) for name in each[0]}


def draw(seed: int, preprocessing: Mapping[str, Any], external: bool) -> dict[str, Any]:
    """Return one patient: ``as_learned`` of a scan, clinical (11,), label, density, seed."""
    about = patient(seed, external)
    return {
        **as_learned(scanned(seed, about, external), preprocessing),
        "clinical": encoded(about["clinical"]),
        "label": about["label"],
        "density": about["density"],
        "seed": seed,
    }


def as_learned(chest: CtPhantom, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is learned from one scan: image float16 (D, H, W), lungs and lesion float16 (d, h, w)."""
    found = find_lungs(Volume(chest.hu, chest.spacing_mm, tuple(SliceRef("", n, 0.0) for n in range(len(chest.hu)))))
    lungs = chest.lungs if found.problem else found.sides
    prepared = prepare_volume(chest.hu, chest.spacing_mm, lungs, preprocessing)
    box = tuple(slice(*ends) for ends in prepared.record["box"])
    cells = [int(n) // 4 for n in preprocessing["size"]]
    return {
        "image": prepared.network_input[0, 0].astype(np.float16),
        "lungs": share_of_cells(lungs[box] > 0, cells),
        "lesion": share_of_cells((chest.disease[box] > 0) & (lungs[box] > 0), cells),
    }


def scanned(
    seed: int, about: Mapping[str, Any], external: bool, grid: tuple[int, int] | None = None, slab: int | None = None
) -> CtPhantom:
    """Return the patient as one of many scanners sees them: slices, pixels, noise and what a slice is are each scan's own.

    ``grid``: slices, and rows and columns of each, instead of the scan's own; noise is white, so its standard deviation grows as
    the voxels shrink, and in the same volume there is as much of it. ``slab``: each slice is the mean of so many planes, as a
    scanner's is over its thickness, so that the border of the lungs is blurred along the body; default: of one or two.
    """
    rng = stream(seed, "ntm scanner")
    slices, size, noise = int(rng.integers(*SLICES)), int(rng.integers(*PIXELS)), float(rng.uniform(*NOISE_HU))
    planes = int(rng.integers(1, 3)) if slab is None else slab
    if grid is not None:
        noise *= float(np.sqrt(grid[0] * grid[1] ** 2 / (slices * size**2)))
        slices, size = grid
    chest = thorax(
        seed,
        slices=slices * planes,
        size=size,
        nodules=(IPN,) if about["nodule"] else (),
        ntm=about["density"],
        cavities=about["cavities"],
        kernel="sharp" if external else "soft",
        scale=0.97 if external else 1.0,
        noise_hu=noise * float(np.sqrt(planes)),
    )
    return thick(chest, planes) if planes > 1 else chest


def patient(seed: int, external: bool) -> dict[str, Any]:
    """Return who this is: label, how plain the disease is, and what the clinic and the laboratory know."""
    rng = stream(seed, "ntm patient")
    ill = bool(rng.random() < 0.5)
    density = float(rng.beta(4.0, 2.2) if ill else rng.beta(1.6, 5.5))
    age = float(np.clip(rng.normal(66 if ill else 61, 11), 20, 95)) + (3 if external else 0)
    sex = "F" if rng.random() < (0.62 if ill else 0.48) else "M"
    smear = int(np.clip(rng.poisson(1.5 if ill else 0.7), 0, 4))
    species = SPECIES[int(rng.choice(4, p=(0.5, 0.25, 0.1, 0.15) if ill else (0.35, 0.2, 0.1, 0.35)))]
    gone = rng.random(4) < np.array([0.02, 0.02, 0.35, 0.35] if external else [0.02, 0.02, 0.2, 0.2])
    clinical = Clinical(None if gone[0] else age, "" if gone[1] else sex, None if gone[2] else smear, "" if gone[3] else species)
    return {
        "label": int(ill),
        "density": density,
        "cavities": int(8 * density + rng.random()),
        "nodule": bool(rng.random() < 1 / 3),
        "clinical": clinical,
    }
