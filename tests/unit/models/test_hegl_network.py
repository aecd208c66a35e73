"""The network whose attention is the explanation: its graph equals torch, its maps are shares, its stem is never trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.export import export_attention
from models.session import Session
from models.training.data import Row
from models.training.hegl.losses import Static
from models.training.hegl.study import halved
from models.training.hegl.train import LUNG_WEIGHT, Objective, Recipe, fit, overlap_prior, positive_weights, say
from models.training.hegl.training_set import (
    CHANGED,
    CLASSES,
    PASTED,
    PLAIN,
    Batch,
    Boxed,
    HeglSet,
    batches,
    fold_of,
    label_row,
    targets,
)
from models.training.loop import LoopSettings
from models.zoo.hegl_cnn import HeglCnn
from models.zoo.hegl_vit import FULL, HeglVit, LiteStem, Said

TINY = {"width": 16, "layers": 1, "heads": 2, "mlp": 16, "decoder_width": 16}


def tiny(classes: int = 2) -> HeglVit:
    torch.manual_seed(3)
    return HeglVit(classes, 64, stem="patch", **TINY)


def test_attention_logits_and_embedding_of_the_graph_equal_torch(tmp_path: Path) -> None:
    net = tiny(3).eval()
    probe = np.random.default_rng(1).normal(size=(3, 1, 64, 64)).astype(np.float32)
    assert export_attention(net, 64, tmp_path / "model.onnx", probe) <= 1e-4
    got = Session(tmp_path / "model.onnx", device="cpu").run({"image": probe})
    with torch.no_grad():
        said = net.read(net.features(torch.from_numpy(probe)))
    assert got["attention"].shape == (3, 3, 4, 4)
    assert np.abs(got["attention"] - said.attention.numpy()).max() <= 1e-4
    assert got["attention"].sum((2, 3)) == pytest.approx(np.ones((3, 3)), abs=1e-5)
    assert got["probabilities"] == pytest.approx(1 / (1 + np.exp(-got["logits"])), abs=1e-6)


def test_the_published_network_comes_from_the_same_file() -> None:
    with torch.device("meta"):
        net = HeglVit(14, 224, **FULL)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(110.6e6, rel=0.02)


def test_the_frozen_stem_keeps_its_weights_and_statistics() -> None:
    net = HeglVit(2, 32, **TINY).train()
    assert isinstance(net.stem, LiteStem)
    before = {name: value.clone() for name, value in net.stem.state_dict().items()}
    net(torch.randn(2, 1, 32, 32)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in net.stem.state_dict().items())
    assert all(p.grad is None for p in net.stem.parameters())
    assert net.head.weight.grad is not None


def test_class_maps_of_the_convolutional_variant_are_what_autograd_gives() -> None:
    torch.manual_seed(4)
    net = HeglCnn(2, 8).eval()
    maps = torch.randn(1, 80, 4, 4)
    last = net.body(maps).detach().requires_grad_(True)
    net.head(last.mean((2, 3)))[0, 1].backward()
    expected = torch.relu((last.grad.mean((2, 3), keepdim=True) * last.shape[2] * last.shape[3] * last).sum(1))
    assert expected.max() > 1e-3
    assert net.read(maps).attention[:, 1].detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)


def _quadrants(n: int, seed: int) -> Batch:
    """Return images with a bright quadrant where a finding is present: the first in the upper half, the second in the lower."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.1, (n, 1, 64, 64)).astype(np.float32)
    labels, masks = rng.integers(0, 2, (n, 2)), np.zeros((n, 2, 4, 4), np.float32)
    for i in range(n):
        for c in np.flatnonzero(labels[i]):
            side = int(rng.integers(2))
            images[i, 0, 32 * c : 32 * c + 32, 32 * side : 32 * side + 32] += 1
            masks[i, c, 2 * c : 2 * c + 2, 2 * side : 2 * side + 2] = 1
    arrays = images, labels, masks, labels.astype(np.float32), np.ones((n, 4, 4), np.float32)
    return Batch(*(torch.from_numpy(array) for array in arrays))


def test_human_alignment_draws_attention_to_the_marks(tmp_path: Path) -> None:
    held = _quadrants(64, 99)
    energy = {}
    for name, alpha in (("plain", 0.0), ("aligned", 1.0)):
        settings = LoopSettings(4, 3e-3, average=0.8, threads=1)
        kept = tmp_path / f"{name}.pt"
        weighting = Static(alpha, 0.0)
        net, history = fit(
            tiny(),
            Recipe(name, lambda w=weighting: w),
            lambda epoch: (_quadrants(32, 100 * epoch + step) for step in range(15)),
            15,
            settings,
            kept=kept,
        )
        again, same = fit(tiny(), Recipe(name, lambda: Static(0, 0)), lambda epoch: [], 15, settings, kept=kept)
        assert same == history
        logits, attention = say(net, held.maps.numpy())
        assert np.array_equal(say(again, held.maps.numpy())[0], logits)
        present = held.labels.numpy() == 1
        energy[name] = float((attention * held.marks.numpy()).sum((2, 3))[present].mean())
    assert energy["aligned"] > energy["plain"] + 0.1
    assert energy["aligned"] > 0.5


