"""What a network for chest radiographs is given, as ``bundle.yaml`` says it under ``inputs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def radiograph_input(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the image's entry. ``config``: the bundle's ``preprocessing``, with ``size``, ``mean`` and ``std`` of grey values."""
    size, mean, std = int(config["size"]), config["mean"], config["std"]
    return {
        "image": {
            "modality": ["CR", "DX"],
            "shape": ["n", 1, size, size],
            "dtype": "float32",
            "unit": "grey value after preprocessing, brighter = more attenuation",
            "value_range": [-mean / std, (1 - mean) / std],
        }
    }
