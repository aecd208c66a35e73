"""What alignment buys, in tables: classification, localisation and robustness of the variants, patient-wise in five folds.

The folds divide the patients of the parts train and selection; a fold's network never sees its patients. Patients of the parts
calibration and test are judged by the mean of the five networks, none of which saw them. So no boxed image is judged by a network
that learned from its box.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.training.cxr.chest_set import ChestSet
from models.training.hegl.losses import Agree, Anneal, Static, Uncertainty, discriminative_attention
from models.training.hegl.train import Recipe, fit, overlap_prior, positive_weights, say
from models.training.hegl.training_set import CLASSES, FOLDS, REPORTED, HeglSet, batches, fold_of, targets
from models.training.localisation import energy_in_boxes, localisation_table
from models.training.loop import LoopSettings
from models.training.statistics import auc, auc_by_patient, difference_by_patient, measures_by_patient
from pipelines.blocks.prepare_cxr import to_source

Floats = NDArray[np.float64]
BASELINE, PUBLISHED = "baseline", "H-EGL"
VARIANTS = (
    Recipe(BASELINE, lambda: Static(0.0, 0.0)),
    Recipe("DAL only", lambda: Static(0.0, 1.0)),
    Recipe("HA only", lambda: Static(1.0, 0.0)),
    Recipe(PUBLISHED, lambda: Static(1.0, 1.0)),
)
#: The convolutional counterpart, whose maps are class maps (``hegl_cnn``).
CNN = (
    Recipe("CNN, baseline", lambda: Static(0.0, 0.0)),
    Recipe("CNN, DAL only", lambda: Static(0.0, 1.0)),
    Recipe("CNN, HA 0.3", lambda: Static(0.3, 0.0)),
)
#: The same losses otherwise weighed, and other pairs of L_DAL.
OTHERS = (
    Recipe("H-EGL, anneal", Anneal),
    Recipe("H-EGL, uncertainty", Uncertainty),
    Recipe("H-EGL, agree", Agree),
    Recipe("H-EGL, copresent pairs", lambda: Static(1.0, 1.0), "copresent"),
    Recipe("H-EGL, prior pairs", lambda: Static(1.0, 1.0), "prior"),
)
ORDER = [r.name for r in (*VARIANTS, *OTHERS, *CNN)]  # of every table; a JSON file keeps none
GRID = (0.0, 0.1, 0.5, 1.0, 2.0)
SIGMAS = (0.0, 0.05, 0.1, 0.2)
BATCH = 32
LOSS_ALLOWED = 0.01  # AUC that alignment may cost out of fold; see ``choose``


@dataclass(frozen=True)
class Judged:
    """What a variant says of every row: ``logits`` (n, C), ``attention`` (n, C, h, w), and its networks, one a fold."""

    logits: Floats
    attention: NDArray[np.float32]
    nets: list[nn.Module]


def train_on(
    chosen: HeglSet, rows: NDArray[np.intp], build: Callable[[], nn.Module], recipe: Recipe, steps: int, settings: LoopSettings,
    kept: Path | None,
) -> tuple[nn.Module, list[dict[str, float]]]:  # fmt: skip
    """Train one network on these rows."""
    torch.manual_seed(settings.seed)
    prior = None
    if recipe.pairs == "prior":
        batch = targets(chosen, rows)  # the first maps are the plain images, in the rows' order
        weak = batch.lungs[:, None].expand_as(batch.marks)
        prior = overlap_prior(batch.labels.numpy(), torch.where(batch.weights[..., None, None] > 0, batch.marks, weak).numpy())
    weight = positive_weights(chosen.labels[rows])
    return fit(
        build(),
        recipe,
        lambda epoch: batches(chosen, rows, steps, BATCH, settings.seed + epoch),
        steps,
        settings,
        weight,
        prior,
        kept,
    )


def judge(
    chosen: HeglSet, build: Callable[[], nn.Module], recipe: Recipe, steps: int, settings: LoopSettings, kept: Path
) -> Judged:
    """Train the folds' networks and let each row be judged by networks that did not see its patient."""
    learn = chosen.of("train", "selection")
    fold = np.array([fold_of(row.patient) for row in chosen.rows])
    rest = np.setdiff1d(np.arange(len(chosen.rows)), learn)
    said: list[tuple[Floats, NDArray[np.float32]]] = []
    nets = []
    logits = np.full((len(chosen.rows), len(CLASSES)), np.nan)
    attention = np.zeros((len(chosen.rows), len(CLASSES), *chosen.lungs.shape[1:]), np.float32)
    for k in range(FOLDS):
        started = time.monotonic()
        path = kept / f"{_file(recipe)}_{settings.epochs}x{steps}_{k}.pt"
        net, history = train_on(chosen, learn[fold[learn] != k], build, recipe, steps, settings, path)
        mine = learn[fold[learn] == k]
        logits[mine], attention[mine] = say(net, chosen.maps[mine])
        said.append(say(net, chosen.maps[rest]))
        nets.append(net)
        print(f"{recipe.name}, fold {k}: loss {history[-1]['loss']:.3f}, {time.monotonic() - started:.0f} s", flush=True)
    logits[rest] = np.mean([one for one, _ in said], 0)
    attention[rest] = np.mean([one for _, one in said], 0)
    return Judged(logits, attention, nets)


