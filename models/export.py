"""From a torch network to the one ONNX file that inference runs, with the class maps as outputs of the same forward pass.

Head rule: last feature map A (K x h x w), never negative; a_k = mean of A^k; y_c = sum_k w_ck a_k + b_c. No gradient is needed:

- Grad-CAM of the logit (Selvaraju et al., ICCV 2017): map_c = relu(sum_k w_ck A^k), the factor 1/(h w) left out;
- Grad-CAM++ with Y = exp(y) (Chattopadhay et al., WACV 2018): weight_ck = relu(w_ck) / (2 + w_ck a_k), map_c = relu(sum_k
  weight_ck A^k). From alpha = g^2 / (2 g^2 + S_k g^3) with g = w_ck / (h w) and S_k = h w a_k.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.session import Session
from models.zoo.hegl_vit import HeglGraph
from models.zoo.ntm_cnn3d import NtmCnn3d, NtmGraph

OUTPUTS = ("logits", "probabilities", "embedding", "cam", "campp")
ATTENTION_OUTPUTS = ("logits", "probabilities", "embedding", "attention")
VOLUME_OUTPUTS = (*OUTPUTS, "attention", "clinical_contribution")
TOLERANCE = 1e-4


class ClassifierGraph(nn.Module):
    """All outputs of one forward pass. ``net`` has ``features`` (a map that is never negative) and ``head`` (one linear layer)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return logits (N, C), probabilities (N, C), embedding (N, K), cam and campp (N, C, h, w)."""
        maps = self.net.features(image)  # (N, K, h, w)
        weight = self.net.head.weight  # (C, K)
        embedding = maps.mean((2, 3))  # (N, K)
        logits = F.linear(embedding, weight, self.net.head.bias)  # (N, C)
        first = torch.sigmoid(logits[:, :1])
        probabilities = first if weight.shape[0] == 1 else torch.cat([first, torch.softmax(logits[:, 1:], 1)], 1)
        flat = maps.flatten(2)  # (N, K, h*w)
        shape = (-1, weight.shape[0], maps.shape[2], maps.shape[3])
        cam = F.relu(torch.matmul(weight, flat)).reshape(shape)
        plus = F.relu(weight)[None] / (2 + weight[None] * embedding[:, None])  # (N, C, K)
        # where w < 0 the numerator is 0 and the denominator may be too: the weight is 0 there by definition
        plus = torch.where(weight[None] > 0, plus, torch.zeros_like(plus))
        campp = F.relu(torch.matmul(plus, flat)).reshape(shape)
        return logits, probabilities, embedding, cam, campp


def export_classifier(net: nn.Module, size: int, path: Path, probe: NDArray[np.float32]) -> float:
    """Write the graph and return the largest difference to torch over all outputs on ``probe`` (N, 1, size, size).

    Raises
    ------
    ValueError
        The last activation is negative somewhere (the closed forms would not hold), or the difference exceeds 1e-4.
    """
    net = net.eval()
    with torch.no_grad():
        if float(net.features(torch.from_numpy(probe)).min()) < 0:
            raise ValueError("the last feature map is negative somewhere: the closed forms of the class maps do not hold")
    return _write(ClassifierGraph(net).eval(), path, {"image": _square(probe, size)}, OUTPUTS)


def export_attention(net: nn.Module, size: int, path: Path, probe: NDArray[np.float32]) -> float:
    """Write the graph of ``models.zoo.hegl_vit``, attention included; returns and raises as ``export_classifier``."""
    return _write(HeglGraph(net).eval(), path, {"image": _square(probe, size)}, ATTENTION_OUTPUTS)


def export_volume(net: NtmCnn3d, path: Path, image: NDArray[np.float32], clinical: NDArray[np.float32]) -> float:
    """Write the graph of ``models.zoo.ntm_cnn3d`` for volumes of the probe's size; returns and raises as ``export_classifier``.

    ``image``: (n, 1, D, H, W). ``clinical``: (n, 11).
    """
    return _write(NtmGraph(net.eval()).eval(), path, {"image": image, "clinical": clinical}, VOLUME_OUTPUTS)


def export_segmenter(net: nn.Module, size: int, path: Path, probe: NDArray[np.float32]) -> float:
    """Write ``image`` -> ``mask_probability`` and return the largest difference to torch; raises as ``export_classifier``."""
    return _write(net.eval(), path, {"image": _square(probe, size)}, ("mask_probability",))


def _square(probe: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    if probe.shape[1:] != (1, size, size):
        raise ValueError(f"the probe has shape {probe.shape}, not (n, 1, {size}, {size})")
    return probe


def _write(graph: nn.Module, path: Path, probes: dict[str, NDArray[np.float32]], outputs: tuple[str, ...]) -> float:
    """Write the graph with the inputs of ``probes``, by name and in their order, any number of cases; compare it with torch."""
    cases = torch.export.Dim("n", min=1, max=256)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "model.onnx"
        torch.onnx.export(
            graph,
            tuple(torch.zeros(2, *probe.shape[1:]) for probe in probes.values()),
            str(raw),
            input_names=list(probes),
            output_names=list(outputs),
            dynamic_shapes={name: {0: cases} for name in probes},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(str(raw))
    _without_traces(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    with torch.no_grad():
        expected = graph(*(torch.from_numpy(probe) for probe in probes.values()))
    expected = expected if isinstance(expected, tuple) else (expected,)
    got = Session(path, threads=1, device="cpu").run(probes)
    worst = max(float(np.abs(got[name] - value.numpy()).max()) for name, value in zip(outputs, expected, strict=True))
    if worst > TOLERANCE:
        raise ValueError(f"ONNX and torch differ by {worst:.2e}, more than {TOLERANCE:g}")
    return worst


def _without_traces(model: onnx.ModelProto) -> None:
    """Drop stack traces and paths of the machine that exported: they are of no use and differ between machines."""
    model.doc_string = ""
    del model.metadata_props[:]
    for group in (model.graph.node, model.graph.value_info, model.graph.input, model.graph.output, model.graph.initializer):
        for item in group:
            item.doc_string = ""
            del item.metadata_props[:]
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
