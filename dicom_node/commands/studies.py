"""``dicom-node studies``: a line a study, the newest first; ``release`` lets one go on that waits for a person; ``hold`` keeps it,
``withdraw`` takes its results back."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from dicom_node.commands.database import opened
from dicom_node.core.errors import UsageError
from dicom_node.core.withdrawal import BY_A_PERSON, Cause
from dicom_node.store.connect import reading
from dicom_node.studies.account import list_refused, list_studies
from dicom_node.studies.release import release_study
from dicom_node.studies.safekeeping import set_legal_hold


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "release", "hold", "withdraw"),
        default="list",
        help="list (default), release a held study, hold one: put it under legal hold, or withdraw what was answered",
    )
    parser.add_argument("study", nargs="*", help="with release, hold and withdraw: keys (st_…) or Study Instance UIDs")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--legal", action="store_true", help="with hold: nothing of the study is deleted")
    which.add_argument("--release", action="store_true", help="with hold: end the legal hold")
    parser.add_argument("--reason", choices=[cause.value for cause in BY_A_PERSON], help="with withdraw: why")
    late = "with list: only results withheld because the radiologist's report was there before"
    parser.add_argument("--discrepancies", action="store_true", help=late)
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--limit", type=int, default=50, help="how many; default 50")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """List, release, hold or withdraw."""
    if options.action == "withdraw":
        return _withdraw(options.home, options.study, options.reason)
    if options.action == "hold":
        return _hold(options.home, options.study, legal=options.legal, release=options.release)
    if options.action == "release":
        return _release(options.home, options.study)
    with opened(options.home) as (database, _, _), reading(database) as connection:
        listed = list_studies(connection, options.limit, discrepancies=options.discrepancies)
        refused = list_refused(connection, options.limit)
    for item in listed:
        if options.json:
            print(json.dumps(item, ensure_ascii=False, default=str))
            continue
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item["last_received_utc"]))
        given_up = f"  [{item['given_up']} given up: dicom-node study {item['study_key']}]" if item["given_up"] else ""
        print(f"{at}  {item['study_key']}  {item['state']:<10} {item['answer']}{given_up}".rstrip())
    if refused and not options.json and not options.discrepancies:
        print("refused at the door (never acknowledged):")
        for item in refused:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item["at_utc"]))
            print(f"{at}  from {item['calling_ae']}: 0x{item['status']:04X} {item['text']}")
    return 0


def _withdraw(home: Path, named: list[str], reason: str | None) -> int:
    if not named or reason is None:
        raise UsageError("name the study and why: dicom-node studies withdraw st_… --reason wrong-patient --home DIR")
    from dicom_node.engine.port import Port  # the engine takes a second to load; listing studies does not need it
    from dicom_node.stages.rooms import Rooms
    from dicom_node.stages.withdraw import withdraw_answers
    from dicom_node.studies.step import find_study

    with opened(home) as (database, settings, place):
        port = Port(database, {name: destination.max_concurrent for name, destination in settings.destinations.items()})
        try:
            with reading(database) as connection:
                keys = [find_study(connection, key_or_uid) for key_or_uid in named]
            for key in keys:
                number = withdraw_answers(Rooms(place, settings, database, port), key, Cause(reason))
                print(f"{key}: {number} result(s) withdrawn" if number else f"{key}: nothing to withdraw")
        finally:
            port.close()
    return 0


def _hold(home: Path, named: list[str], *, legal: bool, release: bool) -> int:
    if not named or legal is release:
        raise UsageError("name the study and what to do: dicom-node studies hold st_… --legal --home DIR (or --release)")
    with opened(home) as (database, _, _), database.begin() as connection:
        for key_or_uid in named:
            key = set_legal_hold(connection, key_or_uid, held=legal)
            print(f"{key} is {'under legal hold' if legal else 'under legal hold no more'}")
    return 0


def _release(home: Path, named: list[str]) -> int:
    if not named:
        raise UsageError("name the study to release: dicom-node studies release st_… --home DIR")
    with opened(home) as (database, _, _), database.begin() as connection:
        for key_or_uid in named:
            print(f"{release_study(connection, key_or_uid, time.time())} is judged again")
    return 0
