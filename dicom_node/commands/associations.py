"""``dicom-node associations``: the diary of reception, as a list, as JSON, or as a text to hand to a vendor."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from dicom_node.commands.database import opened
from dicom_node.core.errors import UsageError
from dicom_node.reception import repository
from dicom_node.store.connect import reading
from dicom_node.version import VERSION

_FIELDS = (
    *("association_id", "receiver", "started_utc", "ended_utc", "calling_ae", "called_ae", "address", "tls", "implementation"),
    *("outcome", "contexts", "objects", "bytes", "refused", "seconds_busy", "ended_by", "reason"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--limit", type=int, default=50, help="how many, newest first (default 50)")
    parser.add_argument("--calling", default="", metavar="AE", help="only those of this calling AE title")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write them in full, as text without patient data")


def run(options: argparse.Namespace) -> int:
    """List or export."""
    with opened(options.home) as (database, _, _), reading(database) as connection:
        rows = repository.recent(connection, options.limit, options.calling)
    if options.export:
        try:
            options.export.write_text(report(rows), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{options.export} cannot be written: {error.strerror}") from None
        print(f"{len(rows)} associations written to {options.export}")
        return 0
    for row in rows:
        print(json.dumps({name: getattr(row, name) for name in _FIELDS}, ensure_ascii=False) if options.json else line(row))
    return 0


def line(row: Any) -> str:
    """Return one association in one line."""
    who = f"{row.calling_ae or '?'}@{row.address} -> {row.called_ae or '?'}"
    if row.outcome == "rejected":
        return f"{_when(row.started_utc)}  {who}  rejected: {row.reason}"
    brought = f"{row.objects} objects, {_megabytes(row.bytes)}{_rate(row)}"
    refused = f", {row.refused} refused" if row.refused else ""
    return f"{_when(row.started_utc)}  {who}  {brought}{refused}  {_end(row)}"


def report(rows: list[Any]) -> str:
    """Return associations in full, for somebody who does not know this node. Times are UTC."""
    parts = [f"Associations received by dicom-node {VERSION}, newest first. Times are UTC. No patient data.\n"]
    for row in rows:
        parts.append(f"{_when(row.started_utc)}  association {row.association_id}, {row.outcome}")
        parts.append(f"  calling AE title  {row.calling_ae or '(none)'} at {row.address}")
        parts.append(f"  called AE title   {row.called_ae or '(none)'}")
        parts.append(f"  implementation    {row.implementation or '(not said)'}")
        parts.append(f"  encryption        {row.tls or 'none'}")
        if row.outcome == "rejected":
            parts.append(f"  rejected because  {row.reason}\n")
            continue
        for abstract, transfer, why in row.contexts:
            parts.append(f"  context           {_named(abstract)}  {'with ' + _named(transfer) if transfer else 'refused: ' + why}")
        parts.append(f"  objects           {row.objects} stored, {row.refused} refused, {row.bytes} bytes{_rate(row)}")
        parts.append(f"  end               {_when(row.ended_utc) if row.ended_utc else 'not known'}, {_end(row)}\n")
    return "\n".join(parts)


def _named(uid: str) -> str:
    """Return a UID of the standard with its name."""
    name = UID(uid).name
    return uid if name == uid else f"{uid} ({name})"


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))


def _end(row: Any) -> str:
    if row.ended_utc is None:
        return row.ended_by or "open"
    return f"{row.ended_by} after {row.ended_utc - row.started_utc:.1f} s"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _rate(row: Any) -> str:
    return f" at {row.bytes / 1e6 / row.seconds_busy:.1f} MB/s" if row.seconds_busy > 0 else ""
