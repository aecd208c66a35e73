"""What a reader must know before any table: what the model is, and where it fails, worst first; all of it from the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.card import through_node
from models.training.markdown import interval, number

EVIDENCE = {
    "demo": "nobody but its maker has measured it",
    "internal": "measured on images of one site",
    "external": "measured by others, on other sites' images",
}
FAIR = "normal and abnormal of one source"
ONE_RANGE = "patients of one range"
CHILDREN = "children"
NO_EVIDENCE = "no evidence"


def warnings(manifest: Mapping[str, Any]) -> list[str]:
    """Return what stands above everything else."""
    level = str(manifest["evidence"])
    first = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS. No decision about a patient may rest on this model."
    parts = [f"{first} Evidence: {level} ({EVIDENCE.get(level, 'not known')})."]
    if manifest.get("synthetic"):
        parts.append(
            "**SYNTHETIC: trained and measured on images that a computer drew. No figure on this card is about patients; a node "
            "refuses real studies with it unless a setting allows it.**"
        )
    if manifest.get("twin"):
        parts.append("**TWIN: a reduced-width copy of the network that the publication describes, small enough to ship.**")
    return parts


def first_paragraph(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Return what it is and is for, how little it proves, what it does not assess; then whether 16 x 16 pixels do as well."""
    told = [manifest["task"], manifest["intended_use"], manifest.get("worth", "")]
    silent = [o["key"] for o in manifest.get("outputs", []) if "key" in o and not o["assessed"] and o["key"] != "normal"]
    if silent:
        told.append(f"**It does not assess {_listed(silent)}.**")
    beside = " ".join(verdicts(metrics.get("discrimination", [])))
    return "\n\n".join(part for part in (" ".join(text.strip() for text in told if text.strip()), beside) if part)


def verdicts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each cohort that can show anything whether the thumbnail is clearly beaten.

    Where a hospital's PA films hold both labels these decide (normal and abnormal of one source and one view), with patients of one
    range of numbers where that is told. Else cohorts of one source, else whatever has a thumbnail beside it; a cohort whose label
    is its source shows nothing.
    """
    judged = [r for r in rows if r.get("thumbnail_auc") and NO_EVIDENCE not in r["kind"] and not r["kind"].startswith(CHILDREN)]
    fair = [r for r in judged if r["kind"].startswith(FAIR)]
    strict = [r for r in fair if r["cohort"].endswith(", PA") or ONE_RANGE in r["kind"]]
    chosen = strict or fair or judged
    if rows and not chosen:
        return ["**No group of test images holds normal and abnormal ones of one source: no figure here shows that it works.**"]
    return [_verdict(row) for row in chosen]


def _verdict(row: Mapping[str, Any]) -> str:
    told = (
        f"On {cohort_name(row['cohort'])} ({row['images']} test images, {row['patients']} patients) its AUC is "
        f"{interval(row['auc'])}; a logistic regression on 16 x 16 pixels reaches {interval(row['thumbnail_auc'])}: "
    )
    if clearly_above(row):
        return told + "**clearly beaten.**"
    return told + "**NOT clearly beaten: what the network uses there may be a shortcut.**"


def clearly_above(row: Mapping[str, Any]) -> bool:
    """Say whether the network beats the thumbnail: by the paired difference where that was computed, else by the interval."""
    return bool(row["difference"][1] > 0) if row.get("difference") else bool(row["above_thumbnail"])


def cohort_name(cohort: str) -> str:
    """Return a cohort's name in a sentence: "PA films of nih_cxr14"."""
    source, _, view = cohort.partition(", ")
    return f"{view} films of {source}" if view in ("PA", "AP") else cohort


def failures(manifest: Mapping[str, Any], metrics: Mapping[str, Any], points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the section on where it fails: what the figures show, then what its maker says."""
    lines = [
        *(_outside(row) for row in metrics.get("discrimination", []) if row["kind"].startswith(CHILDREN)),
        *_broken_promises(metrics.get("policies_on_test", {}), points),
        *through_node.failures(metrics, points),
        *_failed_checks(metrics.get("explanations", {})),
        *(_unsteady(entry) for entry in metrics.get("stability", []) if not entry["within"]),
        *manifest.get("limits", []),
    ]
    return ["## Where it fails", "\n".join(f"- {line}" for line in lines)] if lines else []


def _outside(row: Mapping[str, Any]) -> str:
    _, low, high = row["auc"]
    meaning = "the order is upside down" if high < 0.5 else "no better than chance" if low <= 0.5 else "not its purpose"
    who = f"Children ({row['cohort']}, {row['patients']} patients), for whom it is not made"
    return f"{who}: AUC {interval(row['auc'])}, {meaning}."


def _unsteady(entry: Mapping[str, Any]) -> str:
    return f"Under {entry['change']} its AUC changes by {entry['difference'][0]:+.3f}, more than was allowed."


def _broken_promises(on_test: Mapping[str, Mapping[str, Any]], points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return policies without a threshold, and sources whose test patients fall short of what a policy promises."""
    lines = [f"No threshold could be guaranteed for {name}: {p['reason']}." for name, p in points.items() if not p["feasible"]]
    for name, result in on_test.items():
        promised = points.get(name, {})
        kind, alpha = promised.get("kind", ""), promised.get("alpha")
        for source, entry in result.get(kind, {}).items():
            fitted_on = source in promised.get("n_by_source", {source: 0})
            if alpha is not None and fitted_on and entry["n"] and entry["hits"] / entry["n"] < alpha:
                lines.append(
                    f"{name} promises {kind} {alpha:.2f} over all sources together; on test patients of {source} it is "
                    f"{entry['hits']}/{entry['n']} ({number(entry['wilson'][1], 2)} to {number(entry['wilson'][2], 2)})."
                )
    return lines


def _failed_checks(explanations: Mapping[str, Any]) -> list[str]:
    maps = explanations.get("maps", {})
    lines = [
        f"{name} fails the randomisation test: with layers drawn anew it stays much as it was, so it explains little."
        for name, check in maps.items()
        if check.get("randomisation") and not check["randomisation"]["passes"]
    ]
    unseen = {name: (check.get("pointing") or {}).get("unseen") or {} for name, check in maps.items()}
    beaten = {n: t for n, t in unseen.items() if t.get("images") and t["pointing"]["hits"] <= t["middle_of_a_lung"]["hits"]}
    if beaten:
        told = _listed([f"{name} in {t['pointing']['hits']} of {t['pointing']['n']} patients" for name, t in beaten.items()], "and")
        guess = max(t["middle_of_a_lung"]["hits"] for t in beaten.values())
        lines.append(
            f"Its maps do not say where a finding lies: strongest inside a radiologist's box are {told}; a blind guess at the "
            f"middle of that lung hits {guess}."
        )
    return lines


def _listed(names: Sequence[str], last: str = "or") -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" {last} " + names[-1]
