"""``dicom-node studies``: a line a study, the newest first."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from dicom_node.commands.database import opened
from dicom_node.store.connect import reading
from dicom_node.studies.account import list_refused, list_studies


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--limit", type=int, default=50, help="how many; default 50")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Print the list."""
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
