"""One network in ONNX Runtime, on the device that was asked for and no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.bundle import BundleError

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
_DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # Linux; Windows' Linux subsystem


Inputs = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]
RunMany = Callable[[Sequence[Inputs]], Sequence[Outputs]]


class Clock(threading.local):
    """Seconds that this thread has spent within networks since ``reset``."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def reset(self) -> None:
        """Start at nought."""
        self._seconds = 0.0

    def seconds(self) -> float:
        """Return the sum."""
        return self._seconds

    def add(self, seconds: float) -> None:
        """Count a forward pass."""
        self._seconds += seconds


clock = Clock()
_together: Callable[[RunMany], Callable[[Inputs], Outputs]] | None = None


def put_together(make: Callable[[RunMany], Callable[[Inputs], Outputs]] | None) -> None:
    """Have sessions loaded from now on answer calls that come at the same time in one forward pass.

    ``make`` gets a function that answers several inputs at once and returns one that answers one; ``None``: each by itself again.
    Only graphs whose first axis is free take part. The last bits of a result may then depend on its companions.
    """
    global _together
    _together = make


def gpu_present() -> bool:
    """Say whether ``device="auto"`` would try a GPU: one is in the machine, and this ONNX Runtime was built for it."""
    return any(path.exists() for path in _DEVICE_FILES) and CUDA in onnxruntime.get_available_providers()


class DeviceUnavailable(BundleError):
    """The GPU was asked for by name and is not really in use. ONNX Runtime itself would fall back to the CPU in silence."""


class Session:
    """A loaded graph.

    Parameters
    ----------
    model_path
        One ONNX file without external data.
    threads
        Threads inside one operator. Fixed, so that sums run in one order and the same input gives the same bytes.
    device
        ``cpu``; ``cuda`` (raises when the provider does not load); ``auto`` = CUDA where a GPU is present, else the CPU.

    Raises
    ------
    DeviceUnavailable
        ``device="cuda"`` and the CUDA provider is not in use.
    ValueError
        An unknown device word.
    """

    def __init__(self, model_path: Path | str, threads: int = 1, device: str = "auto") -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f'device "{device}" is not known. Known: auto, cpu, cuda')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        wants_gpu = device == "cuda" or (device == "auto" and any(path.exists() for path in _DEVICE_FILES))
        providers: list[Any] = [CPU]
        if wants_gpu and CUDA in onnxruntime.get_available_providers():
            # TF32 rounds the mantissa to 10 bits: then GPU and CPU would differ by more than the tolerance of 1e-3
            providers = [(CUDA, {"use_tf32": "0"}), CPU]
        self._session = onnxruntime.InferenceSession(str(model_path), options, providers=providers)
        in_use = self._session.get_providers()[0]
        if device == "cuda" and in_use != CUDA:
            raise DeviceUnavailable(
                "the GPU was asked for, but ONNX Runtime runs this network on the CPU (driver, CUDA or cuDNN missing)"
            )
        self.device = "cuda" if in_use == CUDA else "cpu"
        self.input_shapes: dict[str, list[Any]] = {i.name: list(i.shape) for i in self._session.get_inputs()}
        self.output_names: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        axes = [io.shape[:1] for io in (*self._session.get_inputs(), *self._session.get_outputs())]
        batchable = all(axis and not isinstance(axis[0], int) for axis in axes)
        self._answer = _together(self._run_many) if _together and batchable else self._run_once

    def run(self, inputs: Inputs) -> Outputs:
        """Return every output by name for one forward pass."""
        started = time.perf_counter()
        try:
            return self._answer(inputs)
        finally:
            clock.add(time.perf_counter() - started)

    def _run_many(self, several: Sequence[Inputs]) -> Sequence[Outputs]:
        """Answer inputs of the same shapes in one pass; others, and one alone, by themselves."""
        shapes = {tuple((name, value.shape[1:]) for name, value in sorted(inputs.items())) for inputs in several}
        if len(several) == 1 or len(shapes) > 1:
            return [self._run_once(inputs) for inputs in several]
        together = self._run_once({name: np.concatenate([inputs[name] for inputs in several]) for name in several[0]})
        ends = np.cumsum([len(next(iter(inputs.values()))) for inputs in several])[:-1]
        parts = {name: np.split(value, ends) for name, value in together.items()}
        return [{name: parts[name][n] for name in parts} for n in range(len(several))]

    def _run_once(self, inputs: Inputs) -> Outputs:
        values = self._session.run(None, {name: np.ascontiguousarray(value) for name, value in inputs.items()})
        return dict(zip(self.output_names, values, strict=True))
