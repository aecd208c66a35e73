"""``dicom-node studies``: a line a study, the newest first; ``release`` lets one go on that waits for a person."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from dicom_node.commands.database import opened
from dicom_node.core.errors import UsageError
from dicom_node.store.connect import reading
from dicom_node.studies.account import list_refused, list_studies
from dicom_node.studies.release import release_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "action", nargs="?", choices=("list", "release"), default="list", help="list (default), or release a held study"
    )
    parser.add_argument("study", nargs="*", help="with release: keys (st_…) or Study Instance UIDs")
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--limit", type=int, default=50, help="how many; default 50")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """List or release."""
    if options.action == "release":
        return _release(options.home, options.study)
    with opened(options.home) as (database, _, _), reading(database) as connection:
        listed = list_studies(connection, options.limit)
        refused = list_refused(connection, options.limit)
    for item in listed:
        if options.json:
            print(json.dumps(item, ensure_ascii=False, default=str))
            continue
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item["last_received_utc"]))
        print(f"{at}  {item['study_key']}  {item['state']:<10} {item['answer']}".rstrip())
    if refused and not options.json:
        print("refused at the door (never acknowledged):")
        for item in refused:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item["at_utc"]))
            print(f"{at}  from {item['calling_ae']}: 0x{item['status']:04X} {item['text']}")
    return 0


def _release(home: Path, named: list[str]) -> int:
    if not named:
        raise UsageError("name the study to release: dicom-node studies release st_… --home DIR")
    with opened(home) as (database, _, _), database.begin() as connection:
        for key_or_uid in named:
            print(f"{release_study(connection, key_or_uid, time.time())} is judged again")
    return 0
