"""``dicom-node messages``: the HL7 messages that came last, and what became of each."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from dicom_node.commands.database import opened
from dicom_node.orders.step import list_messages
from dicom_node.store.connect import reading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--state", action="append", default=[], choices=("applied", "ignored", "refused"), help="only this state")
    parser.add_argument("--limit", type=int, default=50, help="how many, the newest first (default 50)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """List them."""
    with opened(options.home) as (database, _, _), reading(database) as connection:
        found = list_messages(connection, options.limit, tuple(options.state))
    for row in found:
        if options.json:
            print(json.dumps(row, ensure_ascii=False))
            continue
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row["received_utc"]))
        print(f"{at}  {row['sender']:<24} {row['control_id']:<20} {row['type']:<8} {row['state']:<8} {row['text']}".rstrip())
    return 0
