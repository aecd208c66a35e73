"""``dicom-node verdicts``: what people said about results, row by row; ``--verify`` goes through the chain."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.commands.database import opened
from dicom_node.core.errors import UsageError
from dicom_node.feedback import chain, repository, standing, witness
from dicom_node.home import Home
from dicom_node.store.connect import reading
from dicom_node.studies.step import find_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--study", default="", metavar="UID-or-key", help="only this study")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--verify", action="store_true", help="check the whole log; exit status 1 if anything was changed")
    which.add_argument("--current", action="store_true", help="only what counts now, one line a finding")
    parser.add_argument(
        "--head", default="", metavar="NUMBER:HASH", help="with --verify: what it printed before must still be in the log"
    )
    parser.add_argument("--limit", type=int, default=50, help="how many, the newest first (default 50)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """List or verify."""
    if options.head and not options.verify:
        raise UsageError("--head is for --verify")
    with opened(options.home) as (database, _, home), reading(database) as connection:
        if options.verify:
            return _verify(connection, home, options.head, as_json=options.json)
        study_key = find_study(connection, options.study) if options.study else ""
        rows = repository.newest_rows(connection, study_key, None if options.current else options.limit)
        if options.current:
            return _list_current(connection, rows, options.limit, as_json=options.json)
    if not rows and not options.json:
        print("Nobody has answered yet.")
    for row in rows:
        print(json.dumps(dict(row._mapping)) if options.json else _line(row))
    return 0


def _verify(connection: sa.Connection, home: Home, noted: str, *, as_json: bool) -> int:
    verified = chain.verify(connection)
    problems = [*verified.problems, witness.problem_with_kept(connection, home)]
    if noted:
        number, _, row_hash = noted.partition(":")
        if not number.isdigit() or not row_hash:
            raise UsageError("--head wants NUMBER:HASH, as --verify prints it")
        problems.append(witness.problem_with(connection, witness.Head(int(number), row_hash)))
    problems = list(dict.fromkeys(problem for problem in problems if problem))
    head = repository.last_row(connection)
    last = f"{head.number}:{head.row_hash}" if head is not None else ""
    if as_json:
        print(json.dumps({"rows": verified.rows, "head": last, "problems": problems}))
        return 1 if problems else 0
    for problem in problems:
        print(problem)
    if problems:
        print(f"The log does not hold: {len(problems)} problem(s) in {verified.rows} rows.")
        return 1
    print(f"The log holds: {verified.rows} rows." + (f" Its head, to note down: {last}" if last else ""))
    return 0


def _list_current(connection: sa.Connection, rows: list[Any], limit: int, *, as_json: bool) -> int:
    run_keys = list(dict.fromkeys(row.run_key for row in rows))[:limit]  # the result answered last comes first
    for run_key in run_keys:
        state = standing.study_state(connection, run_key)
        study_key = next(row.study_key for row in rows if row.run_key == run_key)
        for finding, one in sorted(standing.current(connection, run_key).items()):
            if as_json:
                print(json.dumps({"run_key": run_key, "study_key": study_key, "state": state, **asdict(one)}))
                continue
            conflict = "  readers differ" if one.conflict else ""
            label = f" -> {one.label_after}" if one.label_after else ""
            what = finding or "(whole result)"
            print(f"{study_key}  {run_key}  {what:<16} {one.verdict:<10}{label} {one.strength:<6} {one.channel}{conflict}".rstrip())
    return 0


def _line(row: Any) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row.at_utc))
    what = row.finding or "(whole result)"
    who = " ".join(text for text in (row.reader_role, row.reader[:11]) if text) or "unknown"
    label = f"  {row.label_before or '?'} -> {row.label_after}" if row.label_after else f"  {row.label_before}"
    return (
        f"{row.number:>6}  {at}  {row.study_key}  {what:<16} {row.verdict:<10} {row.strength:<6} {row.channel:<18} {who}{label}"
    ).rstrip()
