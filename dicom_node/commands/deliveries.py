"""``dicom-node deliveries``: what was sent, what waits, what was given up; ``retry`` sends that again, ``leave`` lets it be."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import sqlalchemy as sa

from dicom_node.commands.database import opened
from dicom_node.config.model import NodeSettings
from dicom_node.core.delivery import DeliveryState, proof_words
from dicom_node.core.errors import UsageError
from dicom_node.delivery.leave import leave_dead
from dicom_node.delivery.step import list_deliveries, retry_dead
from dicom_node.store.connect import reading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "retry", "leave"),
        default="list",
        help="list (default); retry given-up ones; or leave them: what is at the receiver stands, and nothing more is sent",
    )
    parser.add_argument(
        "delivery",
        nargs="*",
        help="with retry: delivery keys (dl_…), also of what was sent and is not proven; default: all that were given up; "
        "with leave: keys",
    )
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    states = [state.value for state in DeliveryState]
    parser.add_argument("--state", action="append", default=[], choices=states, metavar="STATE", help=f"only {', '.join(states)}")
    parser.add_argument("--destination", default="", help="only this destination")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """List or retry."""
    with opened(options.home) as (database, settings, _):
        if options.action == "retry":
            return _retry(database, settings, options.delivery)
        if options.action == "leave":
            return _leave(database, options.delivery)
        with reading(database) as connection:
            rows = list_deliveries(connection, states=options.state, destination=options.destination)
    for row in rows:
        if options.json:
            shown = (
                "delivery_id",
                "study_key",
                "run_key",
                "role",
                "destination",
                "state",
                "attempt",
                "next_attempt_utc",
                "done_utc",
                "detail",
                "proof",
                "proved_utc",
            )
            words = {"proof_words": proof_words(row.state, row.proof, row.proof_detail)}
            print(json.dumps({name: getattr(row, name) for name in shown} | words, ensure_ascii=False))
        else:
            said = "; ".join(text for text in (proof_words(row.state, row.proof, row.proof_detail), row.detail) if text)
            print(f"{row.delivery_id}  {row.study_key}  {row.role:<24} -> {row.destination:<12} {row.state:<18} {said}".rstrip())
    return 0


def _leave(database: sa.Engine, named: list[str]) -> int:
    if not named:
        raise UsageError("name what to leave as it is at the receiver: dicom-node deliveries leave dl_… --home DIR")
    with database.begin() as connection:
        left = leave_dead(connection, named)
    print(f"{len(left)} deliveries are left as they are")
    if missing := sorted(set(named) - set(left)):
        raise UsageError(f"not given up, or unknown: {', '.join(missing)}")
    return 0


def _retry(database: sa.Engine, settings: NodeSettings, named: list[str]) -> int:
    from dicom_node.engine.port import Port  # the engine takes a second to load; listing does not need it

    port = Port(database, {name: destination.max_concurrent for name, destination in settings.destinations.items()})
    try:
        with database.begin() as connection:
            again = retry_dead(connection, named or None, port.submit_delivery)
    finally:
        port.close()
    missing = sorted(set(named) - set(again))
    print(f"{len(again)} deliveries are sent again")
    if missing:
        raise UsageError(f"not given up, or unknown: {', '.join(missing)}")
    return 0
