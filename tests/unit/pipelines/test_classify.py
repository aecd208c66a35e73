"""Slices of a study go through the network together on a GPU and one by one on a CPU, with the same answers in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models.bundle
from models.bundle import Bundle, find_bundle, load_bundle
from models.session import Session
from pipelines.blocks import classify as block
from pipelines.blocks.prepare_cxr import Prepared


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(find_bundle("ct_pima_ipn", None, [Path(models.bundle.__file__).parent / "bundles"]))


class Noting(Session):
    """A session that says it runs on ``device`` and notes how many images each pass had."""

    def __init__(self, path: Path, device: str) -> None:
        super().__init__(path, device="cpu")
        self.device = device
        self.passes: list[int] = []

    def run(self, inputs: Any) -> Any:
        self.passes.append(len(inputs["image"]))
        return super().run(inputs)


def slices(bundle: Bundle, count: int) -> list[Prepared]:
    size = int(bundle.config["preprocessing"]["size"])
    pictures = np.random.default_rng(3).normal(0, 1, (count, 1, 1, size, size)).astype(np.float32)
    return [Prepared(picture, np.eye(3), {}, (), (size, size)) for picture in pictures]


def test_a_gpu_gets_them_in_one_pass_up_to_a_limit_and_a_cpu_one_by_one(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "AT_ONCE", 3)
    given = slices(bundle, 4)
    on_gpu, on_cpu = Noting(bundle.model, "cuda"), Noting(bundle.model, "cpu")
    together, alone = block.classify_all(given, bundle, on_gpu), block.classify_all(given, bundle, on_cpu)
    assert (on_gpu.passes, on_cpu.passes) == ([3, 1], [1, 1, 1, 1])
    for one, other, picture in zip(together, alone, given, strict=True):
        assert one.probabilities["pima"] == pytest.approx(other.probabilities["pima"], abs=1e-5)
        assert one.maps["Grad-CAM"]["pima"] == pytest.approx(other.maps["Grad-CAM"]["pima"], abs=1e-4)
        assert one.distance == pytest.approx(other.distance, rel=1e-4)
        assert other.probabilities == block.classify(picture, bundle, on_cpu).probabilities
    assert len({one.probabilities["pima"] for one in together}) == 4
    assert block.classify_all([], bundle, on_gpu) == []
