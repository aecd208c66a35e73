"""The figures of an evaluation as Markdown, and in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.training.evaluate_bundle.figures import PEOPLE
from models.training.evaluate_bundle.reading import OPENED_TEXT
from models.training.markdown import change, interval, number, table

NO_BASELINE = "not in the bundle"
ABOUT_FIGURES = (
    "95 % intervals by drawing patients, over the images that were read. The thumbnail is a logistic regression on the grey image "
    "at 16 x 16, fitted on the bundle's own training rows: what it reaches too is a shortcut. Clearly above: the interval of the "
    "difference, bundle minus thumbnail in the same draws of patients, lies above 0."
)


def report(result: Mapping[str, Any]) -> str:
    """Return the whole report; the same figures give the same text."""
    parts = [
        f"# {result['bundle']} on {result['index']}, part: {result['split']}",
        "RESEARCH USE ONLY - NOT FOR DIAGNOSIS. Figures about images that somebody labelled; no hospital's patients.",
        f"Bundle {result['bundle_sha256'][:16]}, pipeline {result['pipeline']}, index {result['index_sha256'][:16]}. {OPENED_TEXT}",
        *(["**" + result["seen"] + "**"] if result["seen"] else []),
        "## Images",
        table(
            ("", "source", "label", "read", "refused"),
            [(a["people"], a["source"], a["label"], a["read"], a["refused"]) for a in result["images"]],
        ),
        *_refused(result["refusals"]),
        *_problems(result["problems"], result["assumed"]),
    ]
    for people in PEOPLE:
        parts += _people(people, result[people], bool(result["thumbnail"]))
    if result["pictures"]:
        parts += [
            f"## Pictures (policy {result['policy']})",
            table(
                ("file", "what", "line", "source", "probability"),
                [(p["file"], p["kind"], p["line"], p["source"], number(p["probability"])) for p in result["pictures"]],
            ),
        ]
    if result["plots"]:
        parts += ["## Plots", "\n".join(f"- [{name}]({name})" for name in result["plots"])]
    return "\n\n".join(parts) + "\n"


def summary(result: Mapping[str, Any]) -> str:
    """Return one line: what was read, the AUCs of adults by source, and one policy in patients."""
    adults = result["adults"]
    read, refused = (sum(a[key] for a in result["images"]) for key in ("read", "refused"))
    told = [f"{result['bundle']}: {read} images read, {refused} refused, {len(result['problems'])} unusable rows"]
    for entry in adults["discrimination"]:
        if entry["auc"] is not None and not entry["view"]:
            simple = interval(entry["thumbnail_auc"]) if entry["thumbnail_auc"] else NO_BASELINE
            told.append(f"{entry['source']} AUC {interval(entry['auc'])}, thumbnail {simple}")
    if len(told) == 1:
        told.append("no source with enough normal and abnormal adults for an AUC")
    name, policy = result["policy"], adults["policies"][result["policy"]]
    if policy["feasible"]:
        count = policy["patients"]
        called, quiet = count["true_positive"], count["true_negative"]
        ill, well = called + count["false_negative"], quiet + count["false_positive"]
        told.append(f"{name}: {called}/{ill} abnormal called, {quiet}/{well} normal not called")
    return "; ".join(told) + " (adult patients)."


def _refused(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["No image was refused."]
    keys = ("reason", "people", "source", "label", "images", "patients")
    return ["## Refused by the node's own gates", table(keys, [tuple(row[key] for key in keys) for row in rows])]


def _problems(problems: Sequence[Mapping[str, Any]], assumed: Mapping[str, str]) -> list[str]:
    parts = []
    if problems:
        parts += ["## Rows that could not be used", table(("line", "why"), [(p["line"], p["why"]) for p in problems])]
    if assumed:
        parts.append("Columns that are missing: " + "; ".join(f"`{name}` ({text})" for name, text in assumed.items()) + ".")
    return parts


def _people(people: str, own: Mapping[str, Any], has_baseline: bool) -> list[str]:
    if not own["images"]:
        return [f"## {people.capitalize()}", "None were read."]
    outside = " They are outside the intended use." if people == "children" else ""
    return [
        f"## {people.capitalize()}",
        f"{own['images']} images of {own['patients']} patients.{outside}",
        "### Normal or abnormal, by source",
        _discrimination(own["discrimination"], has_baseline),
        ABOUT_FIGURES,
        "### At the thresholds, counted in patients",
        _policies(own["policies"], people),
        "A patient's score is that of the highest image; a patient with images of both labels counts once under each.",
        "### Calibration",
        _calibration(own["calibration"]),
    ]


def _discrimination(rows: Sequence[Mapping[str, Any]], has_baseline: bool) -> str:
    head = ("source", "view", "images (abnormal)", "patients", "AUC of the bundle", "AUC of the thumbnail", "clearly above", "kind")
    lines = []
    for row in rows:
        simple = interval(row["thumbnail_auc"]) if has_baseline else NO_BASELINE
        above = "-" if row["above_thumbnail"] is None else "yes" if row["above_thumbnail"] else "no"
        if row["difference"] is not None:
            above += f": {change(row['difference'])}"
        count = f"{row['images']} ({row['abnormal']})"
        lines.append(
            (row["source"], row["view"] or "all", count, row["patients"], interval(row["auc"]), simple, above, row["kind"])
        )
    return table(head, lines)


def _policies(policies: Mapping[str, Mapping[str, Any]], people: str) -> str:
    rows: list[tuple[Any, ...]] = []
    told = []
    for name, policy in policies.items():
        if not policy["feasible"]:
            told.append(f"{name}: no threshold ({policy['reason']}).")
            continue
        for kind in ("sensitivity", "specificity"):
            for source, entry in policy[kind].items():
                ratio = f"{entry['hits']}/{entry['n']}"
                both = (interval(entry["wilson"]), interval(entry["clopper_pearson"]))
                rows.append((name, number(policy["tau"]), kind, source, ratio, *both))
        if people == "adults" and not policy["view_stated"]:
            told.append(
                f"{name}: the list states no view, so all images are counted; whether the threshold holds for them is unknown."
            )
        if policy["views"] != "all" and policy["images_of_other_views"]:
            views = ", ".join(policy["views"])
            told.append(f"{name}: valid for {views}; {policy['images_of_other_views']} images of other views are not counted here.")
    text = table(("policy", "tau", "", "source", "patients", "Wilson", "Clopper-Pearson"), rows) if rows else "No patient to count."
    return "\n\n".join([text, *told])


def _calibration(own: Mapping[str, Any] | None) -> str:
    if own is None:
        return "No source holds both labels: no evidence."
    return (
        f"Sources with both labels ({', '.join(own['sources'])}), {own['images']} images of {own['patients']} patients: "
        f"Brier {interval(own['brier'])}, ECE {number(own['ece'])} (15 bins; it grows as images become fewer)."
    )
