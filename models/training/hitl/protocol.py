"""The rounds: a base network; then show its maps on a fold nobody agreed on, ask again, learn from the answers, go on.

Round 0 learns from the consensus cases of the training part and the soft labels of fold 0. In round r = 1..R the network of round
r - 1 reads fold r; physicians see its probability and its map, say again how likely the disease is, and whether the map lies at the
right place; labels and attention targets are renewed, and the network is fine-tuned on the consensus cases and folds 0..r.

Two arms beside it tell what the model itself did. ``REREAD``: the same physicians look again without the model. ``FIRST``: nobody
looks again. All three learn from the same cases for the same number of epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.training.hitl.attention_target import Region, start, updated
from models.training.hitl.cases import soft_label
from models.training.hitl.folds import Folds

HITL, REREAD, FIRST = "with the model", "re-read without the model", "first reads only"
ARMS = (HITL, REREAD, FIRST)
Floats = NDArray[np.float32]
Scores = tuple[float, ...]


@dataclass(frozen=True)
class Shown:
    """What physicians see of one case: the probability, and the class map on the grid of the targets (0..1)."""

    probability: float
    heatmap: Floats


@dataclass(frozen=True)
class ReExamined:
    """What they say of it, a value a physician. ``answers``: +1, -1, 0 to the map. ``usefulness``: 1..5, 0 where not asked."""

    scores: Scores
    answers: tuple[int, ...] = ()
    regions: tuple[Region, ...] = ()
    usefulness: tuple[int, ...] = ()


@dataclass(frozen=True)
class Taught:
    """What a network learns from: names of cases with soft label, attention target, and whether its map was answered."""

    names: tuple[str, ...]
    labels: Mapping[str, float]
    targets: Mapping[str, Floats]
    answered: frozenset[str]


class Network(Protocol):
    """A network as the protocol needs it; a state is what ``learn`` returns."""

    def learn(self, before: Any | None, taught: Taught, number: int) -> Any:
        """Return the network of round ``number``, made from nothing (``before`` None) or from the one before."""

    def show(self, state: Any, names: Sequence[str]) -> dict[str, Shown]:
        """Return what it says of these cases."""


#: Asks the physicians again: names, what they said before, what the model shows (``None``: no model), number of the round.
AskAgain = Callable[[Sequence[str], Mapping[str, Scores], Mapping[str, Shown] | None, int], Mapping[str, ReExamined]]


@dataclass(frozen=True)
class Round:
    """One round of re-examination: what was said before, what was shown, what was said then."""

    number: int
    before: Mapping[str, Scores]
    shown: Mapping[str, Shown]
    after: Mapping[str, ReExamined]


@dataclass(frozen=True)
class Outcome:
    """One arm: its states after round 0..R, its rounds, and what was taught at the end."""

    arm: str
    states: tuple[Any, ...]
    rounds: tuple[Round, ...]
    taught: Taught
    scores: Mapping[str, Scores] = field(default_factory=dict)


def run(
    arm: str, folds: Folds, first: Mapping[str, Scores], lungs: Mapping[str, Floats], network: Network, ask_again: AskAgain
) -> Outcome:
    """Run one arm.

    Parameters
    ----------
    first
        First reads of every case that trains.
    lungs
        M of every such case, on the grid of the targets.

    Raises
    ------
    ValueError
        An unknown arm.
    """
    if arm not in ARMS:
        raise ValueError(f'arm "{arm}" is not known. Known: {", ".join(ARMS)}')
    scores = dict(first)
    targets = {name: start(lungs[name]) for name in (*folds.train, *(name for fold in folds.low for name in fold))}
    answered: set[str] = set()
    rounds: list[Round] = []

    def taught(count: int) -> Taught:
        names = (*folds.train, *(name for fold in folds.low[:count] for name in fold))
        labels = {name: soft_label(scores[name]) for name in names}
        return Taught(names, labels, {name: targets[name] for name in names}, frozenset(answered & set(names)))

    states = [network.learn(None, taught(1), 0)]
    for number, fold in enumerate(folds.low[1:], start=1):
        if arm != FIRST:
            before = {name: scores[name] for name in fold}
            shown = network.show(states[-1], fold) if arm == HITL else {}
            after = ask_again(fold, before, shown if arm == HITL else None, number)
            for name, said in after.items():
                scores[name] = said.scores
                if name in shown and (any(said.answers) or said.regions):
                    targets[name] = updated(targets[name], lungs[name], shown[name].heatmap, said.answers, said.regions)
                    answered.add(name)
            rounds.append(Round(number, before, shown, after))
        states.append(network.learn(states[-1], taught(number + 1), number))
    return Outcome(arm, tuple(states), tuple(rounds), taught(len(folds.low)), scores)
