"""``dicom-node erase``: remove a patient, or one study, for good. The log of answers still verifies afterwards."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sqlalchemy as sa

from dicom_node.commands.database import opened
from dicom_node.commands.opt_out import patient_id_of
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import UsageError
from dicom_node.home import Home
from dicom_node.stages.erase import Erased, Found
from dicom_node.store.connect import reading

_FRESH_SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--patient-id", metavar="ID", help="everything of this patient; - reads the ID from standard input")
    which.add_argument("--study", metavar="KEY", help="one study: its key (st_…) or Study Instance UID")
    parser.add_argument("--issuer", default="", help="who issued the Patient ID, where several use the same number")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")


def run(options: argparse.Namespace) -> int:
    """Find, ask, erase."""
    from dicom_node.engine.port import Port, prepare_tables
    from dicom_node.node import database_url
    from dicom_node.stages import erase

    with opened(options.home) as (database, settings, home):
        with reading(database) as connection:
            if options.study:
                found = erase.of_study(connection, options.study)
            else:
                found = erase.of_patient(connection, patient_id_of(options), options.issuer)
        print("\n".join(_would_be(found)))
        if not options.yes and not _is_sure(from_stdin=options.patient_id == "-"):
            print("Nothing was erased.")
            return 1
        prepare_tables(database_url(home, settings))
        port = Port(database)
        try:
            done = erase.erase(database, home, port, found, worker_lives=lambda: _worker_lives(database, home, settings))
        finally:
            port.close()
    print("\n".join(_was(done)))
    return 1 if done.problems else 0


def _would_be(found: Found) -> list[str]:
    lines = [f"{len(found.studies)} studies: {', '.join(found.studies) or 'none'}"]
    if found.keys:
        lines.append("and what the hospital's messages told of the patient: demographics, orders, laboratory values.")
    if found.promised:
        lines.append(f"Of {found.promised} of them the sender was promised that this node keeps the objects.")
    lines.append("What was delivered stays where it is. This cannot be undone.")
    return lines


def _is_sure(*, from_stdin: bool) -> bool:
    if from_stdin or not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: say --yes to erase this")
    return input("Type erase to go on: ").strip() == "erase"


def _was(done: Erased) -> list[str]:
    words = f"{done.studies} studies, {done.objects} objects, {done.results} results, {done.answers} texts of answers"
    lines = [f"Erased: {words}, {done.others} rows of messages."]
    if done.copies:
        lines.append(f"Removed, since it held the patient too: {', '.join(done.copies)} (the database before the last update).")
    lines += done.problems
    lines.append("Backups, exports made before, and receivers of results are yours to clean: docs/how-to/erase-and-opt-out.md")
    return lines


def _worker_lives(database: sa.Engine, home: Home, settings: NodeSettings) -> bool:
    """Say whether some process takes work: on this machine by its heartbeat, on others by their leases."""
    from dicom_node.node import last_beats

    if last_beats(home).get("work", 1e9) < _FRESH_SECONDS:
        return True
    if database.dialect.name == "sqlite":
        return False
    from dicom_node.engine.leases import living_roles

    return "work" in living_roles(database, settings.work.lease_dead_seconds)
