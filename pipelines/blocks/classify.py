"""One forward pass of a classifier bundle: calibrated probabilities, maps, and how far the image lies from the training images."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dicom_node.core.bundle_ref import BundleRef
from models.bundle import Bundle
from models.session import Session
from pipelines.blocks.prepare_ct import PreparedVolume
from pipelines.blocks.prepare_cxr import Prepared


@dataclass(frozen=True)
class Classified:
    """What the network says of one image.

    ``probabilities``: calibrated, by class key. ``maps``: by method ("Grad-CAM", "Grad-CAM++", "Attention"), then by class key,
    raw float32 (h, w), of a volume (d, h, w), never negative; empty when the graph has none. ``embedding``: float32 (K,).
    ``distance``: Mahalanobis distance of the embedding over the bundle's limit (above 1 = unlike the training images); ``None``
    when the bundle has no reference. ``numbers``: whatever else the graph says of the case in one number, by output.
    """

    probabilities: Mapping[str, float]
    maps: Mapping[str, Mapping[str, NDArray[np.float32]]]
    embedding: NDArray[np.float32]
    distance: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)


#: ``saliency`` of bundle.yaml -> what a map is called and which output of the graph holds it, (n, classes, h, w).
MAPS = {"cam": {"Grad-CAM": "cam", "Grad-CAM++": "campp"}, "attention": {"Attention": "attention"}}

AT_ONCE = 16  # images in one forward pass on a GPU


@functools.lru_cache(maxsize=8)
def session_for(model_path: Path, bundle_sha256: str, threads: int, device: str) -> Session:
    """Return the loaded graph; the same one for the same bytes, so a worker loads a network once."""
    return Session(model_path, threads=threads, device=device)


def bundle_ref(bundle: Bundle) -> BundleRef:
    """Return which model answers, for the findings."""
    return BundleRef(bundle.name, bundle.version, bundle.sha256, bundle.evidence, bundle.synthetic, bundle.twin)


def classify(
    prepared: Prepared | PreparedVolume, bundle: Bundle, session: Session, beside: Mapping[str, NDArray[np.float32]] | None = None
) -> Classified:
    """Run the graph and calibrate. ``beside``: its inputs other than the image, by name, (1, n).

    The order of ``outputs`` in bundle.yaml is the order of the graph's classes. ``activation`` of an output is ``sigmoid`` (a
    question of its own) or ``softmax`` (the outputs that exclude each other).
    """
    return _said(session.run({"image": prepared.network_input, **(beside or {})}), 0, bundle, session.device)


def classify_all(prepared: Sequence[Prepared], bundle: Bundle, session: Session) -> list[Classified]:
    """Return ``classify`` of each image of a study, inputs of one shape: on a GPU up to ``AT_ONCE`` in one forward pass.

    On a CPU each goes by itself, as a batch would only need more memory at a time.
    """
    count = AT_ONCE if session.device == "cuda" else 1
    said: list[Classified] = []
    for first in range(0, len(prepared), count):
        images = [one.network_input for one in prepared[first : first + count]]
        got = session.run({"image": np.concatenate(images)})
        said += [_said(got, n, bundle, session.device) for n in range(len(images))]
    return said


def _said(got: Mapping[str, NDArray[Any]], row: int, bundle: Bundle, device: str) -> Classified:
    """Return what the graph said of one image of a batch, calibrated."""
    outputs = bundle.config["outputs"]
    keys = [str(o["key"]) for o in outputs]
    logits = np.asarray(got["logits"][row], np.float64)
    temperature = _temperatures(bundle.folder, bundle.sha256, tuple(keys))
    probabilities = calibrated(logits, keys, [str(o.get("activation", "softmax")) for o in outputs], temperature)
    embedding = np.asarray(got["embedding"][row], np.float32)
    return Classified(
        probabilities=probabilities,
        maps={
            method: {key: np.asarray(got[output][row, n], np.float32) for n, key in enumerate(keys)}
            for method, output in MAPS.get(str(bundle.config.get("saliency", "cam")), {}).items()
        },
        embedding=embedding,
        distance=_distance(embedding, _reference(bundle.folder / "reference.npz", bundle.sha256)),
        numbers={
            n: float(v[row, 0]) for n, v in got.items() if v.shape[1:] == (1,) and n not in ("logits", "probabilities", "embedding")
        },
        record={"temperature": temperature, "device": device},
    )


def calibrated(
    logits: NDArray[np.float64], keys: list[str], activations: list[str], temperature: Mapping[str, float]
) -> dict[str, float]:
    """Return the probability of each class at its temperature (Guo et al., ICML 2017)."""
    scaled = np.array([value / temperature[key] for value, key in zip(logits, keys, strict=True)])
    out: dict[str, float] = {}
    group = [n for n, activation in enumerate(activations) if activation == "softmax"]
    if group:
        shifted = np.exp(scaled[group] - scaled[group].max())
        out |= {keys[n]: float(p) for n, p in zip(group, shifted / shifted.sum(), strict=True)}
    # by tanh: exp would overflow for a very certain network
    out |= {keys[n]: float(0.5 * (1 + np.tanh(0.5 * scaled[n]))) for n, a in enumerate(activations) if a == "sigmoid"}
    return {key: out[key] for key in keys}


@functools.lru_cache(maxsize=8)
def _temperatures(folder: Path, _bundle_sha256: str, keys: tuple[str, ...]) -> dict[str, float]:
    path = folder / "calibration.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    given = (data.get("parameters") or data).get("temperature", 1.0)
    if isinstance(given, Mapping):
        return {key: float(given.get(key, 1.0)) for key in keys}
    return {key: float(given) for key in keys}


@functools.lru_cache(maxsize=8)
def _reference(path: Path, _bundle_sha256: str) -> dict[str, NDArray[np.float64]]:
    """Return means (C, K), precision (K, K) and limit of the training images' embeddings; empty when the bundle has none."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        names = ("embedding_mean", "embedding_precision", "distance_limit")
        return {name: np.asarray(stored[name], np.float64) for name in names} if set(names) <= set(stored.files) else {}


def _distance(embedding: NDArray[np.float32], reference: Mapping[str, NDArray[np.float64]]) -> float | None:
    if not reference:
        return None
    away = embedding.astype(np.float64) - np.atleast_2d(reference["embedding_mean"])
    squared = np.einsum("ck,kl,cl->c", away, reference["embedding_precision"], away)
    return float(np.sqrt(max(squared.min(), 0.0)) / float(reference["distance_limit"]))
