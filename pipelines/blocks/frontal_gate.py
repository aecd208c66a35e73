"""Is this an upright frontal chest, by its pixels alone? A gate that was fitted, not typed: its numbers lie in the lung bundle.

The lung network was taught on chests alone and marks "lungs" in a knee too. What it marked (size, place, symmetry, certainty) and
the coarse greys of the picture, compared with the average chest as it stands and turned, go into a multinomial logistic regression
over five kinds of picture. A lying chest, a negative and a lateral view are told apart, so that the refusal can say what is wrong.

``gate.npz`` holds the numbers, ``gate.yaml`` their names, the thresholds and what they were chosen on;
``models/training/gates/fit.py`` makes both.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from pipelines.blocks.chest_template import likeness
from pipelines.blocks.lungs import Lungs

Floats = NDArray[np.float64]

FRONTAL, ROTATED, INVERTED, LATERAL, OTHER = KINDS = ("frontal", "rotated", "inverted", "lateral", "other")

#: Facts of the mask that are used (``lungs.LungFacts``), and of each of the two coarse pictures (``likenesses``).
MASK_FEATURES = (
    "area", "side", "main", "height", "confidence", "contrast", "parted", "symmetry", "cut_off", "tilt", "taper", "level", "aspect",
)  # fmt: skip
COARSE_FEATURES = ("upright", "on_its_side", "upside_down", "residual")
FEATURES = (*MASK_FEATURES, *(f"{name}_{where}" for where in ("box", "whole") for name in COARSE_FEATURES))
FARTHEST = 4.0  # standard deviations: what lies farther out counts as lying there, so that no single fact decides without bound

#: What is said of a picture of each kind: the key of ``core/abstentions.py`` and what makes it concrete.
REFUSALS = {
    ROTATED: ("rotated", "by its pixels it looks most like a chest on its side or upside down"),
    INVERTED: ("inverted", "by its pixels it looks most like the negative of a chest"),
    LATERAL: ("not_frontal", "by its pixels it looks most like a lateral or oblique view"),
    OTHER: ("lungs_not_found", "by its pixels it is no upright frontal chest"),
}


@dataclass(frozen=True)
class CoarseModel:
    """What coarse pictures of chests look like. ``average``: (16, 16). ``components``: (k, 256), orthonormal rows."""

    average: Floats
    components: Floats

    def residual(self, patch: Floats) -> float:
        """Return how much of the picture the components cannot draw: the length of the rest, 0 to about 1."""
        away = (patch - self.average).ravel()
        return float(np.linalg.norm(away - self.components.T @ (self.components @ away)))


@dataclass(frozen=True)
class Judged:
    """What the gate says. ``probabilities``: by kind, sum 1."""

    probabilities: Mapping[str, float]

    @property
    def frontal(self) -> float:
        """How likely an upright frontal chest, among the kinds of picture that the gate was fitted on."""
        return self.probabilities[FRONTAL]

    @property
    def pretends(self) -> str:
        """The kind that is likelier than all the rest together, frontal apart; ``other`` where there is none."""
        rest = 1 - self.frontal
        return next((kind for kind in KINDS if kind != FRONTAL and self.probabilities[kind] > rest / 2), OTHER)


@dataclass(frozen=True)
class FrontalGate:
    """The fitted gate. ``mean``, ``scale``: (f,). ``weights``: (kinds, 2 f), of the standardised features and their squares.

    ``thresholds``: the least probability of a frontal chest where the header states chest and view (``stated``), and where it is
    silent (``silent``).
    """

    box: CoarseModel
    whole: CoarseModel
    mean: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    thresholds: Mapping[str, float]

    def judge(self, lungs: Lungs) -> Judged:
        """Return how likely the picture is of each kind."""
        scores = self.weights @ expanded(features(lungs, self.box, self.whole), self.mean, self.scale) + self.bias
        shares = np.exp(scores - scores.max())
        return Judged(dict(zip(KINDS, (float(p) for p in shares / shares.sum()), strict=True)))

    def refusal(self, judged: Judged, *, stated: bool) -> tuple[str, str]:
        """Return the coded reason to refuse and its detail, or ``("", "")``. ``stated``: the header says chest, and which view."""
        if judged.frontal >= self.thresholds["stated" if stated else "silent"]:
            return "", ""
        return REFUSALS[judged.pretends]


def features(lungs: Lungs, box: CoarseModel, whole: CoarseModel) -> Floats:
    """Return the numbers that are judged, in the order of ``FEATURES``."""
    of_mask = [float(getattr(lungs.facts, name)) for name in MASK_FEATURES]
    return np.array([*of_mask, *likenesses(lungs.in_box, box), *likenesses(lungs.in_whole, whole)])


def likenesses(patch: Floats, model: CoarseModel) -> tuple[float, float, float, float]:
    """Return the correlation with the average chest: upright, on its side (the better of two), upside down; and the residual."""
    turned = max(likeness(np.rot90(patch, turns), model.average) for turns in (1, 3))
    return likeness(patch, model.average), turned, likeness(patch[::-1], model.average), model.residual(patch)


def expanded(values: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return the standardised features, bounded, and their squares: a fact may be too small or too large. (…, f) -> (…, 2 f)."""
    z = np.clip((values - mean) / scale, -FARTHEST, FARTHEST)
    return np.concatenate([z, z * z], axis=-1)


@functools.lru_cache(maxsize=8)
def load_gate(folder: Path, _bundle_sha256: str) -> FrontalGate | None:
    """Return the gate of a lung bundle; ``None`` where it has none (then a silent header is not judged, but refused)."""
    if not (folder / "gate.npz").exists():
        return None
    said = yaml.safe_load((folder / "gate.yaml").read_text(encoding="utf-8"))
    with np.load(folder / "gate.npz", allow_pickle=False) as stored:
        held = {name: np.asarray(stored[name], np.float64) for name in stored.files}
    if tuple(said["features"]) != FEATURES or tuple(said["kinds"]) != KINDS:
        raise ValueError(f"{folder.name}: gate.yaml names other features or kinds than this version computes")
    return FrontalGate(
        CoarseModel(held["average_box"], held["components_box"]),
        CoarseModel(held["average_whole"], held["components_whole"]),
        held["mean"],
        held["scale"],
        held["weights"],
        held["bias"],
        {name: float(value) for name, value in said["thresholds"].items()},
    )
