"""Fit the frontal chest gate of a lung bundle, choose its thresholds, and count how often it errs.

The average chest, its components and the regression come from the parts ``train`` and ``selection``; the thresholds from the adults
of the part ``calibration``, whom the fit never saw; the error rates from the part ``test`` and from phantoms of other seeds.
Children take part in the fit, for a child's chest is a chest (the age gate refuses it, by the header), and are told apart in the
tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.session import Session
from models.training.data import adult, read_index
from models.training.gates.pictures import ADULTS, Picture, chests, drawn, patch_names, patches, spoiled
from models.training.package import write_yaml
from models.training.statistics import clopper_pearson
from pipelines.blocks.frontal_gate import FEATURES, FRONTAL, KINDS, CoarseModel, FrontalGate, expanded, features
from pipelines.blocks.lungs import LungLimits, Lungs, glance_at

COMPONENTS = 12
#: Of 100 adults' chests, how many may be refused where the header is silent, and where it states chest and view.
REFUSED_SILENT, REFUSED_STATED = 0.03, 0.01
#: Chosen, as these shares, by two folds over the pictures to learn from: 0.03 to 100 were tried.
STRENGTH = 0.3
LEARN_SEEDS, TEST_SEEDS = range(1000, 1040), range(5000, 5030)
#: Of the rows of ``train`` every other one is enough for some twenty features; of the LUNA16 patches every so-many-th (the even
#: ones of them fit, the odd ones test).
ROW_STEP, PATCH_STEP = 2, 40

#: Under the table of the card.
TEXT = (
    "One picture a patient, phantom or file of the test part. Header stated: it says chest, and which view; silent: it does not, "
    "and the pixels decide. Knees, abdomens and lateral chests were drawn or projected from drawn CTs, for the research set holds "
    "no real ones: how often a real lateral view passes is not known. A chest that is mirrored, or turned by less than a quarter, "
    "is not looked for."
)

Floats = NDArray[np.float64]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Seen:
    """A picture after the lung pass; the picture itself is not kept."""

    kind: str
    what: str
    group: str
    source: str
    lungs: Lungs


def look_at(pictures: Iterable[Picture], session: Session, config: Mapping[str, Any]) -> list[Seen]:
    """Send every picture through the lung network, as the node would."""
    limits = LungLimits()
    return [Seen(p.kind, p.what, p.group, p.source, glance_at(p.image, session, config, limits)) for p in pictures]


def fit(learn: Sequence[Seen], hold: Sequence[Seen]) -> FrontalGate:
    """Return the gate. ``learn``: pictures of every kind. ``hold``: frontal chests of patients that the fit did not see."""
    frontal = [s.lungs for s in learn if s.kind == FRONTAL]
    box = coarse_model(np.stack([lungs.in_box for lungs in frontal]))
    whole = coarse_model(np.stack([lungs.in_whole for lungs in frontal]))
    values = np.stack([features(s.lungs, box, whole) for s in learn])
    weights = balanced(learn)
    mean = np.average(values, axis=0, weights=weights)
    scale = np.maximum(np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights)), 1e-3)
    regression = LogisticRegression(C=STRENGTH, max_iter=5000)
    regression.fit(expanded(values, mean, scale), [KINDS.index(s.kind) for s in learn], sample_weight=weights)
    rows, bias = np.zeros((len(KINDS), 2 * len(FEATURES))), np.full(len(KINDS), -1e3)  # a kind that was not shown never wins
    rows[regression.classes_], bias[regression.classes_] = regression.coef_, regression.intercept_
    gate = FrontalGate(box, whole, mean, scale, rows, bias, {"stated": 0.0, "silent": 0.0})
    held = np.array([gate.judge(s.lungs).frontal for s in hold if s.what == ADULTS and not s.lungs.problem])
    thresholds = {"stated": threshold(held, REFUSED_STATED), "silent": threshold(held, REFUSED_SILENT)}
    return FrontalGate(box, whole, mean, scale, rows, bias, thresholds)


def coarse_model(patches_of_chests: Floats) -> CoarseModel:
    """Return average and principal components of coarse pictures (n, 16, 16), each taken with its mirror image.

    So a mirrored heart is no less a chest.
    """
    both = np.concatenate([patches_of_chests, patches_of_chests[:, :, ::-1]])
    average = both.mean(0)
    _, _, components = np.linalg.svd((both - average).reshape(len(both), -1), full_matrices=False)
    return CoarseModel(average, components[:COMPONENTS])


def balanced(learn: Sequence[Seen]) -> Floats:
    """Return weights with mean 1: frontal chests weigh as much as all the rest; within a kind every line and source weigh alike."""
    keys = [(s.kind, s.what, s.source) for s in learn]
    sizes = {key: keys.count(key) for key in set(keys)}
    lines = {kind: sum(key[0] == kind for key in sizes) for kind in KINDS}
    shares = {kind: 0.5 if kind == FRONTAL else 0.5 / (len(KINDS) - 1) for kind in KINDS}
    weights = np.array([shares[key[0]] / (lines[key[0]] * sizes[key]) for key in keys])
    return np.asarray(weights / weights.mean())


def threshold(held: Floats, share: float) -> float:
    """Return the largest threshold that refuses at most ``share`` of ``held``; half the lowest where it may refuse none of them."""
    if not len(held):
        return 0.5
    may = int(share * len(held))
    return float(np.sort(held)[may]) if may else float(held.min()) / 2


def rates(gate: FrontalGate, tested: Sequence[Seen]) -> list[dict[str, Any]]:
    """Return for every kind of picture how many are refused, where the header states chest and view and where it is silent.

    One picture a group (patient, phantom or file), the first. ``refused`` counts the gate's refusals; ``gate_or_mask`` also those
    for an implausible lung mask, which is what the node does. ``named``: the reason given is the kind's own.
    """
    first: dict[tuple[str, str, str], Seen] = {}
    for s in tested:
        first.setdefault((s.what, s.kind, s.group), s)
    table = []
    for what, kind in sorted({(key[0], key[1]) for key in first}, key=lambda key: (KINDS.index(key[1]), key[0])):
        lungs = [s.lungs for key, s in first.items() if key[:2] == (what, kind)]
        judged = [gate.judge(one) for one in lungs]
        row: dict[str, Any] = {"what": what, "kind": kind, "n": len(lungs)}
        row["named"] = sum(j.pretends == kind for j in judged) if kind != FRONTAL else None
        for header in ("stated", "silent"):
            by_gate = [bool(gate.refusal(j, stated=header == "stated")[0]) for j in judged]
            either = sum(refused or bool(one.problem) for refused, one in zip(by_gate, lungs, strict=True))
            row[header] = {
                "refused": sum(by_gate),
                "gate_or_mask": either,
                "clopper_pearson": list(clopper_pearson(either, len(lungs))),
            }
        table.append(row)
    return table


def for_card(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors as the card prints them: chests under both kinds of header, other pictures under a silent one."""
    lines = []
    for row in table:
        frontal = row["kind"] == FRONTAL
        for header in ("stated", "silent") if frontal else ("silent",):
            hits = row[header]["gate_or_mask"] if frontal else row["n"] - row[header]["gate_or_mask"]
            lines.append(
                {
                    "gate": f"frontal chest, header {header}",
                    "wrong_to": "refuses" if frontal else "passes",
                    "people": row["what"],
                    "hits": hits,
                    "n": row["n"],
                    "clopper_pearson": list(clopper_pearson(hits, row["n"])),
                }
            )
    return lines


