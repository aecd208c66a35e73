"""``dicom-node study``: the whole story of one study."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from dicom_node.commands.database import opened
from dicom_node.core.delivery import DeliveryState
from dicom_node.store.connect import reading
from dicom_node.studies.account import study_story


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("study", metavar="UID-or-key", help="Study Instance UID, or the node's own key (st_…)")
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print the story."""
    with opened(options.home) as (database, _, _), reading(database) as connection:
        story = study_story(connection, options.study)
    if options.json:
        print(json.dumps({**story["result"], **story}, ensure_ascii=False, default=str))
    else:
        print("\n".join(told(story)))
    return 0


def told(story: dict[str, Any]) -> list[str]:
    """Return the story as lines for people."""
    lines = [f"{story['study_key']}  {story['state']}", ""]
    for entry in story["story"]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry["at_utc"]))
        lines.append(f"{at}  {entry['room']:<10} {entry['text']}")
    for run_row in story["runs"]:
        lines += ["", f"run {run_row['run_key']}  {run_row['pipeline']}  result {run_row['revision']}  {run_row['state']}"]
        summary = run_row["summary"] or {}
        lines += [
            f"  {key}: {summary[key]}"
            for key in ("headline", "reason", "zone", "probabilities", "bundle", "policy")
            if summary.get(key)
        ]
    if story["deliveries"]:
        lines.append("")
    for item in story["deliveries"]:
        said = "; ".join(text for text in (item["proof_words"], item["detail"]) if text)
        key = f" {item['delivery_id']}" if item["state"] == DeliveryState.DEAD else ""  # what retry and leave ask for
        lines.append(f"{item['role']:<24} -> {item['destination']:<12} {item['state'] + key:<18} {said}".rstrip())
    return lines
