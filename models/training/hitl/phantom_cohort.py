"""Drawn chests with clinical data for the protocol: proves that it runs, and nothing about patients.

A patient has the disease or not; cavities, tree-in-bud and widened bronchi are more of it with the disease, and both kinds overlap:
where they do, readers differ. A third of all carry a nodule that has nothing to do with it. Smear, species, age and sex lean with
the disease, and each may be missing. Site B (``external``) has a sharper kernel, other patients, and more of its data missing.

Every patient has a body of their own, so no body that was learned from is tested on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.phantoms import ct_lesions
from models.phantoms.ct import IPN, CtPhantom, thorax
from models.phantoms.ct_grid import Grid
from models.phantoms.drawing import stream
from models.training.hitl.attention_target import share_of_cells
from models.training.hitl.training import Volumes
from models.training.kept_fits import Arrays, kept
from pipelines.blocks.clinical import SPECIES, Clinical, encoded
from pipelines.blocks.prepare_ct import prepare_volume

DRAWING = 3  # raised whenever other pictures would be drawn for the same seed
FIRST_SEED = 1_500_000  # tests and demonstrations draw from 0
CHUNK = 40
NOISE_HU = 8.0  # of voxels that are means of finer ones
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


def draw_cohort(first: int, count: int, preprocessing: Mapping[str, Any], keep_in: Path, external: bool = False) -> PhantomCohort:
    """Draw ``count`` patients from seed ``FIRST_SEED + first`` on; what was drawn before is read from ``keep_in``."""
    parts = []
    for start in range(FIRST_SEED + first, FIRST_SEED + first + count, CHUNK):
        seeds = range(start, min(start + CHUNK, FIRST_SEED + first + count))
        facts = {"drawing": DRAWING, "seeds": [seeds.start, seeds.stop], "external": external, "as": dict(preprocessing)}
        parts.append(kept(keep_in, f"ntm_{start}", facts, functools.partial(_drawn, seeds, preprocessing, external)))
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return PhantomCohort(
        np.array([f"phantom-{seed}" for seed in whole["seed"]]),
        Volumes(whole["image"], whole["clinical"]),
        whole["label"],
        whole["lungs"].astype(np.float32),
        whole["lesion"].astype(np.float32),
        whole["density"],
    )


def _drawn(seeds: Sequence[int], preprocessing: Mapping[str, Any], external: bool) -> Arrays:
    each = [draw(seed, preprocessing, external) for seed in seeds]
    return {name: np.stack([np.asarray(one[name]) for one in each]) for name in each[0]}


def draw(seed: int, preprocessing: Mapping[str, Any], external: bool) -> dict[str, Any]:
    """Return one patient: image float16 (D, H, W), lungs and lesion float16 (d, h, w), clinical (11,), label, density, seed."""
    about = _patient(seed, external)
    depth, _, width = (int(n) for n in preprocessing["size"])
    chest = _chest(seed, 3 * depth // 2, 3 * width // 2, external)
    hu, lungs = chest.hu, chest.lungs > 0
    grid = Grid((hu.shape[0], hu.shape[1], hu.shape[2]), chest.spacing_mm)
    disease = ct_lesions.tree_in_bud(hu, lungs, grid, stream(seed, "ct ntm"), about["density"])
    disease |= ct_lesions.cavities(hu, lungs, grid, stream(seed, "ct cavities"), about["cavities"])
    if about["nodule"]:
        rng = stream(seed, "ct nodules")
        across = ct_lesions.usual_diameter(IPN, rng)
        ct_lesions.nodule(hu, lungs, grid, rng, IPN, across, ct_lesions.place(lungs, grid, rng, across), 1.0)
    hu += stream(seed, "ct noise").standard_normal(hu.shape, np.float32) * np.float32(NOISE_HU * (2 if external else 1))
    prepared = prepare_volume(hu, chest.spacing_mm, chest.lungs, preprocessing)
    box = tuple(slice(*ends) for ends in prepared.record["box"])
    cells = tuple(int(n) // 4 for n in preprocessing["size"])
    return {
        "image": prepared.network_input[0, 0].astype(np.float16),
        "lungs": share_of_cells(lungs[box], cells),
        "lesion": share_of_cells(disease[box] > 0, cells),
        "clinical": encoded(about["clinical"]),
        "label": about["label"],
        "density": about["density"],
        "seed": seed,
    }


def _chest(seed: int, slices: int, size: int, external: bool) -> CtPhantom:
    """Return a healthy chest without noise, half as fine again as the network sees it: what is finer would be averaged away."""
    return thorax(
        seed, slices=slices, size=size, kernel="sharp" if external else "soft", scale=0.97 if external else 1.0, noise_hu=0
    )


def _patient(seed: int, external: bool) -> dict[str, Any]:
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
