"""A network runs where it was told to, and calls that come together are answered together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import models.session
from dicom_node.engine.batcher import Batcher
from models.bundle import SHIPPED, find_bundle, load_bundle
from models.session import CPU, CUDA, DeviceUnavailable, Session

MODEL = find_bundle("cxr_tb", None, [SHIPPED]) / "model.onnx"
SIDE = load_bundle(MODEL.parent).config["inputs"]["image"]["shape"][-1]


class Recorder:
    """Stands where ONNX Runtime's session is: notes the providers it was given and falls back as the library does."""

    def __init__(self, works: bool) -> None:
        self.works = works
        self.asked: list[Any] = []
        self._real = onnxruntime.InferenceSession

    def __call__(self, path: str, options: Any, providers: list[Any]) -> Any:
        self.asked = providers
        self.threads = options.intra_op_num_threads
        session = self._real(path, options, providers=[CPU])
        if self.works and len(providers) > 1:
            session.get_providers = lambda: [CUDA, CPU]
        return session


@pytest.mark.parametrize(
    ("device", "provider", "card", "works", "used"),
    [
        ("cpu", True, True, True, "cpu"),
        ("auto", True, True, True, "cuda"),
        ("auto", True, False, True, "cpu"),  # no card: the provider is not even asked for
        ("auto", False, True, True, "cpu"),
        ("auto", True, True, False, "cpu"),  # told in log and provenance
        ("cuda", True, True, True, "cuda"),
        ("cuda", True, True, False, None),
        ("cuda", False, True, True, None),
    ],
)
def test_the_device_in_use_is_the_one_that_was_asked_for_or_an_error(
    device: str, provider: bool, card: bool, works: bool, used: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``cuda`` without a working provider raises, ``auto`` says what it took, ``cpu`` never touches the GPU."""
    recorder = Recorder(works)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU] if provider else [CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", recorder)
    monkeypatch.setattr(models.session, "_DEVICE_FILES", (MODEL if card else Path("/nowhere"),))
    if used is None:
        with pytest.raises(DeviceUnavailable, match="GPU was asked for"):
            Session(MODEL, threads=3, device=device)
    else:
        assert Session(MODEL, threads=3, device=device).device == used
        assert recorder.threads == 3
        assert (len(recorder.asked) == 2) is (used == "cuda" or (device == "auto" and provider and card))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sessions made in the test are put together; gives the sizes of the calls that were made."""
    sizes: list[int] = []
    batchers: list[Batcher[Any, Any]] = []

    def together(run_many: Any) -> Any:
        def noted(several: Sequence[Any]) -> Any:
            sizes.append(len(several))
            return run_many(several)

        batchers.append(Batcher(noted, most=4, wait_seconds=5))
        return batchers[-1]

    monkeypatch.setattr(models.session, "_together", together)
    yield sizes
    for batcher in batchers:
        batcher.close()


def test_passes_that_come_together_are_one_pass_with_each_its_own_answer(calls: list[int]) -> None:
    """Four threads, one forward pass; each gets what the network says of its own image alone."""
    images = np.random.default_rng(0).normal(size=(4, 1, 1, SIDE, SIDE)).astype(np.float32)
    together = Session(MODEL, device="cpu")
    gate = threading.Barrier(4)

    def ask(image: Any) -> dict[str, Any]:
        gate.wait()
        return together.run({"image": image})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, images))
    assert calls == [4]
    for image, answer in zip(images, answers, strict=True):
        alone = together._run_once({"image": image})
        for name, value in alone.items():
            assert answer[name].shape == value.shape
            np.testing.assert_allclose(answer[name], value, rtol=1e-3, atol=1e-4)


def test_the_time_within_networks_is_counted_for_each_thread(calls: list[int]) -> None:
    """The clock of a thread counts its own passes, and starts anew when told to."""
    session = Session(MODEL, device="cpu")
    models.session.clock.reset()
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(session.run, {"image": np.zeros((1, 1, SIDE, SIDE), np.float32)}) for _ in range(4)]:
            future.result()
    assert models.session.clock.seconds() == 0
    models.session.clock.add(1.5)
    assert models.session.clock.seconds() == 1.5
    models.session.clock.reset()
    assert models.session.clock.seconds() == 0
