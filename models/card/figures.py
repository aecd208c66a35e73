"""Classes, the test figures beside the thumbnail, and the thresholds in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.card.summary import CHILDREN, FAIR, NO_EVIDENCE, clearly_above
from models.training.markdown import change, interval, number, table

HIGHEST = "that of the highest image, so one image that is called calls the patient"
PREVALENCE = 0.02  # at which the price of a policy is told


def classes(manifest: Mapping[str, Any]) -> list[str]:
    """Return what the model can say, and what not."""
    named = [o for o in manifest.get("outputs", []) if "key" in o]
    if not named:
        return []
    rows = [(o["key"], "yes" if o["assessed"] else "no", o.get("note") or "-") for o in named]
    return ["## Classes", table(("class", "assessed", "note"), rows)]


def beside_thumbnail(metrics: Mapping[str, Any]) -> list[str]:
    """Return the AUC of each group of test images beside what 16 x 16 pixels reach; groups that show nothing say so."""
    rows = metrics.get("discrimination", [])
    if not rows:
        return []
    paired = any(row.get("difference") for row in rows)
    head = ("test images of", "what they can show", "images (abnormal), patients", "AUC", "AUC of the thumbnail", "clearly above")
    lines = [
        (r["cohort"], r["kind"], _how_many(r), interval(r["auc"]), interval(r.get("thumbnail_auc")), _above(r))
        for r in sorted(rows, key=_worth)
    ]
    rule = "of the paired difference lies above 0" if paired else "of the network lies above the thumbnail's AUC"
    note = (
        "95 % intervals by drawing patients. The thumbnail is a logistic regression on the grey image at 16 x 16 pixels: what it "
        f"reaches too may be a shortcut. Clearly above: the interval {rule}."
    )
    left = [
        f"Trained without the abnormal images of {e['source']}, tested on its test part: AUC {interval(e['auc'])}, thumbnail "
        f"{interval(e['thumbnail_auc'])} (n={e['images']}, {e['epochs']} epochs)."
        for e in metrics.get("left_out", [])
    ]
    return ["## Test figures beside 16 x 16 pixels", table(head, lines), note, *left]


def _how_many(row: Mapping[str, Any]) -> str:
    abnormal = f" ({row['abnormal']})" if "abnormal" in row else ""
    return f"{row['images']}{abnormal}, {row['patients']}"


def _worth(row: Mapping[str, Any]) -> int:
    """Order groups by what they can show: one source, others, label equal to source, children."""
    kind = str(row["kind"])
    return 3 if kind.startswith(CHILDREN) else 2 if NO_EVIDENCE in kind else 0 if kind.startswith(FAIR) else 1


def _above(row: Mapping[str, Any]) -> str:
    if not row.get("thumbnail_auc") or NO_EVIDENCE in row["kind"]:
        return "-"
    word = "yes" if clearly_above(row) else "no"
    return f"{word}: {change(row['difference'])}" if row.get("difference") else word


def overlap(metrics: Mapping[str, Any]) -> list[str]:
    """Return how far found masks agree with people's."""
    rows = metrics.get("overlap", [])
    if not rows:
        return []
    lines = [(r["source"], r["images"], r["patients"], interval(r["dice"]), number(r["dice_10th_percentile"])) for r in rows]
    head = ("source", "images", "patients", "Dice", "worst tenth below")
    return ["## Overlap with human-corrected masks on the test part", table(head, lines)]


def policies(metrics: Mapping[str, Any], points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return each policy in words: what is called, what is promised, what came of it on test patients, and its price."""
    if not points:
        return []
    lines = [_policy(name, point, metrics.get("policies_on_test", {}).get(name)) for name, point in points.items()]
    note = (
        f"Counted in patients never used for fitting; a patient's score is {metrics.get('patient_score', HIGHEST)}. "
        "Intervals: Wilson, 95 %; Clopper-Pearson stand in metrics.json. A flagged image is never called "
        "negative; one of a view that a policy is not valid for always goes to a person."
    )
    return ["## What is called at its thresholds", "\n".join(f"- {line}" for line in lines), note]


def _policy(name: str, point: Mapping[str, Any], on_test: Mapping[str, Any] | None) -> str:
    if not point["feasible"]:
        return f"**{name}**: no valid guarantee ({point['reason']}); every result goes to a person."
    first = f"**{name}**: called from {number(point['tau'])}"
    low, high = point.get("tau_low"), point.get("tau_high")
    if low is not None and high is not None and low < high:
        first += f"; gray zone {number(low)} to {number(high)}, where a person must look"
    elif low is not None and high is None:
        first += f"; no upper threshold could be fitted, so from {number(low)} on a person must look"
    views = point.get("views") or []
    told = [first + (f"; valid for {', '.join(views)} only." if views else ".")]
    told.append(f"Promise: {point.get('guarantee') or 'none'}.")
    if on_test:
        finding = str(point.get("finding", "abnormal"))
        ill, well = ("abnormal ones", "normal ones") if finding == "abnormal" else (f"with {finding}", f"without {finding}")
        told.append(f"Test patients, {ill} called: {_shares(on_test['sensitivity'])}.")
        told.append(f"Test patients, {well} not called: {_shares(on_test['specificity'])}.")
    price = next((p for p in point.get("at_prevalence", []) if abs(p["prevalence"] - PREVALENCE) < 1e-9), None)
    if price:
        told.append(
            f"Price: where {PREVALENCE * 100:.0f} % are abnormal it would call {price['flagged'] * 100:.0f} % of all, and one in "
            f"{price['read_per_case']:.0f} of those called is abnormal."
        )
    return "\n  - ".join(told)


def _shares(by_source: Mapping[str, Mapping[str, Any]]) -> str:
    told: Sequence[str] = [
        f"{source} {e['hits']}/{e['n']} ({number(e['wilson'][1], 2)} to {number(e['wilson'][2], 2)})"
        for source, e in by_source.items()
        if e["n"]
    ]
    return ", ".join(told) or "no patients"
