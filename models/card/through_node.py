"""What a bundle for chest CT reaches when the node itself reads drawn scans: on its card, and on its evidence page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.training.markdown import change, interval, number, table

HEADING = "## Through the node"
MOVED = 0.1  # log-odds that are worth a line; rounding in files is below a thousandth
ZONES = {"suspected": "suspected", "gray": "a person must look", "not_suspected": "not suspected"}

Row = Mapping[str, Any]


def section(metrics: Row) -> list[str]:
    """Return who is read, how well they are told apart, and what becomes of them; nothing where it was not measured."""
    told = metrics.get("through_node")
    if not told or "cohorts" not in told:
        return []
    rows = told["cohorts"]
    text = (
        f"Written by `{told['command']}`: patients on whom no choice was made, drawn as whole chests, written as DICOM and read by "
        "the pipeline as the node runs it, which finds the lungs itself. Who is refused has no answer. "
        f"{told['words']}"
    )
    finding = told["finding"]
    return [HEADING, text, _reached(rows, finding), *_beside(rows), _thresholds(rows), _answers(rows, finding), _calibration(rows)]


def failures(metrics: Row, points: Mapping[str, Row]) -> list[str]:
    """Return where the node reaches less than the recipe measured, and promises that do not hold there."""
    lines = []
    for row in (metrics.get("through_node") or {}).get("cohorts", []):
        whom = f"{row['cohort']} ({row['scanned']})"
        beside = row["as_learned"] or {}
        if beside and beside["change"][2] < 0:
            lines.append(
                f"Through the node its AUC on {whom} is lower than as its recipe prepares them: {change(beside['change'])}."
            )
        if beside and abs(beside["higher"][0]) > MOVED and not beside["higher"][1] <= 0 <= beside["higher"][2]:
            moved = change(beside["higher"])
            lines.append(f"Its scores depend on how a scan is made: on {whom} their log-odds differ from the recipe's by {moved}.")
        for name, found in row["policies"].items():
            prepared = beside["policies"][name]["specificity"] if beside else None
            if prepared and found["specificity"]["wilson"][2] < prepared["wilson"][0]:
                lines.append(
                    f"{name} leaves {_hits(found['specificity'])} of those without it uncalled on {whom}; of the same patients as "
                    f"its recipe prepares them {_hits(prepared)}."
                )
            point, entry = points.get(name, {}), found["sensitivity"]
            alpha = point.get("alpha") if point.get("kind") == "sensitivity" else None
            if alpha is not None and entry["hits"] < alpha * entry["n"]:
                lines.append(
                    f"{name} promises sensitivity {alpha:.2f}; through the node it is {entry['hits']}/{entry['n']} "
                    f"({number(entry['wilson'][1], 2)} to {number(entry['wilson'][2], 2)}) on {whom}."
                )
    return lines


def _reached(rows: Sequence[Row], finding: str) -> str:
    head = ("patients", "scan", f"read (with {finding})", "AUC", "refused")
    body = [
        (row["cohort"], row["scanned"], f"{row['patients']} ({row['positives']})", interval(row["auc"]), _refused(row["refused"]))
        for row in rows
    ]
    return table(head, body)


def _refused(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{why}: {n}" for why, n in sorted(reasons.items())) or "none"


def _beside(rows: Sequence[Row]) -> list[str]:
    """Return the same patients as the recipe prepares them: a difference is what reading a scan costs."""
    body = [
        (_whom(row), interval(beside["auc"]), change(beside["change"]), change(beside["higher"]))
        for row in rows
        for beside in (row["as_learned"],)
        if beside
    ]
    if not body:
        return []
    text = (
        "The same patients as the recipe prepares them, whose scans never were files. Where log-odds are higher or lower through "
        "the node, thresholds fitted on the recipe's own patients are met by more or by fewer, even at the same AUC."
    )
    head = ("patients", "AUC, prepared by the recipe", "the node's minus that", "log-odds, the node's minus those (mean)")
    return [text, table(head, body)]


def _thresholds(rows: Sequence[Row]) -> str:
    head = ["policy", "", "patients", "hits", "Wilson", "Clopper-Pearson"]
    body = [
        [name, kind, _whom(row), _hits(found[kind]), interval(found[kind]["wilson"]), interval(found[kind]["clopper_pearson"])]
        for row in rows
        for name, found in row["policies"].items()
        for kind in ("sensitivity", "specificity")
    ]
    prepared = [
        _hits(row["as_learned"]["policies"][name][kind])
        for row in rows
        if row["as_learned"]
        for name in row["policies"]
        for kind in ("sensitivity", "specificity")
    ]
    if len(prepared) == len(body):
        head.append("hits, prepared by the recipe")
        body = [[*line, hits] for line, hits in zip(body, prepared, strict=True)]
    return table(head, body)


def _hits(found: Row) -> str:
    return f"{found['hits']}/{found['n']}"


def _whom(row: Row) -> str:
    return f"{row['cohort']}, {row['scanned']}"


def _answers(rows: Sequence[Row], finding: str) -> str:
    """Return the zones under ``screening``: a flag (thick slices, unknown clinical data) keeps an answer from being negative."""
    body = [
        (_whom(row), word, *(row["zones"][kind].get(zone, 0) for zone in ZONES))
        for row in rows
        for kind, word in (("positives", f"with {finding}"), ("negatives", f"without {finding}"))
    ]
    return table(("answers under screening", "", *ZONES.values()), body)


def _calibration(rows: Sequence[Row]) -> str:
    """Return Brier score and calibration error, and what was observed in each fifth of the answers."""
    body = [
        (_whom(row), number(found["brier"]), number(found["ece"]),
         "; ".join(f"{number(b['predicted'], 2)}: {number(b['observed'], 2)}" for b in found["reliability"]))
        for row in rows
        for found in (row["calibration"],)
    ]  # fmt: skip
    return table(("calibration", "Brier", "ECE", "mean predicted: observed, by fifths"), body)