def mislabelled(table: Sequence[Mapping[str, Any]]) -> str:
    """Return how many pictures of other things pass under a header that states chest and view: worst kind first."""
    others = [(row["n"] - row["stated"]["gate_or_mask"], row["n"], row["what"]) for row in table if row["kind"] != FRONTAL]
    if not others:
        return ""
    passed, shown = sum(row[0] for row in others), sum(row[1] for row in others)
    worst = sorted((row for row in others if row[0]), key=lambda row: -row[0] / row[1])[:4]
    named = "; ".join(f"{what} {hits}/{n}" for hits, n, what in worst)
    low, high = clopper_pearson(passed, shown)[1:]
    told = f"Where the header wrongly states chest and view, {passed} of {shown} such pictures pass ({low:.3f} to {high:.3f})"
    return f"{told}: {named}." if named else f"{told}."


def write(folder: Path, gate: FrontalGate) -> None:
    """Write ``gate.npz`` and ``gate.yaml`` into a bundle's folder."""
    arrays: dict[str, Any] = {
        "average_box": gate.box.average,
        "components_box": gate.box.components,
        "average_whole": gate.whole.average,
        "components_whole": gate.whole.components,
        "mean": gate.mean,
        "scale": gate.scale,
        "weights": gate.weights,
        "bias": gate.bias,
    }
    arrays = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    np.savez_compressed(folder / "gate.npz", **arrays)
    said = {
        "kinds": list(KINDS),
        "features": list(FEATURES),
        "thresholds": dict(gate.thresholds),
        "thresholds_mean": "least probability of a frontal chest: where the header states chest and view, and where it is silent",
        "thresholds_chosen_on": f"adults of the calibration part, at most {REFUSED_STATED:.0%} and {REFUSED_SILENT:.0%} refused; "
        "half the lowest where that allows none",
        "assumed": ["features", "weights of the kinds", "C of the regression", "shares that may be refused"],
    }
    write_yaml(folder / "gate.yaml", said)


def make(
    folder: Path, session: Session, config: Mapping[str, Any], data: Path, ct: Path | None, say: Say = print
) -> dict[str, Any]:
    """Fit the gate of the bundle in ``folder``, write it there, and return its figures for ``metrics.json``.

    ``data``: the research set, of which every row takes part. ``ct``: folder with ``luna_patches``, if there is one.
    """
    rows = read_index(data)
    of = {part: [row for row in rows if row.part == part] for part in ("train", "selection", "calibration", "test")}
    names = patch_names(ct)[::PATCH_STEP]
    known = [*of["train"][::ROW_STEP], *of["selection"]]
    learn = look_at(chests(data, known, disturbed=True), session, config)
    learn += look_at(spoiled(data, known, 1), session, config)
    learn += look_at(drawn(LEARN_SEEDS), session, config)
    if ct is not None:
        learn += look_at(patches(ct, names[::2]), session, config)
    say(f"gate: {len(learn)} pictures to learn from")
    hold = look_at(chests(data, [row for row in of["calibration"] if adult(row)], disturbed=False), session, config)
    gate = fit(learn, hold)
    write(folder, gate)
    tested = look_at(chests(data, of["test"], disturbed=False), session, config)
    tested += look_at(spoiled(data, of["test"], 1), session, config)
    tested += look_at(drawn(TEST_SEEDS), session, config)
    if ct is not None:
        tested += look_at(patches(ct, names[1::2]), session, config)
    say(f"gate: {len(tested)} pictures tested")
    table = rates(gate, tested)
    return {
        "gates": for_card(table),
        "gates_text": f"{TEXT} {mislabelled(table)}",
        "frontal_gate": {"thresholds": dict(gate.thresholds), "learned_from": len(learn), "rates": table},
    }
