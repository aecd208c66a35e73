"""The tables of ``patient_tables`` as Markdown, and the calibration plot as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.training.markdown import interval, number, p_text, table
from models.training.slices.patient_tables import median_and_quartiles

Row = Mapping[str, Any]


def ablation_text(rows: Sequence[Row], full: str) -> str:
    """Return the table of variants, each compared with ``full``."""
    head = ("variant", "AUC", "accuracy", "sensitivity", "specificity", "F1", f"{full} minus this", "DeLong P", "P (Holm)")
    body = [
        (
            row["variant"],
            interval(row["auc"]),
            *(interval(row[name]["wilson"]) for name in ("accuracy", "sensitivity", "specificity")),
            interval(row["f1"]),
            interval(row.get("full_minus_this")),
            p_text(row.get("p_value")),
            p_text(row.get("p_holm")),
        )
        for row in rows
    ]
    note = (
        "AUC, F1: patient bootstrap, 95 %. Shares: Wilson, 95 %. With a few dozen patients a kind DeLong's test has almost no "
        "power between AUCs like 0.98 and 0.99; and a row is one training, whose own chance no interval here holds (the same row "
        "trained again by another order of additions may move by more): no P value here decides anything."
    )
    return table(head, body) + "\n\n" + note


def shares_text(row: Row) -> str:
    """Return accuracy, sensitivity and specificity of one variant with both intervals, each under its name."""
    body = [
        (name, f"{row[name]['hits']}/{row[name]['n']}", interval(row[name]["wilson"]), interval(row[name]["clopper_pearson"]))
        for name in ("accuracy", "sensitivity", "specificity")
    ]
    return table(("", "patients", "Wilson", "Clopper-Pearson"), body)


def confusion_text(by_unit: Mapping[str, Mapping[str, int]], positive: str, negative: str) -> str:
    """Return the confusion matrices of patients and of slices."""
    body = []
    for unit, counts in by_unit.items():
        body.append((unit, positive, counts["true_positive"], counts["false_negative"]))
        body.append((unit, negative, counts["false_positive"], counts["true_negative"]))
    return table(("unit", "truth", f"called {positive}", f"called {negative}"), body)


def subgroups_text(rows: Sequence[Row]) -> str:
    """Return the subgroups; too small ones with counts alone."""
    body = []
    for row in rows:
        if "auc" in row:
            told = [interval(row["auc"]), *(interval(row[name]["wilson"]) for name in ("sensitivity", "specificity"))]
        else:
            told = [
                "too few",
                f"{row['true_positive']}/{row['positives']}",
                f"{row['true_negative']}/{row['n'] - row['positives']}",
            ]
        body.append((row["kind"], row["value"], row["n"], row["positives"], *told))
    return table(("subgroup", "", "patients", "positive", "AUC", "sensitivity", "specificity"), body)


def cohort_text(rows: Sequence[Row], positive: str, negative: str) -> str:
    """Return the characteristics of both groups with the test between them."""
    body = []
    for row in rows:
        if "values" in row:
            shown = [", ".join(f"{v} {n}" for v, n in zip(row["values"], group, strict=True)) for group in row["groups"]]
        else:
            shown = [median_and_quartiles(group) for group in row["groups"]]
        body.append((row["name"], *shown, row["known"], row["test"], p_text(row["p_value"])))
    return (
        table(("", positive, negative, "known", "test", "P"), body) + "\n\nNumbers: median (quartiles). P values are not adjusted."
    )


def calibration_text(found: Row) -> str:
    """Return Brier score, log-loss, calibration error and the bins."""
    head = f"n = {found['n']}, Brier {number(found['brier'])}, log-loss {number(found['log_loss'])}, ECE {number(found['ece'])}."
    body = [(number(b["predicted"]), interval((b["observed"], b["low"], b["high"])), b["n"]) for b in found["reliability"]]
    return head + "\n\n" + table(("mean predicted", "observed (Wilson)", "n"), body)


def plot_calibration(found: Row, title: str, path: Path) -> None:
    """Write the reliability diagram in quantile bins with Wilson bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4, 4), dpi=100)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    bins = found["reliability"]
    seen = [b["observed"] for b in bins]
    reach = [[max(0.0, b["observed"] - b["low"]) for b in bins], [max(0.0, b["high"] - b["observed"]) for b in bins]]
    axes.errorbar([b["predicted"] for b in bins], seen, yerr=reach, fmt="o-", capsize=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean predicted probability", ylabel="observed share (Wilson 95 %)", title=title)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
