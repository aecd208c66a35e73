"""Maps that do not hang on single pixels: the mean over noisy copies of the image, how unsteady each place is, and one figure.

Omeiza et al., "Smooth Grad-CAM++", arXiv:1908.01224, averages derivatives over noisy copies of the input. Where the head is one
linear layer after global average pooling those derivatives do not depend on the input at all: with the activations of the clean
image the result is Grad-CAM++ itself. So here noise goes through activations too: the mean over 16 noisy copies of the graph's own
maps, all copies in one forward pass. The decision never comes from a noisy copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from dicom_node.core import codes
from dicom_node.core.findings import Measurement, SaliencyMap
from models.session import Session
from pipelines.blocks.classify import MAPS
from pipelines.blocks.prepare_cxr import Prepared
from pipelines.blocks.saliency import INSTABILITY, place

COPIES = 16
SIGMA = 0.10  # of the input's range
SEED = 16
#: What the mean of a method's noisy copies is called.
NAMES = {"Grad-CAM": "Smooth Grad-CAM", "Grad-CAM++": "SmoothGrad-CAM++", "Attention": "Smooth attention"}


@dataclass(frozen=True)
class Smoothed:
    """One method's maps over the copies.

    ``mean``, ``instability``: float32 (h, w), mean and standard deviation of the raw maps. ``stability``: mean Spearman correlation
    of the copies' maps with their mean, -1..1 (1 = noise changes nothing); ``None`` where the mean shows no evidence.
    """

    mean: NDArray[np.float32]
    instability: NDArray[np.float32]
    stability: float | None


@dataclass(frozen=True)
class SmoothMaps:
    """The smooth maps on the source image; where the last of them is unsteady; its stability, and the facts for the record."""

    maps: tuple[SaliencyMap, ...]
    unsteady: tuple[SaliencyMap, ...]
    stability: tuple[Measurement, ...]
    record: dict[str, Any]


def smooth_maps(
    finding: str,
    config: Mapping[str, Any],
    session: Session,
    prepared: Prepared,
    sop_instance_uid: str,
    lungs: NDArray[np.uint8],
) -> SmoothMaps:
    """Return the smooth maps of one finding, placed as ``saliency.place`` does; their names tell their stability.

    ``config``: ``bundle.yaml``, whose graph has maps.
    """
    found = smoothed(prepared.network_input, config, session, finding)
    last = list(found.values())[-1]
    placed = place(finding, {NAMES[method]: one.mean for method, one in found.items()}, prepared, sop_instance_uid, lungs)
    unsteady = place(finding, {INSTABILITY: last.instability}, prepared, sop_instance_uid, lungs)
    named = tuple(
        m if one.stability is None else replace(m, method_name=f"{m.method_name}, stability {one.stability:.2f}")
        for m, one in zip(placed, found.values(), strict=True)
    )
    value = None if last.stability is None else round(last.stability, 4)
    told = () if value is None else (Measurement("map_stability", codes.MAP_STABILITY, value, codes.UNITY),)
    return SmoothMaps(named, unsteady, told, {"copies": COPIES, "sigma": SIGMA, "seed": SEED, "map_stability": value})


def smoothed(
    network_input: NDArray[np.float32],
    config: Mapping[str, Any],
    session: Session,
    finding: str,
    *,
    copies: int = COPIES,
    sigma: float = SIGMA,
    seed: int = SEED,
) -> dict[str, Smoothed]:
    """Return one finding's maps over noisy copies by the plain method's name ("Grad-CAM++"), on the map's own grid.

    Parameters
    ----------
    network_input
        float32 (1, 1, size, size), as prepared.
    sigma
        Standard deviation of the noise as a share of the input's range (max - min).
    """
    wanted = MAPS[str(config.get("saliency", "cam"))]
    column = [str(o["key"]) for o in config["outputs"]].index(finding)
    images = noisy(network_input, copies, sigma, seed)
    fixed = isinstance(session.input_shapes["image"][0], int)  # a graph made for one image at a time
    parts = [session.run({"image": images[n : n + 1]}) for n in range(copies)] if fixed else [session.run({"image": images})]
    return {
        method: _smoothed(np.concatenate([np.asarray(part[output][:, column], np.float32) for part in parts]))
        for method, output in wanted.items()
    }


def noisy(image: NDArray[np.float32], copies: int, sigma: float, seed: int) -> NDArray[np.float32]:
    """Return float32 (copies, …): the image with Gaussian noise, the same for the same seed."""
    spread = sigma * float(image.max() - image.min())
    noise = np.random.default_rng(seed).standard_normal((copies, *image.shape[1:]), np.float32)
    return image + noise * np.float32(spread)


def rank_agreement(maps: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Spearman's correlation of each map (n, h, w) with ``reference`` (h, w), ties at their mean rank.

    A map without any structure agrees with nothing: 0. With such a reference all are not a number.
    """
    ranks = rankdata(maps.reshape(len(maps), -1), axis=1)
    own = rankdata(reference.ravel())
    ranks, own = ranks - ranks.mean(1, keepdims=True), own - own.mean()
    if not own.any():
        return np.full(len(maps), np.nan)
    size = np.sqrt((ranks**2).sum(1) * (own**2).sum())
    return np.asarray(np.divide(ranks @ own, size, out=np.zeros(len(maps)), where=size > 0))


def _smoothed(maps: NDArray[np.float32]) -> Smoothed:
    mean = maps.mean(0, dtype=np.float64).astype(np.float32)
    spread = maps.std(0, dtype=np.float64).astype(np.float32)
    agreement = rank_agreement(maps, mean)
    return Smoothed(mean, spread, float(agreement.mean()) if np.isfinite(agreement).all() else None)
