"""The trainings of a study of CT slices: eight variants of one network, patients in turn left out, sites in turn left out.

The rows are those of Xie et al. 2026: segmentation of the lungs, augmentation, and attention, each by itself and together. On which
base the paper puts the rows with attention alone it does not say: here on the bare network (assumed).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.training import thumbnail
from models.training.calibrate import sigmoid
from models.training.kept_fits import Arrays, digest_of, kept
from models.training.slices.cohort import Cohort, Square
from models.training.slices.loop import FitSettings, fit, logits_of
from models.training.slices.slice_set import SliceSet
from models.zoo.se_das_resnet50 import Attention, Fuse, SeDasResNet50
from pipelines.blocks.aggregate import patient_probability

Floats = NDArray[np.float64]
Say = Callable[[str], None]


class Variant(NamedTuple):
    """One row of the ablation."""

    attention: Attention
    lungs_alone: bool
    augment: bool
    fuse: Fuse = "add"


FULL = "full (Seg + Aug + DAS)"
VARIANTS: dict[str, Variant] = {
    "baseline": Variant("none", False, False),
    "+ Seg": Variant("none", True, False),
    "+ Aug": Variant("none", False, True),
    "+ Seg + Aug": Variant("none", True, True),
    "+ SE": Variant("se", False, False),
    "+ DAS": Variant("das", False, False),
    "+ CBAM": Variant("cbam", False, False),
    FULL: Variant("das", True, True),
}
#: What the paper leaves open, or does not take apart: how the two gates are joined, and what each does by itself.
WITHIN: dict[str, Variant] = {
    "joined by the maximum": Variant("das", True, True, "max"),
    "joined by the product": Variant("das", True, True, "multiply"),
    "channel gate alone": Variant("se", True, True),
    "spatial gate alone": Variant("spatial", True, True),
}


@dataclass(frozen=True)
class Form:
    """How large a study is. ``learn``, ``judge``: which square of each slice is learnt from, and judged; ``None``: whole slices."""

    words: str
    width: int
    learn: Square | None
    judge: Square | None
    settings: FitSettings
    weights: Mapping[str, torch.Tensor] | None = None  # of a published ResNet-50, at full width


class Trained(NamedTuple):
    """``logits``: of every slice of the patients that were not learnt from, with ``patients``, whose each is."""

    state: dict[str, torch.Tensor]
    normalise: tuple[float, float]
    logits: Floats
    patients: NDArray[np.str_]
    history: list[dict[str, float]]
    seconds: float

    def of_patients(self, names: Sequence[str], temperature: float = 1.0) -> Floats:
        """Return the probability of each patient: the mean of the slices', as the node has it."""
        each = sigmoid(self.logits / temperature)
        return np.array([patient_probability(each[self.patients == name].tolist()) for name in names])

    def of_slices(self, names: Collection[str]) -> Floats:
        """Return the probabilities of the slices of these patients, in their order."""
        return np.asarray(sigmoid(self.logits[np.isin(self.patients, list(names))]))

    def net(self, width: int, variant: Variant) -> SeDasResNet50:
        """Return the trained network."""
        net = SeDasResNet50(width, variant.attention, variant.fuse)
        net.load_state_dict(self.state)
        return net.eval()


class Wanted(NamedTuple):
    """One training of a study. ``parts``: patients that are learnt from, that choose the epoch, and whose slices are then scored.

    ``name``: under which it is kept. ``start``: weights to go on from.
    """

    name: str
    variant: Variant
    parts: tuple[Collection[str], Collection[str], Collection[str]]
    form: Form
    start: Mapping[str, torch.Tensor] | None = None


@dataclass(frozen=True)
class Training:
    """A training with all that it needs and nothing else, so that another process can do it."""

    name: str
    variant: Variant
    form: Form
    learn: SliceSet
    select: SliceSet
    start: Mapping[str, torch.Tensor] | None

    @classmethod
    def of(cls, cohort: Cohort, wanted: Wanted) -> Training:
        """Return it with its slices."""
        learn, select = (
            cohort.slices(part, lungs_alone=wanted.variant.lungs_alone, square=wanted.form.learn) for part in wanted.parts[:2]
        )
        return cls(wanted.name, wanted.variant, wanted.form, learn, select, wanted.start)

    def kept(self, keep_in: Path, say: Say, threads: int) -> Arrays:
        """Return weights, normalisation, history and seconds: read where it was done, else done now."""
        settings = replace(self.form.settings, augment=self.variant.augment, threads=threads)
        weights = self.form.weights
        facts = {
            "variant": [part for part in self.variant if part != "add"],  # the usual one needs no word
            "width": self.form.width,
            "settings": {name: value for name, value in asdict(settings).items() if name != "threads"},
            "slices": digest_of(self.learn.images, self.learn.labels, self.select.images, self.select.labels),
            "start": None if self.start is None else digest_of(*(value.numpy() for value in self.start.values())),
            "weights": None if weights is None else digest_of(*(value.numpy() for value in weights.values())),
        }

        def make() -> Arrays:
            net = seeded(self.form, self.variant)
            if self.start is not None:
                net.load_state_dict(self.start)
            fitted = fit(net, self.learn, self.select, settings, lambda text: say(f"{self.name}: {text}"))
            return {
                **{f"weights/{name}": value.numpy() for name, value in fitted.net.state_dict().items()},
                "normalise": np.array(fitted.normalise),
                "history": np.array(json.dumps(fitted.history)),
                "seconds": np.array(fitted.seconds),
            }

        return kept(keep_in, self.name, facts, make)


