"""What the log keeps of the result that is answered: what the AI said, by which model under which policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dicom_node.core.findings import Decision
from dicom_node.feedback.recording import Result


def result_of(row: Any, results: Path) -> Result:
    """Return the result of a run (its row), by its findings; where retention has deleted those, by the summary in the row.

    Parameters
    ----------
    results
        Folder of results (``Home.results``).
    """
    summary = row.summary or {}
    labels = dict.fromkeys(summary.get("not_assessed", ()), Decision.NOT_ASSESSED.value)
    labels[""] = summary.get("decision") or Decision.NOT_ASSESSED.value
    try:
        found = json.loads((results / row.run_key / "findings.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Result(row.run_key, row.study_key, labels=labels | dict.fromkeys(set(summary.get("probabilities", ())), ""))
    labels |= {one["key"]: one["decision"] for one in found["findings"]}
    bundles, policy = found["bundles"], found["policy"]
    return Result(
        row.run_key,
        row.study_key,
        bundle_hash=bundles[0]["sha256"] if bundles else "",
        policy_hash=policy["sha256"] if policy else "",
        labels=labels,
    )
