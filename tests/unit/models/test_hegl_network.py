"""The network whose attention is the explanation: its graph equals torch, its maps are shares, its stem is never trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.export import export_attention
from models.session import Session
from models.training.data import Row
from models.training.hegl_losses import Static
from models.training.hegl_set import CLASSES, fold_of, label_row
from models.training.hegl_train import Recipe, fit, overlap_prior, positive_weights, say
from models.training.loop import LoopSettings
from models.zoo.hegl_cnn import HeglCnn
from models.zoo.hegl_vit import FULL, HeglVit, LiteStem

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


def _quadrants(n: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Return images with a bright quadrant where a finding is present: the first in the upper half, the second in the lower."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.1, (n, 1, 64, 64)).astype(np.float32)
    labels, masks = rng.integers(0, 2, (n, 2)), np.zeros((n, 2, 4, 4), np.float32)
    for i in range(n):
        for c in np.flatnonzero(labels[i]):
            side = int(rng.integers(2))
            images[i, 0, 32 * c : 32 * c + 32, 32 * side : 32 * side + 32] += 1
            masks[i, c, 2 * c : 2 * c + 2, 2 * side : 2 * side + 2] = 1
    return torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(masks), torch.from_numpy(labels).float()


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
        logits, attention = say(net, held[0].numpy())
        assert np.array_equal(say(again, held[0].numpy())[0], logits)
        present = held[1].numpy() == 1
        energy[name] = float((attention * held[2].numpy()).sum((2, 3))[present].mean())
    assert energy["aligned"] > energy["plain"] + 0.1
    assert energy["aligned"] > 0.5


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
