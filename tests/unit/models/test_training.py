"""The parts of training: a loop that can be stopped, the baseline that is stored, the changes that a figure must bear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from models.training import thumbnail
from models.training.cxr.stability import CHANGES, changed, stability
from models.training.loop import LoopSettings, train


def _trained(epochs: list[int], checkpoint: Path | None = None, stop_after: int | None = None) -> nn.Module:
    def batches(epoch: int) -> list[tuple[torch.Tensor, ...]]:
        if epoch == stop_after:
            raise KeyboardInterrupt
        epochs.append(epoch)
        rng = torch.Generator().manual_seed(epoch)
        return [(torch.rand(8, 3, generator=rng),) for _ in range(4)]

    torch.manual_seed(1)
    net = nn.Linear(3, 1)
    settings = LoopSettings(4, 1e-2, threads=1)
    return train(net, batches, 4, lambda n, batch: ((n(batch[0]) - 1) ** 2).mean(), settings, lambda _: None, checkpoint)[0]


def test_a_training_that_was_stopped_goes_on_and_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    whole = _trained([])
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _trained(seen, tmp_path / "state.pt", stop_after=2)
    resumed = _trained(seen, tmp_path / "state.pt")
    assert seen == [0, 1, 2, 3]
    assert torch.allclose(whole.weight, resumed.weight)


def test_the_stored_thumbnail_baseline_is_the_logistic_regression_it_claims_to_be(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    grey, label = rng.random((60, 256)), np.arange(60) % 2
    grey[label == 1, :20] += 0.2
    thumbnail.write(tmp_path, thumbnail.fit(grey, label), "ab" * 32)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=5000)).fit(grey, label)
    assert thumbnail.read(tmp_path).logits(grey) == pytest.approx(reference.decision_function(grey), abs=1e-9)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_alters_the_picture_alike_every_time_and_keeps_its_range(change: str) -> None:
    images = np.random.default_rng(2).random((2, 64, 64), np.float32)
    first = changed(images, change)
    assert np.array_equal(first, changed(images, change))
    assert not np.array_equal(first, images)
    assert first.min() >= 0
    assert first.max() <= 1


def test_an_auc_that_falls_under_a_change_is_not_within_the_limit() -> None:
    labels, patients = np.arange(40) % 2, np.arange(40)
    plain = labels + np.linspace(0, 0.5, 40)
    steady, shaken = stability(labels, plain, {"none": plain, "noise": np.linspace(0, 1, 40)}, patients, 200)
    assert (steady["within"], shaken["within"]) == (True, False)
    assert steady["difference"] == [0, 0, 0]
    assert shaken["difference"][2] < 0
