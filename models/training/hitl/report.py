"""The tables of the study as a page: the network with and without physicians, its maps, and the readers beside their control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.training.hitl.protocol import HITL, REREAD
from models.training.markdown import interval, number, p_text, table

Row = Mapping[str, Any]
#: Tables that a site may be unable to fill; keys of ``not_computed``.
COMPARED, CONTROL, ENERGY = "What the rounds did to the AUROC", "The arm re-read without the model", "Map energy in the disease"
READERS, USEFUL, RIGHT = (
    "The readers' second look",
    "Usefulness of the map, 1 to 5",
    "Whether readers are right, and automation bias",
)
THRESHOLDS = "Thresholds on new patients"
TITLE = "# NTM disease on chest CT: what the rounds with physicians reach"
BIAS = (
    "The rows of reads that moved are automation bias: of reads where the model was wrong and the reader had not said the same, "
    "those that then do."
)
BIAS_IN_CONTROL = f" In the arm {REREAD} nobody saw the model, so that share is what looking again does alone."
KAPPA = (
    "A kappa of - is undefined: all calls alike. Cases without consensus have a low one before by selection, and any second look "
    "raises it: what the model added is the difference between the arms, not the change in one."
)
DRAWN_HEAD = (
    TITLE
    + "\n\nWritten by `{command}`. RESEARCH USE ONLY. **Drawn chests and drawn readers: these figures prove that protocol and "
    "network run from end to end, and nothing about patients or physicians.** {form}"
)


def page(head: str, found: Row) -> str:
    """Return the whole page. ``found``: see ``hitl.figures``; ``not_computed``: by table, why it is not there."""
    missing = found["not_computed"]
    parts = [
        head,
        *cohort_section(found["cohort"]),
        *network_section(found),
        *map_section(found["energy"], missing),
        *reader_section(found["readers"], missing),
        *threshold_section(found["policies"], missing),
    ]
    return "\n\n".join(parts) + "\n"


def absent(what: str, missing: Row) -> str:
    """Return the line that stands where a table could not be computed."""
    return f"{what}: **not computed**, {missing.get(what, 'there was nothing to compute it from')}."


def cohort_section(cohort: Row) -> list[str]:
    """Return who was read, and how the protocol divided them."""
    rows = [(part, n, ill) for part, n, ill in cohort["parts"]]
    return ["## Who was read", cohort["words"], table(("part", "patients", "with disease"), rows)]


def network_section(found: Row) -> list[str]:
    """Return AUROC, accuracy, sensitivity, specificity, F1 by cohort and arm, the differences, and what they say."""
    head = ("patients", "network", "n (ill)", "AUROC", "accuracy", "sensitivity", "specificity", "F1")
    body = [
        (
            row["cohort"],
            row["arm"],
            f"{row['n']} ({row['positives']})",
            interval(row["auc"]),
            *(interval(row[name]["wilson"]) for name in ("accuracy", "sensitivity", "specificity")),
            interval(row["f1"]),
        )
        for row in found["discrimination"]
    ]
    note = (
        "At 0.5. AUROC and F1: patient bootstrap; shares: Wilson; all 95 %. The arms differ in what physicians did after round 0: "
        "cases and epochs are the same. Internal consensus cases are easier than patients who come."
    )
    too_few = [f"- {name}: **not computed**, {why}." for name, why in found["too_few"].items()]
    if not body:
        return ["## The network, with and without physicians", "\n".join(too_few)]
    missing = found["not_computed"]
    against = [(row["cohort"], row["against"], interval(row["difference"]), p_text(row["p_value"])) for row in found["differences"]]
    return [
        "## The network, with and without physicians",
        table(head, body),
        *(["\n".join(too_few)] if too_few else []),
        note,
        shares_table(found["discrimination"], found["chief"]),
        *([table(("patients", f"AUROC {HITL}, minus", "difference", "DeLong P"), against)] if against else []),
        *([verdict(found["differences"])] if against else [absent(COMPARED, missing)]),
        *([absent(CONTROL, missing)] if CONTROL in missing else []),
        baseline_words(found["discrimination"], found["against_baselines"]),
    ]


def shares_table(rows: Sequence[Row], arm: str) -> str:
    """Return the shares of one arm at 0.5 with both intervals, each under its name."""
    body = [
        (row["cohort"], name, f"{row[name]['hits']}/{row[name]['n']}", interval(row[name]["wilson"]),
         interval(row[name]["clopper_pearson"]))
        for row in rows
        if row["arm"] == arm
        for name in ("accuracy", "sensitivity", "specificity")
    ]  # fmt: skip
    return table(("patients", arm, "hits", "Wilson", "Clopper-Pearson"), body)


def verdict(differences: Sequence[Row]) -> str:
    """Say what the rounds did to the AUROC, cohort by cohort; not adjusted for their number."""
    lines = ["In words, the rounds with the model:"]
    for row in differences:
        value, low, high = row["difference"]
        what = "are not shown to change the AUROC" if low <= 0 <= high else "raise the AUROC" if value > 0 else "LOWER the AUROC"
        lines.append(f"- {row['cohort']}, against {row['against']}: {what} ({value:+.3f}, {low:+.3f} to {high:+.3f}).")
    return "\n".join([lines[0], "", *lines[1:]])


def baseline_words(rows: Sequence[Row], against: Sequence[Row]) -> str:
    """Say whether the network clearly beats what needs no lungs."""
    aucs = {(row["cohort"], row["arm"]): row["auc"] for row in rows}
    lines = ["Without looking at disease:", ""]
    for row in against:
        value, low, high = row["difference"]
        beaten = "clearly beaten" if low > 0 else "**NOT clearly beaten**: what the network reaches there can be had without lungs"
        lines.append(
            f"- {row['cohort']}, {row['baseline']}: AUROC {interval(aucs[row['cohort'], row['baseline']])}; {beaten} "
            f"({value:+.3f}, {low:+.3f} to {high:+.3f})."
        )
    return "\n".join(lines)


def map_section(rows: Sequence[Row], missing: Row) -> list[str]:
    """Return where the class maps lie."""
    if not rows:
        return ["## Where the map lies", absent(ENERGY, missing)]
    body = [
        (row["cohort"], row["arm"], row["n"], interval(row["share"]), number(row["even"]), interval(row["change"])) for row in rows
    ]
    head = ("patients", "network", "ill patients", "energy in the disease", "of an even map", "change against first reads only")
    return [
        "## Where the map lies",
        table(head, body),
        "Share of the class map's energy in drawn disease, mean over patients, bootstrap.",
    ]


def reader_section(readers: Mapping[str, Row], missing: Row) -> list[str]:
    """Return what the second look did, with the model and without."""
    if HITL not in readers:
        return ["## The readers", absent(READERS, missing)]
    simulated = " Simulated by rule." if REREAD in readers else ""
    parts = ["## The readers", "Cases on which readers differed at first, looked at again once." + simulated]
    rows: list[tuple[Any, ...]] = []
    for arm, told in readers.items():
        rows.append(("cases that reach consensus", arm, _share(told["consensus"])))
    helpful = readers[HITL]["helpful"]
    rows.append(("cases whose map helped", HITL, _share(helpful["cases"])))
    for arm, told in readers.items():
        if right := told["right"]:
            rows.append(("mean score right, before", arm, _share(right["before"])))
            rows.append(("mean score right, after", arm, f"{_share(right['after'])}; McNemar P {p_text(right['p_value'])}"))
    rows += [
        ("reads that moved to a wrong call of the model", arm, _share(told["automation"]))
        for arm, told in readers.items()
        if told["automation"]
    ]
    parts.append(table(("", "arm", "share (Wilson)"), rows))
    answers = helpful["answers"]
    parts.append(f"Answers to the maps: {answers['yes']} right place, {answers['no']} not, {answers['none']} none.")
    parts += [absent(what, missing) for what in (RIGHT, CONTROL) if what in missing]
    if readers[HITL]["automation"]:
        parts.append(BIAS + (BIAS_IN_CONTROL if REREAD in readers else ""))
    useful = [(row["round"], row["cases"], interval(row["mean"])) for row in readers[HITL]["usefulness"]]
    parts.append(table(("round", "cases", "usefulness of the map, 1 to 5 (mean)"), useful) if useful else absent(USEFUL, missing))
    kappas = [
        (row["cases"], arm, row["n"], interval(row["before"]), interval(row["after"]), interval(row["change"]))
        for arm, told in readers.items()
        for row in told["kappas"]
    ]
    parts.append(table(("cases", "arm", "n", "Fleiss' kappa before", "after", "change"), kappas))
    parts.append(KAPPA)
    return parts


def threshold_section(policies: Mapping[str, Row], missing: Row) -> list[str]:
    """Return what each operating point does on patients it was not fitted on."""
    rows = [
        (name, kind, cohort, f"{entry['hits']}/{entry['n']}", interval(entry["wilson"]), interval(entry["clopper_pearson"]))
        for name, on_test in policies.items()
        for kind in ("sensitivity", "specificity")
        for cohort, entry in on_test[kind].items()
    ]
    head = ("policy", "", "patients", "hits", "Wilson", "Clopper-Pearson")
    return [f"## {THRESHOLDS}", table(head, rows) if rows else absent(THRESHOLDS, missing)]


def _share(found: Row) -> str:
    return f"{found['hits']}/{found['n']}: {interval(found['wilson'])}"