def judge_once(
    chosen: HeglSet, build: Callable[[], nn.Module], recipe: Recipe, steps: int, settings: LoopSettings, kept: Path
) -> Judged:
    """Train one network on the train part and let it judge all other rows; the rows of the train part stay not a number."""
    rest = chosen.of("selection", "calibration", "test")
    logits = np.full((len(chosen.rows), len(CLASSES)), np.nan)
    attention = np.zeros((len(chosen.rows), len(CLASSES), *chosen.lungs.shape[1:]), np.float32)
    path = kept / f"{_file(recipe)}_{settings.epochs}x{steps}_train.pt"
    started = time.monotonic()
    net, history = train_on(chosen, chosen.of("train"), build, recipe, steps, settings, path)
    print(f"{recipe.name}: loss {history[-1]['loss']:.3f}, {time.monotonic() - started:.0f} s", flush=True)
    logits[rest], attention[rest] = say(net, chosen.maps[rest])
    return Judged(logits, attention, [net])


def of_one_source(chosen: HeglSet, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the rows of the source that has both labels: elsewhere a good score is a recognised hospital."""
    return np.array([n for n in rows if chosen.rows[n].source == REPORTED], np.intp)


def classification(chosen: HeglSet, judged: Judged, rows: NDArray[np.intp]) -> dict[str, Any]:
    """Return AUC, F1 and MCC (at probability 0.5) of ``abnormal``, and the AUC of each other finding among abnormal images."""
    mine = of_one_source(chosen, rows)
    patients = [chosen.rows[n].patient for n in mine]
    y, z = chosen.labels[mine, 0], judged.logits[mine, 0]
    measured = measures_by_patient(y, z >= 0, patients, measures=("f1", "mcc"))
    table: dict[str, Any] = {"images": len(mine), "patients": len(set(patients)), "auc": list(auc_by_patient(y, z, patients))}
    table |= {name: list(value) for name, value in measured.items()}
    table["findings"] = {}
    for c, name in enumerate(CLASSES[2:], 2):
        sick = mine[chosen.labels[mine, 0] == 1]
        present = chosen.labels[sick, c]
        if 10 <= present.sum() <= len(sick) - 10:
            who = [chosen.rows[n].patient for n in sick]
            table["findings"][name] = {
                "present": int(present.sum()),
                "images": len(sick),
                "auc": list(auc_by_patient(present, judged.logits[sick, c], who)),
            }
    return table


def localisation(chosen: HeglSet, judged: Judged, finding: str, parts: Sequence[str] = ()) -> dict[str, Any]:
    """Return pointing game, energy in box and overlap on the boxed images, maps placed on the source image."""
    c = CLASSES.index(finding)
    cases = []
    for n, one in sorted(chosen.boxed.items()):
        if parts and chosen.rows[n].part not in parts:
            continue
        placed = to_source(judged.attention[n, c], one.prepared)
        cases.append({"patient": chosen.rows[n].patient, "map": placed, "boxes": one.boxes, "lungs": one.lungs})
    return localisation_table(cases)


def noise_curve(chest: ChestSet, chosen: HeglSet, all_judged: Mapping[str, Judged], stem: nn.Module) -> dict[str, Any]:
    """Return the AUC of ``abnormal`` on the test part (one source) under Gaussian noise of each sigma (grey values 0..1)."""
    mine = of_one_source(chosen, chosen.of("test"))
    y, patients = chosen.labels[mine, 0], [chosen.rows[n].patient for n in mine]
    plain = {name: judged.logits[mine, 0] for name, judged in all_judged.items()}
    curve: dict[str, Any] = {name: {"0": list(auc_by_patient(y, logits, patients))} for name, logits in plain.items()}
    for sigma in SIGMAS[1:]:
        rng = np.random.default_rng(41)
        noisy = chest.images[mine] + rng.normal(0, 1, chest.images[mine].shape).astype(np.float32) * np.float32(sigma)
        x = ((np.clip(noisy, 0, 1) - chest.config["mean"]) / chest.config["std"]).astype(np.float32)[:, None]
        with torch.no_grad():
            maps = np.concatenate([stem(torch.from_numpy(x[n : n + 16])).numpy() for n in range(0, len(x), 16)])
        for name, judged in all_judged.items():
            logits = np.mean([say(net, maps)[0][:, 0] for net in judged.nets], 0)
            curve[name][f"{sigma:g}"] = list(auc_by_patient(y, logits, patients))
    return curve


def choose(tables: Mapping[str, Mapping[str, Any]], energy: Mapping[str, float]) -> str:
    """Return the variant that is shipped, by a rule that was written before the runs.

    Of the variants with alignment (alpha > 0), those whose AUC out of fold within the one fair source lies at most 0.01 below the
    baseline's; among them the one with the most energy in the boxes, out of fold. None: the baseline. DAL alone is never shipped.
    """
    least = tables[BASELINE]["auc"][0] - LOSS_ALLOWED
    fit_for = [name for name in ("HA only", PUBLISHED) if tables[name]["auc"][0] >= least]
    return max(fit_for, key=lambda name: energy[name]) if fit_for else BASELINE


def against(chosen: HeglSet, new: Judged, old: Judged, rows: NDArray[np.intp]) -> list[float]:
    """Return the difference in AUC of ``abnormal`` with its interval, the same patients in every draw."""
    mine = of_one_source(chosen, rows)
    patients = [chosen.rows[n].patient for n in mine]
    return list(difference_by_patient(auc, chosen.labels[mine, 0], new.logits[mine, 0], old.logits[mine, 0], patients))


def halved(chosen: HeglSet) -> HeglSet:
    """Return the same set with maps, lungs and marks at half the side: a quarter of the tokens, for trainings that are many."""

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        fours = values.reshape(*values.shape[:-2], values.shape[-2] // 2, 2, values.shape[-1] // 2, 2)
        return fours.astype(np.float32).mean((-3, -1)).astype(values.dtype)

    return replace(chosen, maps=mean(chosen.maps), lungs=mean(chosen.lungs), marks=mean(chosen.marks))


def grid(chosen: HeglSet, build: Callable[[], nn.Module], steps: int, settings: LoopSettings, kept: Path) -> list[dict[str, Any]]:
    """Return AUC and mean energy in box of one fold for every alpha and beta: 25 trainings, no intervals, a direction."""
    rows = []
    for alpha in GRID:
        for beta in GRID:
            recipe = Recipe(f"grid {alpha:g} {beta:g}", lambda a=alpha, b=beta: Static(a, b))  # type: ignore[misc]
            rows.append({"alpha": alpha, "beta": beta, **one_fold(chosen, build, recipe, steps, settings, kept)})
    return rows


def one_fold(
    chosen: HeglSet, build: Callable[[], nn.Module], recipe: Recipe, steps: int, settings: LoopSettings, kept: Path, fold: int = 0
) -> dict[str, Any]:
    """Return AUC (that fold, one source) and mean energy in box (boxed images of that fold and of parts not learned from)."""
    learn = chosen.of("train", "selection")
    folds = np.array([fold_of(row.patient) for row in chosen.rows])
    path = kept / f"{_file(recipe)}_{settings.epochs}x{steps}_{fold}.pt"
    net, _ = train_on(chosen, learn[folds[learn] != fold], build, recipe, steps, settings, path)
    mine = of_one_source(chosen, learn[folds[learn] == fold])
    boxed = [n for n in sorted(chosen.boxed) if chosen.rows[n].part not in ("train", "selection") or folds[n] == fold]
    y, logits = chosen.labels[mine, 0], say(net, chosen.maps[mine])[0][:, 0]
    maps = say(net, chosen.maps[boxed])[1][:, 0] if boxed else []
    energy = [
        energy_in_boxes(to_source(m, chosen.boxed[n].prepared), chosen.boxed[n].boxes) for n, m in zip(boxed, maps, strict=True)
    ]
    return {
        "auc": auc(y, logits) if 0 < y.sum() < len(y) else float("nan"),
        "images": len(mine),
        "energy_in_boxes": float(np.mean(energy)) if energy else float("nan"),
        "boxed": len(boxed),
    }


def _file(recipe: Recipe) -> str:
    return recipe.name.replace(" ", "_").replace(",", "")


def cost_of_pairs(
    counts: Sequence[int] = (10, 20, 50), side: int = 14, batch: int = BATCH, repeats: int = 5
) -> list[dict[str, Any]]:
    """Return milliseconds of CPU for L_DAL, forward and backward, by number of findings; above 20, 128 pairs are drawn."""
    rows = []
    for count in counts:
        maps = torch.rand(batch, count, side, side, requires_grad=True)
        discriminative_attention(maps).backward()  # the first call allocates
        started = time.process_time()
        for _ in range(repeats):
            discriminative_attention(maps).backward()
        pairs = count * (count - 1) // 2
        spent = 1000 * (time.process_time() - started) / repeats
        rows.append({"findings": count, "pairs": pairs, "pairs_used": min(pairs, 128) if count > 20 else pairs, "ms": spent})
    return rows
