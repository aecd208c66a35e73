"""Add what was measured after a bundle was made: figures only, never weights, thresholds or texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.bundle import Bundle, load_bundle
from models.card import rewrite
from models.training.json_text import as_json


def add_figures(folder: Path, figures: Mapping[str, Any]) -> Bundle:
    """Put ``figures`` into ``metrics.json`` by their top-level names, write the card anew, and return the bundle with its new hash.

    Raises
    ------
    models.bundle.BundleError
        The folder was not a sound bundle before: nothing is changed then.
    """
    load_bundle(folder)
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(as_json({**metrics, **figures}), encoding="utf-8")
    rewrite(folder)
    return load_bundle(folder)
