"""A made-up classifier bundle whose graph a reader can compute by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from models.bundle import write_manifest

SIZE = 64
CLASSES = (("abnormal", "sigmoid"), ("tuberculosis", "softmax"), ("pneumonia", "softmax"), ("normal", "softmax"))
SHAPES = {"logits": ["n", 4], "probabilities": ["n", 4], "embedding": ["n", 1], "cam": ["n", 4, 8, 8], "campp": ["n", 4, 8, 8]}
POINT = {
    "finding": "abnormal",
    "feasible": True,
    "tau": 0.5,
    "tau_low": 0.3,
    "tau_high": 0.8,
    "views": ["PA"],
    "guarantee": "made up",
}


def classifier_bundle(folder: Path, points: dict[str, Any] | None = None, bias: float = 0.0, **more: Any) -> Path:
    """Write a bundle: features = mean of 8 x 8 pixels, embedding = their mean, abnormal's logit = 4 * embedding + ``bias``."""
    folder.mkdir(parents=True)
    weights = np.array([[4.0], [0.5], [0.25], [-1.0]], np.float32)
    constants = {
        "w": weights,
        "b": np.array([bias, 0, 0, 0], np.float32),
        "wk": weights.reshape(4, 1, 1, 1),
        "axes": np.array([2, 3], np.int64),
    }
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Relu", ["pooled"], ["maps"]),
        helper.make_node("ReduceMean", ["maps", "axes"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "w", "b"], ["logits"], transB=1),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        helper.make_node("Conv", ["maps", "wk"], ["raw"]),
        helper.make_node("Relu", ["raw"], ["cam"]),
        helper.make_node("Sqrt", ["cam"], ["campp"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, SIZE, SIZE])]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in SHAPES.items()]
    graph = helper.make_graph(nodes, "made_up", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "operating_points.yaml").write_text(yaml.safe_dump({"policies": points or {"screening": POINT}}))
    (folder / "calibration.yaml").write_text(yaml.safe_dump({"method": "temperature", "parameters": {"temperature": 2.0}}))
    manifest = {
        "name": "cxr_tb",
        "version": "0.0.1",
        "task": "made up",
        "intended_use": "tests",
        "evidence": "demo",
        "preprocessing": {"size": SIZE, "working_size": 256, "percentiles": [0.5, 99.5], "mean": 0.0, "std": 1.0},
        "outputs": [
            {
                "key": key,
                "code": ["1", "99PACSAI", key.capitalize()],
                "assessed": key == "abnormal",
                "note": "",
                "activation": activation,
            }
            for key, activation in CLASSES
        ],
        **more,
    }
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    write_manifest(folder)
    return folder