def train(cohort: Cohort, wanted: Wanted, keep_in: Path, say: Say) -> Trained:
    """Do one training, or read what was kept of it, and score the slices of its third part."""
    found = Training.of(cohort, wanted).kept(keep_in, say, wanted.form.settings.threads)
    judged = cohort.slices(wanted.parts[2], lungs_alone=wanted.variant.lungs_alone, square=wanted.form.judge)
    mean, deviation = (float(value) for value in found["normalise"])
    state = {name.removeprefix("weights/"): torch.from_numpy(value) for name, value in found.items() if name.startswith("weights/")}
    trained = Trained(
        state, (mean, deviation), np.zeros(0), judged.patients, json.loads(str(found["history"])), float(found["seconds"])
    )
    return trained._replace(logits=logits_of(trained.net(wanted.form.width, wanted.variant), judged, trained.normalise))


def seeded(form: Form, variant: Variant) -> SeDasResNet50:
    """Return a network with the weights of ``form``, else drawn from the seed; all kinds start alike where they share weights."""
    torch.manual_seed(form.settings.seed)
    plain, net = SeDasResNet50(form.width, "none"), SeDasResNet50(form.width, variant.attention, variant.fuse)
    if form.weights is not None:
        plain.start_from(form.weights)
    net.load_state_dict({**net.state_dict(), **plain.state_dict()})
    return net


def folds_of(cohort: Cohort, patients: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """Return ``count`` disjoint groups of the patients, each with its share of both labels."""
    rng = np.random.default_rng(seed)
    names, labels = np.array(patients), cohort.labels_of(patients)
    folds: list[list[str]] = [[] for _ in range(count)]
    for label in (0, 1):
        for n, name in enumerate(rng.permutation(names[labels == label]).tolist()):
            folds[n % count].append(name)
    return folds


def fold_trainings(cohort: Cohort, variant: Variant, form: Form, count: int) -> list[Wanted]:
    """Return ``count`` trainings, each without one fold and with its epoch chosen on the next; the test part takes no part.

    Raises
    ------
    ValueError
        Fewer than three folds: one is judged, one chooses, and something must be learnt from.
    """
    if count < 3:
        raise ValueError(f"{count} folds: at least three are needed")
    folds = folds_of(cohort, cohort.named("train", "selection", "calibration"), count, form.settings.seed)
    wanted = []
    for n, fold in enumerate(folds):
        select = folds[(n + 1) % count]
        learn = [name for other in folds if other is not fold and other is not select for name in other]
        wanted.append(Wanted(f"fold_{n + 1}", variant, (learn, select, fold), form))
    return wanted


def cross_validated(cohort: Cohort, folds: Sequence[Wanted], keep_in: Path, say: Say) -> dict[str, Any]:
    """Return each fold's probabilities, and ``scores``: of every patient, by the network that never learnt from it."""
    scores: dict[str, float] = {}
    each = []
    for n, wanted in enumerate(folds, start=1):
        fold = list(wanted.parts[2])
        p = train(cohort, wanted, keep_in, say).of_patients(fold)
        scores |= dict(zip(fold, p.tolist(), strict=True))
        each.append({"fold": n, "patients": fold, "probabilities": p})
    return {"folds": each, "scores": scores}


def site_trainings(cohort: Cohort, variant: Variant, form: Form) -> dict[str, Wanted]:
    """Return for each site a training that never sees it, to judge all of it.

    Sites need both labels, and so must what remains; others are left out.
    """
    site = cohort.about.kinds.get("site")
    found: dict[str, Wanted] = {}
    if site is None:
        return found
    of = dict(zip(cohort.about.names.tolist(), site.tolist(), strict=True))
    for name in sorted(set(site.tolist()) - {""}):
        there = [patient for patient in cohort.about.names.tolist() if of[patient] == name]
        learn, select = (
            [p for p in cohort.named(*part) if of[p] not in (name, "")] for part in (("train", "test"), ("selection",))
        )
        if all(len(set(cohort.labels_of(group).tolist())) == 2 for group in (there, learn, select)):
            found[name] = Wanted(f"without_site_{name}", variant, (learn, select, there), form)
    return found


def thumbnails_of(slices: SliceSet) -> Floats:
    """Return (n, 256): each slice at 16 x 16."""
    small = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).ravel() for image in slices.images]
    return np.stack(small).astype(np.float64)


def thumbnail_scores(cohort: Cohort, form: Form, names: Sequence[str]) -> tuple[thumbnail.Thumbnail, Floats]:
    """Return the regression on 16 x 16 pixels of what the full variant sees, and the probability of each patient by it."""
    learn = cohort.slices(cohort.named("train"), lungs_alone=True, square=form.learn)
    fitted = thumbnail.fit(thumbnails_of(learn), learn.labels)
    judged = cohort.slices(names, lungs_alone=True, square=form.judge)
    each = sigmoid(fitted.logits(thumbnails_of(judged)))
    return fitted, np.array([patient_probability(each[judged.patients == name].tolist()) for name in names])
