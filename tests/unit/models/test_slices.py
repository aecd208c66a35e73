"""Training on CT slices: weights, augmentation, the choice of the epoch, trainings that are kept, tables of patients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.recipes.ct_luna import ROWS_A_SCAN, SCANS_A_RANGE, part_of, seeded, verdict
from models.training.kept_fits import digest_of, kept
from models.training.slices.loop import FitSettings, fit, logits_of
from models.training.slices.patient_report import ablation_text, calibration_text, cohort_text, confusion_text, subgroups_text
from models.training.slices.patient_tables import Patients, ablation, calibration, cohort_table, confusion, subgroups
from models.training.slices.slice_set import SliceSet, batches, flipped_and_turned, moments, weighted_loss

SIDE = 8


def slices(count: int = 40, seed: int = 0) -> SliceSet:
    """Patients with two slices each; the positive ones are brighter at the top."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count // 2) % 2, 2)
    images = rng.random((count, SIDE, SIDE)).astype(np.float32) * 0.5
    images[labels == 1, : SIDE // 2] += 0.4
    return SliceSet(images, labels, np.repeat([f"p{n:03d}" for n in range(count // 2)], 2))


class Tiny(nn.Module):
    """One convolution under the head rule."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 5, padding=2), nn.Linear(4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(image)).mean((2, 3)))


def test_every_patient_weighs_one_however_many_slices_show_the_nodule() -> None:
    some = SliceSet(np.zeros((4, 2, 2), np.float32), np.array([1, 0, 0, 0]), np.array(["a", "b", "b", "b"]))
    assert some.slice_weights().tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
    assert some.positive_weight() == 3
    assert replace(some, labels=np.zeros(4, np.int64)).positive_weight() == 1


def test_the_loss_is_the_weighted_cross_entropy() -> None:
    loss = weighted_loss(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.5]), 3.0)
    by_hand = (3 * np.log(2) * 1.0 + np.log(1 + np.exp(2)) * 0.5) / 1.5
    assert float(loss) == pytest.approx(by_hand, rel=1e-6)


def test_batches_hold_every_slice_once_and_the_seed_tells_the_order() -> None:
    some = slices(10)
    one, again, other = (list(batches(some, 4, seed, False, (0.0, 1.0))) for seed in (1, 1, 2))
    assert [len(image) for image, _, _ in one] == [4, 4, 2]
    assert all(torch.equal(a, b) for x, y in zip(one, again, strict=True) for a, b in zip(x, y, strict=True))
    together = torch.cat([image for image, _, _ in one]).sum()
    assert float(together) == pytest.approx(float(some.images.sum()), rel=1e-5)
    assert not torch.equal(one[0][0], other[0][0])


def test_what_turns_in_from_beyond_the_edge_is_the_floor_of_the_window() -> None:
    image = torch.full((64, 1, SIDE, SIDE), -2.0)
    image[:, :, :, : SIDE // 2] = 1.0
    turned = flipped_and_turned(image, np.random.default_rng(0), outside=-2.0)
    assert float(turned.min()) >= -2.0001
    assert float(turned.max()) <= 1.0001
    left = turned[:, 0, SIDE // 2, 0] > turned[:, 0, SIDE // 2, -1]
    assert 10 < int(left.sum()) < 54  # about half are mirrored


def test_training_tells_patients_apart_and_keeps_the_best_epoch() -> None:
    settings = FitSettings(8, 8, 0.03, 0.03, warm_up_epochs=1, patience=8, augment=False, threads=1)
    torch.manual_seed(0)
    fitted = fit(Tiny(), slices(), slices(seed=1), settings, lambda _: None)
    best = max(fitted.history, key=lambda epoch: (epoch["auc"], -epoch["log_loss"]))
    assert best["auc"] > 0.95
    held = slices(seed=1)
    scores = logits_of(fitted.net, held, fitted.normalise)
    assert scores[held.labels == 1].mean() > scores[held.labels == 0].mean()
    assert fitted.normalise == moments(slices().images)


def test_training_stops_when_nothing_gets_better() -> None:
    settings = FitSettings(50, 8, 0.0, 0.0, warm_up_epochs=1, patience=2, augment=False, threads=1)
    assert len(fit(Tiny(), slices(8), slices(8, seed=1), settings, lambda _: None).history) == 3


def test_a_training_is_done_once_for_the_same_facts(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"logits": np.arange(3.0)}

    facts = {"seed": 1, "slices": digest_of(np.zeros(3))}
    assert kept(tmp_path, "das", facts, make)["logits"].tolist() == kept(tmp_path, "das", facts, make)["logits"].tolist()
    assert len(made) == 1
    kept(tmp_path, "das", {**facts, "slices": digest_of(np.ones(3))}, make)
    assert len(made) == 2


def test_candidates_of_one_range_of_scans_lie_in_one_part() -> None:
    rows = np.arange(0, 551_065, 97)
    parts = {}
    for row in rows:
        scan = int(row) // ROWS_A_SCAN
        parts.setdefault(scan // SCANS_A_RANGE, set()).add(part_of(scan))
    assert all(len(one) == 1 for one in parts.values())
    shares = {part: sum(one == {part} for one in parts.values()) / len(parts) for part in ("train", "selection", "test")}
    assert 0.55 < shares["train"] < 0.85
    assert min(shares.values()) > 0.03


def test_both_networks_start_with_the_same_weights() -> None:
    base, attended = (seeded(8, kind, 3).eval() for kind in ("none", "das"))
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(base(image), attended(image))


@pytest.mark.parametrize(
    ("difference", "said"),
    [((0.02, 0.01, 0.03), "beats"), ((-0.02, -0.03, -0.01), "loses to"), ((0.02, -0.01, 0.05), "is not shown to beat")],
)
def test_the_verdict_is_what_the_interval_says(difference: tuple[float, float, float], said: str) -> None:
    assert said in verdict({"difference": {"of": "a - b", "auc": difference, "p_value": 0.2}})


@pytest.fixture(scope="module")
def cohort() -> tuple[Patients, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 2
    diameter = rng.normal(17 + 6 * labels, 4)
    kinds = {
        "sex": np.where(rng.random(60) < 0.5, "F", "M"),
        "size": np.where(diameter < 30, "<3 cm", ">=3 cm"),
        "period": np.array([""] * 60),
    }
    return Patients(np.array([f"p{n}" for n in range(60)]), labels, {"diameter_mm": diameter}, kinds), rng.random(
        60
    ) * 0.5 + 0.4 * labels


def test_the_tables_of_a_cohort(cohort: tuple[Patients, np.ndarray]) -> None:
    patients, p = cohort
    rows = ablation(patients.labels, {"baseline": np.roll(p, 1), "+SE": p * 0.9, "full": p}, "full", 0.5, resamples=200)
    assert [row["variant"] for row in rows] == ["baseline", "+SE", "full"]
    assert rows[1]["auc"] == rows[2]["auc"]  # the same order of patients
    assert rows[1]["p_value"] == 1
    assert rows[0]["p_value"] < 0.001
    assert rows[0]["p_holm"] >= rows[0]["p_value"]
    full = rows[2]
    assert full["sensitivity"]["hits"] == int((p[patients.labels == 1] >= 0.5).sum())
    assert full["sensitivity"]["clopper_pearson"][1] <= full["sensitivity"]["wilson"][1]
    assert full["counts"] == confusion(patients.labels, p, 0.5)
    text = ablation_text(rows, "full")
    assert text.count("\n| ") >= 3
    assert "<0.001" in text


def test_groups_that_are_too_small_get_counts_and_no_auc(cohort: tuple[Patients, np.ndarray]) -> None:
    patients, p = cohort
    rows = {(row["kind"], row["value"]): row for row in subgroups(patients, p, 0.5, resamples=200)}
    assert "auc" in rows["sex", "F"]
    assert sum(row["n"] for (kind, _), row in rows.items() if kind == "sex") == 60
    assert not any(kind == "period" for kind, _ in rows)  # unknown for all
    small = rows.get(("size", ">=3 cm"))
    assert small is None or "auc" not in small
    assert "sex" in subgroups_text(list(rows.values()))


def test_characteristics_are_compared_by_the_test_that_fits(cohort: tuple[Patients, np.ndarray]) -> None:
    patients, p = cohort
    rows = {row["name"]: row for row in cohort_table(patients)}
    assert rows["diameter_mm"]["test"] == "Mann-Whitney"
    assert rows["diameter_mm"]["p_value"] < 0.01
    assert rows["sex"]["test"] == "chi-square"
    assert "Mann-Whitney" in cohort_text(list(rows.values()), "PIMA", "IPN")
    found = calibration(patients.labels, p)
    assert len(found["reliability"]) == 5
    assert sum(b["n"] for b in found["reliability"]) == 60
    assert "Brier" in calibration_text(found)
    assert "patients" in confusion_text({"patients": confusion(patients.labels, p, 0.5)}, "PIMA", "IPN")
