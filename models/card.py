"""MODEL_CARD.md from the bundle's own files: every figure on the card stands in one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def render(folder: Path) -> str:
    """Return the card of the bundle in ``folder``; the same files give the same text."""
    manifest = _yaml(folder / "bundle.yaml")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    provenance = _yaml(folder / "provenance.yaml")
    points = _yaml(folder / "operating_points.yaml") if (folder / "operating_points.yaml").exists() else {}
    parts = [
        f"# {manifest['name']} {manifest['version']}",
        "RESEARCH USE ONLY - NOT FOR DIAGNOSIS. " + manifest["worth"],
        f"Evidence: {manifest['evidence']}. Task: {manifest['task']} Intended use: {manifest['intended_use']}",
    ]
    if "outputs" in manifest and any("key" in output for output in manifest["outputs"]):
        parts += ["## Classes", _classes(manifest["outputs"])]
    if "discrimination" in metrics:
        parts += ["## What it reaches on the test part, and what 16 x 16 pixels reach", _discrimination(metrics["discrimination"])]
    for extra in metrics.get("left_out", []):
        parts.append(_left_out(extra))
    if "overlap" in metrics:
        parts += ["## Overlap with human-corrected masks on the test part (Dice)", _overlap(metrics["overlap"])]
    if points:
        parts += ["## Operating points", _points(points["policies"])]
    if "policies_on_test" in metrics:
        parts += [
            "## Operating points on the test part (never used for fitting; PA, adults)",
            _on_test(metrics["policies_on_test"]),
        ]
    if "calibration" in metrics:
        parts += ["## Calibration", _calibration(metrics["calibration"])]
    if "leaderboard" in metrics:
        parts += ["## Candidates", _leaderboard(metrics["leaderboard"])]
    if "pasted" in metrics:
        share = metrics["pasted"]
        parts += [
            "## Does it react to an opacity?",
            _pasted(share),
        ]
    for told in metrics.get("tables", []):
        parts += ["## " + told["title"], *([told["text"]] if told["text"] else []), _table(told["head"], told["rows"])]
    parts += ["## Images", _counts(metrics["counts"]), "## Known failures and limits", _bullets(manifest["limits"])]
    parts += ["## Sources and licences", _sources(provenance["sources"]), "## How it was made", _made(manifest, provenance)]
    return "\n\n".join(parts) + "\n"


def _classes(outputs: Sequence[Mapping[str, Any]]) -> str:
    return _table(("class", "assessed", "note"), [(o["key"], "yes" if o["assessed"] else "no", o["note"]) for o in outputs])


def _discrimination(rows: Sequence[Mapping[str, Any]]) -> str:
    table = _table(
        ("cohort", "kind", "images (abnormal)", "patients", "AUC of the network", "AUC of the thumbnail", "clearly above"),
        [
            (r["cohort"], r["kind"], f"{r['images']} ({r['abnormal']})", r["patients"], _interval(r["auc"]),
             _interval(r["thumbnail_auc"]), "yes" if r["above_thumbnail"] else "no")
            for r in rows
        ],
    )  # fmt: skip
    return table + "\n\n95 % intervals by drawing patients. The thumbnail is a logistic regression on the grey image at 16 x 16."


def _pasted(share: Mapping[str, Any]) -> str:
    return (
        f"Of {share['n']} normal radiographs of the test part, {share['higher']} score higher once an opacity is laid into "
        f"a lung ({_interval(share['wilson'])}, Wilson)."
    )


def _left_out(extra: Mapping[str, Any]) -> str:
    return (
        f"Trained without the abnormal images of {extra['source']}, tested on its test part: AUC {_interval(extra['auc'])}, "
        f"thumbnail {_interval(extra['thumbnail_auc'])} (n={extra['images']}, {extra['epochs']} epochs)."
    )


def _overlap(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("source", "images", "patients", "Dice", "worst tenth below"),
        [(r["source"], r["images"], r["patients"], _interval(r["dice"]), _number(r["dice_10th_percentile"])) for r in rows],
    )


def _points(policies: Mapping[str, Mapping[str, Any]]) -> str:
    return _table(
        ("policy", "tau_low", "tau", "tau_high", "n", "views", "guarantee"),
        [
            (name, _number(p["tau_low"]), _number(p["tau"]), _number(p["tau_high"]), p["n"], ", ".join(p["views"]),
             p["guarantee"] if p["feasible"] else "infeasible: " + p["reason"])
            for name, p in policies.items()
        ],
    )  # fmt: skip


def _on_test(policies: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, result in policies.items():
        for kind in ("sensitivity", "specificity"):
            for source, entry in result[kind].items():
                rows.append(
                    (
                        name,
                        kind,
                        source,
                        f"{entry['hits']}/{entry['n']}",
                        _interval(entry["wilson"]),
                        _interval(entry["clopper_pearson"]),
                    )
                )
    words = "Counted in patients: a patient's score is that of the highest image, so one image that is called calls the patient."
    return _table(("policy", "", "source", "patients", "Wilson", "Clopper-Pearson"), rows) + "\n\n" + words


def _calibration(tables: Mapping[str, Mapping[str, Any]]) -> str:
    return _table(("", "n", "Brier", "ECE"), [(name, t["n"], _number(t["brier"]), _number(t["ece"])) for name, t in tables.items()])


def _leaderboard(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("network", "parameters", "epochs", "AUC on the selection part", "Brier", "chosen"),
        [
            (r["network"], r["parameters"], r["epochs"], _interval(r["auc"]), _number(r["brier"]), "yes" if r["chosen"] else "")
            for r in rows
        ],
    )


def _counts(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("part", "source", "label", "images", "patients"),
        [tuple(r[k] for k in ("part", "source", "label", "images", "patients")) for r in rows],
    )


def _sources(sources: Mapping[str, Mapping[str, Any]]) -> str:
    return _table(
        ("source", "title", "licence", "cite"), [(name, s["title"], s["licence"], s["cite"]) for name, s in sources.items()]
    )


def _made(manifest: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    lines = [
        f"Recipe `{provenance['recipe']}`, date {provenance['date']}, seed {provenance['seed']}.",
        f"Network {manifest['architecture']['name']}, {manifest['architecture']['parameters']} parameters.",
        f"Graph against torch: largest difference {provenance['parity']:.1e}.",
        "Software: " + ", ".join(f"{name} {version}" for name, version in provenance["software"].items()) + ".",
    ]
    if provenance.get("starting_weights"):
        start = provenance["starting_weights"]
        lines.append(f"Starting weights: {start['title']} ({start['licence']}).")
    lines += provenance.get("changes") or []
    assumed = manifest.get("assumed") or []
    if assumed:
        lines.append("Chosen by us, stated by no source document: " + "; ".join(assumed) + ".")
    return "\n".join(f"- {line}" for line in lines)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [list(head), ["---"] * len(head), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _interval(values: Sequence[float | None]) -> str:
    value, low, high = values
    return f"{_number(value)} ({_number(low)} to {_number(high)})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _yaml(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
