"""Where the images came from, and what only data scientists ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.training.markdown import interval, number, table

PARTS = ("train", "selection", "calibration", "test")
MOST_ROWS = 12  # of a table; longer ones are read in metrics.json


def sources(provenance: Mapping[str, Any]) -> list[str]:
    """Return the sources with their licences, and the licence of the weights."""
    named = provenance.get("sources") or {}
    lines = [f"{name}: {s['title']}. Licence: {s['licence']}. {s['cite']}." for name, s in named.items()]
    if start := provenance.get("starting_weights"):
        lines.append(f"Starting weights: {start['title']} ({start['licence']}).")
    if licence := provenance.get("weights_licence"):
        lines.append(f"**Licence of these weights: {licence}.**")
    return ["## Sources and licences", _bullets(lines)] if lines else []


def for_data_scientists(manifest: Mapping[str, Any], metrics: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    """Return images by part, candidates, the recipe's own tables, and how it was made."""
    parts = ["## For data scientists", _made(manifest, provenance)]
    if metrics.get("counts"):
        parts.append(_counts(metrics["counts"]))
    if metrics.get("leaderboard"):
        parts += ["### Candidates", _leaderboard(metrics["leaderboard"])]
    for told in metrics.get("tables", []):
        rows = told["rows"]
        body = table(told["head"], rows) if len(rows) <= MOST_ROWS else f"{len(rows)} rows: `tables` in metrics.json."
        parts += ["### " + told["title"], *([told["text"]] if told.get("text") else []), body]
    return parts


def _made(manifest: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    network = manifest.get("architecture") or {}
    lines = [f"Recipe `{provenance['recipe']}`, date {provenance['date']}, seed {provenance['seed']}."]
    if network:
        lines.append(f"Network {network['name']}, {network['parameters']} parameters.")
    if provenance.get("parity") is not None:
        lines.append(f"Graph against torch: largest difference {provenance['parity']:.1e}.")
    if provenance.get("software"):
        lines.append("Software: " + ", ".join(f"{name} {version}" for name, version in provenance["software"].items()) + ".")
    lines += provenance.get("changes") or []
    if assumed := manifest.get("assumed"):
        lines.append("Chosen by us, stated by no publication (assumed): " + "; ".join(assumed) + ".")
    return _bullets(lines)


def _counts(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return images (patients) by source and label, a column a part."""
    known = [p for p in PARTS if any(r["part"] == p for r in rows)]
    parts = [*known, *sorted({r["part"] for r in rows} - set(PARTS))]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for r in rows:
        cells.setdefault((r["source"], r["label"]), {})[r["part"]] = f"{r['images']} ({r['patients']})"
    lines = [(source, label, *(found.get(p, "-") for p in parts)) for (source, label), found in sorted(cells.items())]
    return "Images (patients):\n\n" + table(("source", "label", *parts), lines)


def _leaderboard(rows: Sequence[Mapping[str, Any]]) -> str:
    if len(rows) > MOST_ROWS:
        return f"{len(rows)} candidates: `leaderboard` in metrics.json."
    body = [
        (r["network"], r.get("parameters", "-"), r.get("epochs", "-"), interval(r["auc"]), number(r.get("brier")),
         "yes" if r["chosen"] else "")
        for r in rows
    ]  # fmt: skip
    return table(("network", "parameters", "epochs", "AUC on the selection part", "Brier", "chosen"), body)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