class _Even(torch.nn.Module):
    """Says nothing and looks everywhere alike."""

    def read(self, maps: torch.Tensor) -> Said:
        n = len(maps)
        return Said(torch.zeros(n, 1), torch.zeros(n, 1), torch.full((n, 1, 2, 2), 0.25))


def test_where_nobody_marked_a_finding_only_attention_outside_the_lungs_counts() -> None:
    lungs = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.tensor([[1]]), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1), lungs)
    assert float(Objective(1).losses(_Even(), batch).ha) == pytest.approx(LUNG_WEIGHT * 0.25)
    absent = batch._replace(labels=torch.tensor([[0]]))
    assert float(Objective(1).losses(_Even(), absent).ha) == 0
    marked = batch._replace(marks=torch.ones(1, 1, 2, 2), weights=torch.ones(1, 1))
    assert float(Objective(1).losses(_Even(), marked).ha) == pytest.approx(0)  # even attention and an even mark are the same


def _set() -> HeglSet:
    """Two normals and two abnormal images, the last with a box; copies of the first: pasted, and pasted in vain."""
    rows = [
        Row(f"i{n}", "f", label, "nih_cxr14", f"p{n}", "PA", "train")
        for n, label in enumerate(("normal",) * 2 + ("pneumonia",) * 2)
    ]
    labels = np.array([label_row(row, "pneumonia") for row in rows], np.int8)
    owner, kind = np.array([0, 1, 2, 3, 0, 1, 3]), np.array([PLAIN, PLAIN, PLAIN, PLAIN, PASTED, PASTED, CHANGED], np.int8)
    marks = np.zeros((7, 4, 4), np.float32)
    marks[[3, 4, 6], :2, :2] = 1
    maps = np.arange(7 * 16, dtype=np.float16).reshape(7, 1, 4, 4)
    boxed = {3: Boxed(3, ((0, 0, 1, 1),), np.zeros((4, 4), np.uint8), None)}  # type: ignore[arg-type]
    return HeglSet(rows, labels, boxed, maps, np.ones((7, 4, 4), np.float32), marks, owner, kind)


def test_a_pasted_opacity_makes_a_normal_abnormal_only_where_it_was_really_pasted() -> None:
    batch = targets(_set(), np.arange(7))
    assert batch.labels[:, 0].tolist() == [0, 0, 1, 1, 1, 0, 1]
    assert batch.labels[4, 1:].tolist() == [-1] * (len(CLASSES) - 1)
    assert batch.weights[:, 0].tolist() == [0, 0, 0, 1, 1, 0, 1]
    assert batch.weights[:, 2:].sum() == 0
    assert batch.marks[6, 0].sum() == 4


def test_batches_are_balanced_and_the_few_boxed_images_are_drawn_more_often() -> None:
    made = _set()
    drawn = {share: list(batches(made, np.arange(4), 40, 16, seed=1, pasted=0, boxed=share)) for share in (0.0, 0.9)}
    assert np.mean([b.labels[:, 0].numpy() for b in drawn[0.0]]) == pytest.approx(0.5, abs=0.06)
    marked = {share: np.mean([b.weights[:, 0].numpy() for b in each]) for share, each in drawn.items()}
    assert marked[0.9] > marked[0.0] + 0.15


def test_half_the_side_keeps_the_means() -> None:
    made, small = _set(), halved(_set())
    assert small.maps.shape == (7, 1, 2, 2)
    assert small.maps[0, 0, 0, 0] == made.maps[0, 0, :2, :2].mean()
    assert small.marks[3].tolist() == [[1, 0], [0, 0]]


def test_what_a_source_does_not_tell_is_unknown() -> None:
    reported = Row("i", "f", "pneumonia", "nih_cxr14", "p", "PA", "train")
    assert label_row(reported, "Edema|Pneumonia") == [1, 1, 0, 0, 1, 0]
    assert label_row(Row("i", "f", "tuberculosis", "tbx11k", "p", "PA", "train"), "") == [1, -1, -1, -1, -1, -1]
    assert label_row(Row("i", "f", "normal", "ieee8023_covid", "p", "PA", "train"), "") == [0] * len(CLASSES)


def test_a_patient_stays_in_one_fold_and_the_folds_are_even() -> None:
    folds = [fold_of(f"p{n}") for n in range(2000)]
    assert folds == [fold_of(f"p{n}") for n in range(2000)]
    assert np.bincount(folds) / 2000 == pytest.approx(np.full(5, 0.2), abs=0.03)


def test_rare_findings_weigh_more_and_the_balanced_one_does_not() -> None:
    labels = np.array([[1, 1, -1], [1, 0, 0], [0, 0, 0], [0, 0, 1]], np.int8)
    assert positive_weights(labels).tolist() == [1.0, 3.0, 2.0]


def test_findings_with_the_same_mean_mask_overlap_wholly() -> None:
    labels = np.array([[1, 1, 0], [1, 1, 1]])
    masks = np.zeros((2, 3, 2, 2), np.float32)
    masks[:, :2, 0, 0] = 1
    masks[:, 2, 1, 1] = 1
    rho = overlap_prior(labels, masks)
    assert rho[0, 1] == 1
    assert rho[0, 2] == 0
