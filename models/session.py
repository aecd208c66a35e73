"""One network in ONNX Runtime, on the device that was asked for and no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.bundle import BundleError

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
_DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # Linux; Windows' Linux subsystem


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

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return every output by name for one forward pass."""
        values = self._session.run(None, {name: np.ascontiguousarray(value) for name, value in inputs.items()})
        return dict(zip(self.output_names, values, strict=True))
