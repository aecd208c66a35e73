"""The tables of the study as a page: the network with and without physicians, its maps, and the readers beside their control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.training.hitl.protocol import HITL, REREAD
from models.training.markdown import interval, number, p_text, table

Row = Mapping[str, Any]


def page(found: Row, command: str) -> str:
    """Return the whole page. ``found``: see ``models.recipes.ct_ntm.study``."""
    parts = [
        "# NTM disease on chest CT: what the rounds with physicians reach",
        f"Written by `{command}`. RESEARCH USE ONLY. **Drawn chests and drawn readers: these figures prove that protocol and "
        "network run from end to end, and nothing about patients or physicians.** " + found["form"],
        *cohort_section(found["cohort"]),
        *network_section(found),
        *map_section(found["energy"]),
        *reader_section(found["readers"]),
        *threshold_section(found["policies"]),
    ]
    return "\n\n".join(parts) + "\n"


def cohort_section(cohort: Row) -> list[str]:
    """Return who was read, and how the protocol divided them."""
    rows = [(part, n, ill) for part, n, ill in cohort["parts"]]
    told = (
        f"Three readers looked at {cohort['read']} internal patients: {cohort['consensus']} consensus cases, of which the readers' "
        f"side is the drawn truth in {cohort['consensus_right']}; {cohort['low']} on which they differ. Truth below is always the "
        "drawn one; what trains is what readers said."
    )
    return ["## Who was read", told, table(("part", "patients", "with disease"), rows)]


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
    against = [(row["cohort"], row["against"], interval(row["difference"]), p_text(row["p_value"])) for row in found["differences"]]
    return [
        "## The network, with and without physicians",
        table(head, body),
        note,
        table(("patients", f"AUROC {HITL}, minus", "difference", "DeLong P"), against),
        verdict(found["differences"]),
        baseline_words(found["discrimination"], found["against_baselines"]),
    ]


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


def map_section(rows: Sequence[Row]) -> list[str]:
    """Return where the class maps lie."""
    body = [
        (row["cohort"], row["arm"], row["n"], interval(row["share"]), number(row["even"]), interval(row["change"])) for row in rows
    ]
    head = ("patients", "network", "ill patients", "energy in the disease", "of an even map", "change against first reads only")
    return [
        "## Where the map lies",
        table(head, body),
        "Share of the class map's energy in drawn disease, mean over patients, bootstrap.",
    ]


def reader_section(readers: Mapping[str, Row]) -> list[str]:
    """Return what the second look did, with the model and without."""
    parts = ["## The readers", "Cases on which readers differed at first, looked at again once. Simulated by rule."]
    rows: list[tuple[Any, ...]] = []
    for arm, told in readers.items():
        rows.append(("cases that reach consensus", arm, _share(told["consensus"])))
    helpful = readers[HITL]["helpful"]
    rows.append(("cases whose map helped", HITL, _share(helpful["cases"])))
    for arm, told in readers.items():
        right = told["right"]
        rows.append(("mean score right, before", arm, _share(right["before"])))
        rows.append(("mean score right, after", arm, f"{_share(right['after'])}; McNemar P {p_text(right['p_value'])}"))
    for arm, told in readers.items():
        rows.append(("reads that moved to a wrong call of the model", arm, _share(told["automation"])))
    parts.append(table(("", "arm", "share (Wilson)"), rows))
    answers = helpful["answers"]
    parts.append(
        f"Answers to the maps: {answers['yes']} right place, {answers['no']} not, {answers['none']} none. The last rows are "
        f"automation bias: of reads where the model was wrong and the reader had not said the same, those that then do; in the "
        f"arm {REREAD} nobody saw the model, so that share is what looking again does alone."
    )
    useful = [(row["round"], row["cases"], interval(row["mean"])) for row in readers[HITL]["usefulness"]]
    parts.append(table(("round", "cases", "usefulness of the map, 1 to 5 (mean)"), useful))
    kappas = [
        (row["cases"], arm, row["n"], interval(row["before"]), interval(row["after"]), interval(row["change"]))
        for arm, told in readers.items()
        for row in told["kappas"]
    ]
    parts.append(table(("cases", "arm", "n", "Fleiss' kappa before", "after", "change"), kappas))
    parts.append(
        "Cases without consensus have a low kappa before by selection, and any second look raises it: what the model added is the "
        "difference between the arms, not the change in one."
    )
    return parts


def threshold_section(policies: Mapping[str, Row]) -> list[str]:
    """Return what each operating point does on patients it was not fitted on."""
    rows = [
        (name, kind, cohort, f"{entry['hits']}/{entry['n']}", interval(entry["wilson"]), interval(entry["clopper_pearson"]))
        for name, on_test in policies.items()
        for kind in ("sensitivity", "specificity")
        for cohort, entry in on_test[kind].items()
    ]
    head = ("policy", "", "patients", "hits", "Wilson", "Clopper-Pearson")
    return ["## Thresholds on new patients", table(head, rows)] if rows else []


def _share(found: Row) -> str:
    return f"{found['hits']}/{found['n']}: {interval(found['wilson'])}"
