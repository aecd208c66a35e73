"""What an image costs on one CPU thread: ``python -m models.training.speed --bundle DIR``.

The graph runs in ONNX Runtime with one thread on one image. CPU time of the process is counted, not the clock on the wall, so that
a machine with other work gives the same figure. The cost of the saliency maps is the ratio to the same graph without those outputs
(ONNX Runtime drops what nothing needs), the two measured in turns, the median of the ratios.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.training.amend import add_figures

#: Outputs that explain; all others are the answer itself.
MAPS = ("cam", "campp", "attention")
THREADS = 1
LEAST, MOST = 5, 60  # turns

Inputs = dict[str, NDArray[Any]]


def measure(folder: Path, seconds: float = 8.0) -> dict[str, Any]:
    """Return the figures of one bundle.

    Parameters
    ----------
    seconds
        CPU time after which no further turn is begun; five turns are made in any case.

    Returns
    -------
    dict
        ``ms_per_image``: median, all outputs. ``threads``, ``turns``, ``device`` (cpu), ``input``: shape of what was put in.
        ``map_cost_ratio``: with map outputs over without; ``None`` for a graph without any.
    """
    bundle = load_bundle(folder)
    model = onnx.load(str(bundle.model))
    whole = _session(model)
    plain = _session(without_maps(model)) if any(o.name in MAPS for o in model.graph.output) else None
    inputs = example(bundle, whole)
    for session in (whole, plain):  # the first runs allocate
        if session is not None:
            session.run(None, inputs)
            session.run(None, inputs)
    spent: list[float] = []
    ratios: list[float] = []
    started = time.process_time()
    while len(spent) < LEAST or (len(spent) < MOST and time.process_time() - started < seconds):
        spent.append(_cpu_seconds(whole, inputs))
        if plain is not None:
            ratios.append(spent[-1] / _cpu_seconds(plain, inputs))
    return {
        "ms_per_image": 1000 * float(np.median(spent)),
        "threads": THREADS,
        "turns": len(spent),
        "device": "cpu",
        "input": {name: list(value.shape) for name, value in inputs.items()},
        "map_cost_ratio": float(np.median(ratios)) if ratios else None,
    }


def without_maps(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with the map outputs taken off."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    kept = [output for output in plain.graph.output if output.name not in MAPS]
    del plain.graph.output[:]
    plain.graph.output.extend(kept)
    return plain


def example(bundle: Bundle, session: onnxruntime.InferenceSession) -> Inputs:
    """Return one input of the graph's shape, drawn evenly from the bundle's own value range (else 0..1).

    Raises
    ------
    ValueError
        An axis other than the first is free in the graph, and the bundle does not say how long it is.
    """
    rng = np.random.default_rng(0)
    inputs: Inputs = {}
    for wanted in session.get_inputs():
        told = (bundle.config.get("inputs") or {}).get(wanted.name, {})
        shape = [n if isinstance(n, int) else m for n, m in zip(wanted.shape, told.get("shape", wanted.shape), strict=True)]
        shape[0] = 1
        if not all(isinstance(n, int) for n in shape):
            raise ValueError(f"{bundle.label} does not say the shape of its input {wanted.name}")
        low, high = told.get("value_range", (0.0, 1.0))
        inputs[wanted.name] = (low + (high - low) * rng.random(shape)).astype(np.float32)
    return inputs


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _cpu_seconds(session: onnxruntime.InferenceSession, inputs: Inputs) -> float:
    started = time.process_time()
    session.run(None, inputs)
    return time.process_time() - started


def main() -> None:
    """Measure the bundles and write the figures into them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, nargs="+", help="bundle folder(s)")
    parser.add_argument("--show", action="store_true", help="print only, change nothing")
    options = parser.parse_args()
    for folder in options.bundle:
        speed = measure(folder)
        bundle = load_bundle(folder) if options.show else add_figures(folder, {"speed": speed})
        ratio = speed["map_cost_ratio"]
        maps = "no maps" if ratio is None else f"maps cost {ratio:.3f} x"
        print(f"{bundle.label}: {speed['ms_per_image']:.1f} ms an image, CPU, {THREADS} thread; {maps}")


if __name__ == "__main__":
    main()
