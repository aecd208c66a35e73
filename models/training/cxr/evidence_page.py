"""The page of evidence of the chest radiograph classifier: a table of the selection, one of the test part; words from figures."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from models.training.cxr import selection as rule
from models.training.cxr.stability import MOST
from models.training.markdown import interval, number, table

#: Columns of the test table: what is asked, by cohort of ``generalisation.COHORTS``.
SHORT = {
    "within NIH": "within NIH",
    "within NIH, PA": "NIH, PA only",
    "within NIH, patients 1280 to 3970": "NIH, patients 1280-3970",
    "without NIH: NIH": "without NIH: NIH",
    "without Kermany: Kermany": "without Kermany: Kermany",
    "without ieee8023: ieee8023 against NIH normals": "without ieee8023: ieee8023 against NIH normals",
    "with children: NIH": "children added: NIH",
    "within Kermany": "children added: Kermany",
}

INTRODUCTION = """
Research use only. Written by `python -m models.recipes.cxr_evidence --data DIR --work DIR --test --page FILE`; the same figures lie
in the bundle's `metrics.json` under `evidence`. Unit: the patient. What the 16 x 16 thumbnail (logistic regression on grey values,
fitted on the same rows) reaches too can be had without looking at the lungs.
""".strip()
TEST_WORDS = """
- `*`: clearly above the thumbnail that was fitted on the same rows: the interval of the paired difference, by drawing patients,
  lies above 0. Without the star the thumbnail does as well as anybody can tell, and the figure may be a shortcut.
- The networks are those of the comparison (its setting, one seed, averages left out), fitted on the train and selection parts. The
  network that ships has the same setting and was fitted on the train part alone; its own figures are in its card.
- "without X: Y" was fitted without any image of X. Without NIH all normals are children's, so age and label are the same there.
- Patients 1280-3970: where both labels of NIH come from; outside it the number of a patient alone names the label.
- Worst change: of the AUC within NIH under gamma 0.7 and 1.4, blur, JPEG, pasted letters and borders.
""".strip()


def page(evidence: Mapping[str, Any]) -> str:
    """Return the page. ``evidence``: ``selection`` and, once the test part was judged, ``test``; ``lungs``, ``setting``."""
    chosen = evidence["selection"]
    parts = [
        "# How the chest radiograph classifier was chosen, and what that is worth",
        INTRODUCTION,
        "## The rule, written down before the first run but for what is said below it",
        _rule(),
        "## Candidates and remedies by the rule (train and selection parts, two folds)",
        evidence["setting"],
        _selection_table(chosen),
        _selection_words(chosen),
    ]
    if "test" in evidence:
        parts += _test_parts(evidence["test"])
    return "\n\n".join(parts) + "\n"


def _rule() -> str:
    text = inspect.getdoc(rule) or ""
    return text[text.index("1. Rows") :].strip().replace("``", "`")


def _selection_table(chosen: Mapping[str, Any]) -> str:
    rows = []
    for entry in [*chosen["rows"], chosen["thumbnail"]]:
        kept = {True: "kept", False: "dropped"}.get(entry.get("kept"), "")
        rows.append(
            (
                f"**{entry['name']}**" if entry["name"] == chosen["chosen"] else entry["name"],
                interval(entry["score"]),
                interval(entry.get("difference")),
                interval(entry["within"]),
                interval(entry["unseen"]),
                _worst(entry),
                entry.get("parameters", "-") if entry.get("maps") else "-",
                kept,
            )
        )
    head = (
        "candidate",
        "score",
        "against the base",
        "(a) within NIH",
        "(b) ieee8023, unseen",
        "worst change",
        "parameters",
        "remedy",
    )
    return table(head, rows)


def _worst(entry: Mapping[str, Any]) -> str:
    if "worst_change" not in entry:
        return "-"
    text = number(entry["worst_change"])
    return text if entry["stable"] else f"{text}: out"


def _selection_words(chosen: Mapping[str, Any]) -> str:
    remedies = [entry for entry in chosen["rows"] if "remedy" in entry]
    clear = [e for e in remedies if e["difference"][1] > 0 or e["difference"][2] < 0]
    kept = [e["remedy"] for e in remedies if e["kept"]]
    dropped = [e["remedy"] for e in remedies if not e["kept"]]
    names = ", ".join(e["name"] for e in clear) or "none"
    return (
        f"- Ships: {chosen['chosen']}.\n"
        f"- Kept remedies: {', '.join(kept) or 'none'}. Dropped: {', '.join(dropped) or 'none'}.\n"
        f"- Of {len(remedies)} switches {len(clear)} changed the score by more than chance would (interval without 0): {names}. "
        "What the other differences show is noise as likely as not.\n"
        "- Worst change: largest change of the AUC within NIH under gamma 0.7 and 1.4, blur, JPEG, letters, borders; "
        f"{MOST:g} is the limit. Candidates without a map have no number of parameters here: they could not ship."
    )


def _test_parts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cohorts = [name for name in SHORT if any(name in row["cohorts"] for row in rows)]
    some = {name: next(row["cohorts"][name] for row in rows if name in row["cohorts"]) for name in cohorts}
    lines = [["images (abnormal) / patients", *(f"{c['images']} ({c['abnormal']}) / {c['patients']}" for c in some.values()), ""]]
    lines.append(["thumbnail, 16 x 16", *(_cell(c["thumbnail_auc"]) for c in some.values()), ""])
    for row in rows:
        cells = [_beside(row["cohorts"].get(name)) for name in cohorts]
        worst = "-" if "worst_change" not in row else number(row["worst_change"]) + ("" if row["stable"] else ": too much")
        lines.append([row["name"], *cells, worst])
    return [
        "## The test part, once: within each source, and on sources left out",
        table(("AUC (95 %)", *(SHORT[name] for name in cohorts), "worst change within NIH"), lines),
        TEST_WORDS,
    ]


def _beside(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None else _cell(found["auc"]) + (" *" if found["clearly_above"] else "")


def _cell(values: Sequence[float | None]) -> str:
    value, low, high = (number(v, 2) for v in values)
    return f"{value} ({low}-{high})"
