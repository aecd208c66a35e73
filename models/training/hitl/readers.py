"""Physicians drawn by rule, to try the rounds from end to end: how well they see, how they lean, how far they believe a machine.

A reader perceives the evidence of a case (log-odds of the disease) with a lean of their own and an error; their score is its
sigmoid on the five-step scale. Looking again is a second perception with the same lean, and the mean of both counts: that alone
brings readers together, which is why a control without the model is needed. Both arms draw the same second look, so whatever they
differ in came from the model. Nothing here is evidence about people; every number is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.hitl.attention_target import Region
from models.training.hitl.cases import on_the_scale
from models.training.hitl.protocol import ReExamined, Scores, Shown

Floats = NDArray[np.float32]
#: A map is at the right place where its energy in the lesion is this many times what an even map over the lungs would have there.
RIGHT_PLACE = 1.5
MOST_LOGIT = 3.0  # a model that is certain says no more than this


@dataclass(frozen=True)
class Profile:
    """One reader. ``error``: standard deviation of what they perceive, in log-odds. ``lean``: added to it. ``belief``: which part
    of the model's log-odds they add to their own. ``jitter``: by how many cells a region they draw is displaced. ``draws``: how
    often they draw one where the map is not at the right place. ``strays``: error in judging a map, in doublings of its energy.
    """

    error: float = 1.2
    lean: float = 0.0
    belief: float = 0.3
    jitter: float = 1.0
    draws: float = 0.5
    strays: float = 0.5


PROFILES = (Profile(), Profile(error=1.4, lean=0.5, belief=0.5), Profile(error=1.1, lean=-0.5, belief=0.15))


@dataclass(frozen=True)
class SimulatedReaders:
    """``evidence``: log-odds of the disease by case. ``lesions``, ``lungs``: by case, on the grid of the targets, 0..1."""

    profiles: Sequence[Profile]
    evidence: Mapping[str, float]
    lesions: Mapping[str, Floats]
    lungs: Mapping[str, Floats]
    seed: int = 20

    def first_scores(self, name: str) -> Scores:
        """Return what each says of a case at the first look."""
        return tuple(float(on_the_scale(_sigmoid(self._perceived(name, j, 0)))) for j in range(len(self.profiles)))

    def ask_again(
        self, names: Sequence[str], before: Mapping[str, Scores], shown: Mapping[str, Shown] | None, number: int
    ) -> dict[str, ReExamined]:
        """Return what they say at the second look, with the model or without (``shown`` None); see ``protocol.AskAgain``."""
        return {name: self._again(name, None if shown is None else shown[name], number) for name in names}

    def _again(self, name: str, shown: Shown | None, number: int) -> ReExamined:
        scores, answers, regions, useful = [], [], [], []
        for j, profile in enumerate(self.profiles):
            considered = (self._perceived(name, j, 0) + self._perceived(name, j, number)) / 2
            if shown is not None:
                rng = _stream(self.seed, name, j, f"map {number}")
                gain = self._gain(name, shown.heatmap)
                answer = _answer(gain, profile, rng)
                p = float(np.clip(shown.probability, 1e-6, 1 - 1e-6))
                told = float(np.clip(np.log(p / (1 - p)), -MOST_LOGIT, MOST_LOGIT))
                considered += profile.belief * told * (1.0 if answer > 0 else 0.5)
                regions += self._drawn(name, shown.heatmap, answer, profile, rng)
                answers.append(answer)
                useful.append(_useful(gain, rng))
            scores.append(float(on_the_scale(_sigmoid(considered))))
        return ReExamined(tuple(scores), tuple(answers), tuple(regions), tuple(useful))

    def _perceived(self, name: str, reader: int, look: int) -> float:
        profile = self.profiles[reader]
        error = float(_stream(self.seed, name, reader, f"look {look}").normal(0, profile.error))
        return self.evidence[name] + profile.lean + error

    def _gain(self, name: str, heatmap: Floats) -> float | None:
        """Return the map's energy in the lesion over that of an even map; 0 without a lesion; ``None``: the map is empty."""
        lesion, lungs = self.lesions[name], self.lungs[name]
        inside = heatmap * (lungs > 0)
        if inside.sum() <= 0:
            return None
        even = float(lesion[lungs > 0].mean())
        return float((inside * lesion).sum() / inside.sum()) / even if even > 0 else 0.0

    def _drawn(self, name: str, heatmap: Floats, answer: int, profile: Profile, rng: np.random.Generator) -> list[Region]:
        draws, shift = rng.random() < profile.draws, rng.normal(0, profile.jitter, 3)
        if answer >= 0 or not draws:
            return []
        lesion = self.lesions[name]
        wanted = lesion > 0.5 * lesion.max() if lesion.max() > 0 else heatmap > 0.5 * heatmap.max()
        cells = np.argwhere(wanted)
        low, high = (np.round(ends + shift).astype(int) for ends in (cells.min(0), cells.max(0)))
        where = np.zeros(heatmap.shape, np.float32)
        box = tuple(slice(max(0, a), max(0, b + 1)) for a, b in zip(low, high, strict=True))
        where[box] = 1
        return [Region(where, 1 if lesion.max() > 0 else -1)] if where.any() else []


def _answer(gain: float | None, profile: Profile, rng: np.random.Generator) -> int:
    stray = float(rng.normal(0, profile.strays))
    if gain is None:
        return 0  # nothing is shown, so nothing can be at the wrong place
    return 1 if gain > 0 and np.log2(gain) + stray > np.log2(RIGHT_PLACE) else -1


def _useful(gain: float | None, rng: np.random.Generator) -> int:
    """Return 1..5: 3 for a map that shows nothing, more the better it hits."""
    middle = 3.0 if gain is None else 1.0 if gain <= 0 else 2.0 + float(np.clip(np.log2(gain), -1, 3))
    return int(np.clip(round(middle + float(rng.normal(0, 0.5))), 1, 5))


def _sigmoid(value: float) -> float:
    return float(0.5 * (1 + np.tanh(0.5 * value)))


def _stream(seed: int, name: str, reader: int, what: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}|{name}|{reader}|{what}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))
