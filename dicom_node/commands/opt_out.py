"""``dicom-node opt-out``: patients who said no, to analysis or to learning. What is kept of them is a keyed hash."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from dicom_node.commands.database import opened
from dicom_node.core.errors import UsageError
from dicom_node.home import Home
from dicom_node.store.connect import reading
from dicom_node.studies import opt_outs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", choices=("add", "remove", "list", "import"), help="what to do")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.csv", help="with import: patient_id,issuer,scope, one a line")
    parser.add_argument(
        "--patient-id", metavar="ID", help="Patient ID; - reads it from standard input, so that no history keeps it"
    )
    parser.add_argument("--issuer", default="", help="who issued the Patient ID; kept nowhere, and narrows nothing")
    scopes = (*opt_outs.SCOPES, opt_outs.BOTH)
    parser.add_argument("--scope", choices=scopes, default=opt_outs.BOTH, help="no to what; default both")
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--json", action="store_true", help="with list: one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Add, remove, list or import."""
    with opened(options.home) as (database, _, home):
        if options.action == "list":
            return _list(database, home, options)
        if options.action == "import":
            return _import(database, home, options.file)
        patient_id = patient_id_of(options)
        with database.begin() as connection:
            if options.action == "add":
                new = opt_outs.add(connection, home, patient_id, options.issuer, options.scope)
                print("The opt-out is kept; it counts at once." if new else "The opt-out was known.")
                return 0
            gone = opt_outs.remove(connection, home, patient_id, options.issuer, options.scope)
    if not gone:
        raise UsageError("there is no such opt-out")
    print("The opt-out is removed. A study that was held for it goes on with: dicom-node studies release KEY --home DIR")
    return 0


def patient_id_of(options: argparse.Namespace) -> str:
    """Return the Patient ID that was given, or the first line of standard input.

    Raises
    ------
    UsageError
        There is none.
    """
    given = options.patient_id
    if given == "-":
        given = sys.stdin.readline()
    if not given or not given.strip():
        raise UsageError("name the patient: --patient-id ID, or --patient-id - and the ID on standard input")
    return str(given).strip()


def _import(database: sa.Engine, home: Home, file: Path | None) -> int:
    if file is None:
        raise UsageError("name the file: dicom-node opt-out import FILE.csv --home DIR")
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            wishes = opt_outs.read_csv(lines)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror}); nothing was applied") from None
    except UsageError as error:
        raise UsageError(f"{file}, {error}; nothing of the file was applied") from None
    with database.begin() as connection:
        new = sum(opt_outs.add(connection, home, w.patient_id, w.issuer, w.scope, "csv") > 0 for w in wishes)
    print(f"{len(wishes)} lines read, {new} new opt-outs")
    return 0


def _list(database: sa.Engine, home: Home, options: argparse.Namespace) -> int:
    with reading(database) as connection:
        if options.patient_id:
            rows = opt_outs.of_patient(connection, [home.patient_token(patient_id_of(options), options.issuer)])
        else:
            rows = opt_outs.listed(connection)
    for row in rows:
        if options.json:
            print(json.dumps(dict(row._mapping)))
        else:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(row.at_utc))}  {row.patient}  {row.scope:<8}  {row.source}")
    return 0
