"""``dicom-node answers``: what came as an answer and does not count, and why; senders that are suspended."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from dicom_node.commands.database import opened
from dicom_node.core.errors import UsageError
from dicom_node.feedback.ae_titles.suspension import resume
from dicom_node.feedback.waiting import OPEN, list_waiting, suspended
from dicom_node.store.connect import reading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--quarantine", action="store_true", help="only what matches no result, or several")
    parser.add_argument("--resume", metavar="AE", help="let the answers of a suspended sender count again from now on")
    parser.add_argument("--by", default="", metavar="NAME", help="with --resume: who decides it")
    parser.add_argument("--limit", type=int, default=100, help="how many, the newest first (default 100)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """List them, or resume a sender."""
    if options.resume and not options.by.strip():
        raise UsageError("--resume wants --by NAME: a person answers for it")
    if options.by and not options.resume:
        raise UsageError("--by is for --resume")
    with opened(options.home) as (database, _, _):
        if options.resume:
            with database.begin() as connection:
                if not resume(connection, options.resume, options.by.strip(), time.time()):
                    raise UsageError(f"{options.resume} is not suspended; dicom-node answers lists who is")
            print(f"Answers of {options.resume} count again. What it sent meanwhile stays without effect.")
            return 0
        with reading(database) as connection:
            states = ("quarantined",) if options.quarantine else OPEN
            found = list_waiting(connection, states, options.limit)
            stopped = [] if options.quarantine else suspended(connection)
    if not found and not stopped and not options.json:
        print("Nothing waits: whatever came as an answer counts, or was none.")
    for sender in stopped:
        if options.json:
            print(json.dumps({"suspended": sender["name"], **{k: v for k, v in sender.items() if k != "name"}}, ensure_ascii=False))
        else:
            print(f"SUSPENDED since {_at(sender['suspended_utc'])}: {sender['name']}. {sender['why']}".rstrip())
            print(f"  When it is mended: dicom-node answers --home {options.home} --resume {sender['name']} --by YOUR-NAME")
    for one in found:
        if options.json:
            print(json.dumps(one, ensure_ascii=False))
            continue
        way = f"{one['sender']} -> {one['receiver']}" if one["receiver"] else one["way"]
        print(f"{_at(one['at_utc'])}  {one['state']:<12} {way:<34} {one['study_key']:<14} {one['text']}".rstrip())
    return 0


def _at(utc: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(utc))
