"""A map that comes from what was learned changes when that is drawn anew; one that comes from the picture does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.bundle import load_bundle, write_manifest
from models.export import OUTPUTS, ClassifierGraph
from models.training.explain import NothingToExplain, explain
from models.training.randomisation import draw_anew, last_block, passes, randomisation
from models.zoo.hegl_vit import HeglVit
from models.zoo.lite_cxr import LiteCxr
from models.zoo.policy_cxr import Cnn3
from pipelines.blocks.smooth_saliency import rank_agreement
from tests.factories.cxr import classifier_bundle


def _pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noise with a bright spot somewhere in every second picture."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.3, (count, 1, 32, 32)).astype(np.float32)
    for n in range(0, count, 2):
        y, x = rng.integers(2, 22, 2)
        images[n, 0, y : y + 8, x : x + 8] += 1.5
    return torch.from_numpy(images), torch.from_numpy((np.arange(count) % 2 == 0).astype(np.float32))


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(3)
    net = Cnn3((4, 8), 4)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(40):
        images, labels = _pictures(16, step)
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(net(images)[:, 0], labels).backward()
        optimiser.step()
    return net.eval()


def _cam(net: nn.Module, images: Tensor) -> dict[str, np.ndarray]:
    got = dict(zip(OUTPUTS, ClassifierGraph(net)(images), strict=True))
    return {"Grad-CAM": got["cam"][:, 0].numpy()}


def _edges(_: nn.Module, images: Tensor) -> dict[str, np.ndarray]:
    return {"edges": images[:, 0].abs().numpy()}


def test_the_map_of_a_trained_network_passes_and_leaves_the_network_alone(trained: nn.Module) -> None:
    images, _ = _pictures(16, 99)
    before = [value.clone() for value in trained.state_dict().values()]
    result = randomisation(trained, images[::2], _cam)["Grad-CAM"]
    assert all(torch.equal(a, b) for a, b in zip(before, trained.state_dict().values(), strict=True))
    assert result["images"] == 8
    assert [step["layers"] for step in result["steps"]] == ["head", "head and last block"]
    assert all(step["spearman"] < 0.5 and not step["untouched"] for step in result["steps"])
    assert result["passes"]
    assert result == randomisation(trained, images[::2], _cam)["Grad-CAM"]


def test_a_map_of_edges_does_not_pass(trained: nn.Module) -> None:
    result = randomisation(trained, _pictures(8, 99)[0], _edges)["edges"]
    assert [step["spearman"] for step in result["steps"]] == pytest.approx([1.0, 1.0])
    assert all(step["untouched"] for step in result["steps"])
    assert not result["passes"]


def test_a_step_that_cannot_touch_the_map_is_left_out_and_another_must_change_it() -> None:
    aside = {"layers": "head", "spearman": 1.0, "untouched": True}
    assert passes([aside, {"spearman": 0.2, "untouched": False}])
    assert not passes([aside, {"spearman": 0.7, "untouched": False}])
    assert not passes([{"spearman": 0.6, "untouched": False}, {"spearman": 0.1, "untouched": False}])


def test_the_last_block_is_the_last_that_holds_weights_before_the_head() -> None:
    lite, hegl, small = LiteCxr(8), HeglVit(2, 32), Cnn3((4, 8))
    assert last_block(lite) == [lite.last]
    assert last_block(hegl) == [hegl.decoder[-1]]
    assert [type(layer).__name__ for layer in last_block(small)] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    kept = small.body[0].weight.clone()
    draw_anew([small.head, *last_block(small)], 1)
    assert torch.equal(small.body[0].weight, kept)
    with pytest.raises(ValueError, match="head"):
        last_block(nn.Sequential(nn.Linear(2, 2)))


def test_ranks_agree_with_themselves_and_not_with_nothing() -> None:
    reference = np.arange(12, dtype=np.float32).reshape(3, 4)
    maps = np.stack([reference**3, -reference, np.zeros((3, 4), np.float32)])
    assert rank_agreement(maps, reference) == pytest.approx([1.0, -1.0, 0.0])
    assert np.isnan(rank_agreement(maps, np.zeros((3, 4), np.float32))).all()


def test_a_bundle_without_maps_or_made_with_other_images_is_told_so(tmp_path: Path) -> None:
    inputs = {"image": {"shape": ["n", 1, 64, 64]}}
    silent = load_bundle(classifier_bundle(tmp_path / "silent", saliency="none", inputs=inputs))
    with pytest.raises(NothingToExplain, match="has no maps"):
        explain(silent, tmp_path, tmp_path)
    other = classifier_bundle(tmp_path / "other", saliency="cam", inputs=inputs)
    (other / "provenance.yaml").write_text("data_index_sha256: elsewhere\n")
    (tmp_path / "index.csv").write_text("image_id,file\n")
    with pytest.raises(NothingToExplain, match="was not made with this index"):
        explain(write_manifest(other), tmp_path, tmp_path)
