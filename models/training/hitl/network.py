"""The 3D network as the protocol needs it: learns a lesson, shows what it says. A training that was finished is not repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.calibrate import sigmoid
from models.training.hitl.protocol import Shown, Taught
from models.training.hitl.training import FitSettings, Lesson, Volumes, fit, logits_of, maps_of
from models.training.kept_fits import Arrays, digest_of, kept
from models.zoo.ntm_cnn3d import NtmCnn3d


class Cohort(Protocol):
    """Patients as the network gets them, drawn or a site's own. ``lungs``: float32 (n, d, h, w), the share of each cell."""

    @property
    def volumes(self) -> Volumes:
        """What the network gets of each."""

    @property
    def lungs(self) -> NDArray[np.float32]:
        """Where their lungs are."""

    def rows(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Return where these patients stand, in the order given."""


@dataclass(frozen=True)
class Trainer:
    """See ``protocol.Network``; a state is the network's arrays by name.

    ``select``, ``select_labels``: the validation patients, who choose the epoch. ``base``, ``fine``: how round 0 and the later ones
    are trained. ``keep_in``: where finished trainings lie.
    """

    cohort: Cohort
    select: Sequence[str]
    select_labels: NDArray[np.int64]
    channels: tuple[int, int, int, int]
    base: FitSettings
    fine: FitSettings
    keep_in: Path
    say: Callable[[str], None] = print

    def learn(self, before: Arrays | None, taught: Taught, number: int) -> Arrays:
        """Return the network of round ``number``."""
        rows = self.cohort.rows(taught.names)
        lesson = Lesson(
            self.cohort.volumes.of(rows),
            np.array([taught.labels[name] for name in taught.names]),
            np.stack([taught.targets[name] for name in taught.names]),
            np.array([float(name in taught.answered) for name in taught.names], np.float32),
        )
        settings = self.fine if before else self.base
        facts = {
            "channels": list(self.channels),
            "settings": {name: value for name, value in asdict(settings).items() if name != "threads"},
            "lesson": digest_of(lesson.volumes.images, lesson.volumes.clinical, lesson.labels, lesson.targets, lesson.answered),
            "select": digest_of(self.cohort.rows(self.select), self.select_labels),
            "before": digest_of(*(before[name] for name in sorted(before))) if before else "",
        }

        def make() -> Arrays:
            torch.manual_seed(settings.seed)
            net = NtmCnn3d(self.channels)
            if before:
                net = self.load(before)
            select = self.cohort.volumes.of(self.cohort.rows(self.select))
            net, history = fit(net, lesson, select, self.select_labels, settings, lambda text: self.say(f"round {number}: {text}"))
            arrays: Arrays = {f"net.{name}": value.numpy() for name, value in net.state_dict().items()}
            return {**arrays, "auc_by_epoch": np.array([epoch["auc"] for epoch in history])}

        return kept(self.keep_in, f"round{number}", facts, make)

    def show(self, state: Arrays, names: Sequence[str]) -> dict[str, Shown]:
        """Return probability and map of each case."""
        volumes = self.cohort.volumes.of(self.cohort.rows(names))
        p, maps = self.said(state, volumes)
        return {name: Shown(float(p[n]), maps[n]) for n, name in enumerate(names)}

    def said(self, state: Arrays, volumes: Volumes) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return probabilities (n,) and maps (n, d, h, w) of any volumes."""
        net = self.load(state)
        depth, height, width = self.cohort.lungs.shape[1:]
        return np.asarray(sigmoid(logits_of(net, volumes)), np.float64), maps_of(net, volumes, (depth, height, width))

    def load(self, state: Arrays) -> NtmCnn3d:
        """Return the network of a state, in evaluation mode."""
        net = NtmCnn3d(self.channels)
        weights = {name.removeprefix("net."): torch.from_numpy(v) for name, v in state.items() if name.startswith("net.")}
        net.load_state_dict(weights)
        return net.eval()


def names_digest(names: Sequence[str]) -> str:
    """Return the SHA-256 of names in order: names a split."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
