"""MODEL_CARD.md from the bundle's own files: every figure on the card stands in one of them, and no verdict is typed by hand.

A radiologist reads down to the sources; what follows is for data scientists. Every table is optional, so one card serves a
classifier of radiographs, a lung segmenter and a chest CT model.

summary       the first paragraph and where it fails, worst first
figures       the test figures beside the thumbnail, thresholds in words
through_node  what a bundle for chest CT reaches when the node itself reads drawn scans
checks        explanations, gates, changed pictures, speed
appendix      images, sources, candidates, tables, how it was made
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from models.bundle import Bundle, write_manifest
from models.card import appendix, checks, figures, summary, through_node

FILE = "MODEL_CARD.md"


def render(folder: Path) -> str:
    """Return the card of the bundle in ``folder``; the same files give the same text.

    Raises
    ------
    FileNotFoundError, KeyError
        ``bundle.yaml``, ``metrics.json`` or ``provenance.yaml`` is missing, or lacks what every bundle has.
    """
    manifest, provenance = _yaml(folder / "bundle.yaml"), _yaml(folder / "provenance.yaml")
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    points = dict(_yaml(folder / "operating_points.yaml").get("policies") or {}) if _has(folder, "operating_points.yaml") else {}
    parts = [
        f"# {manifest['name']} {manifest['version']}",
        *summary.warnings(manifest),
        summary.first_paragraph(manifest, metrics),
        *summary.failures(manifest, metrics, points),
        *figures.classes(manifest),
        *figures.beside_thumbnail(metrics),
        *through_node.section(metrics),
        *figures.overlap(metrics),
        *figures.policies(metrics, points),
        *checks.explanations(metrics),
        *checks.gates(metrics),
        *checks.steadiness(metrics),
        *appendix.sources(provenance),
        *appendix.for_data_scientists(manifest, metrics, provenance),
    ]
    return "\n\n".join(parts) + "\n"


def rewrite(folder: Path) -> Bundle:
    """Write the card anew, and with it the bundle's list of hashes; return the bundle."""
    (folder / FILE).write_text(render(folder), encoding="utf-8")
    return write_manifest(folder)


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _yaml(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
