"""``dicom-node retention``: what may be deleted by age and what is kept, and why; ``--delete`` does it now."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dicom_node.commands.database import opened
from dicom_node.core.errors import UsageError
from dicom_node.delivery.proof import wanted_proof
from dicom_node.store.connect import reading
from dicom_node.studies.retention import deletable, keeper, kept_because, run_retention

_DAY = 86400.0
_MIB = 1 << 20
_LISTED = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--days", type=float, help="as if retention.keep_days_after_delivery were this; only to list")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--dry-run", action="store_true", help="only list (the default)")
    which.add_argument("--delete", action="store_true", help="delete now what the settings let go; the node does it by itself")


def run(options: argparse.Namespace) -> int:
    """List or delete."""
    if options.delete and options.days is not None:
        raise UsageError("--days is for listing; what is deleted follows retention.keep_days_after_delivery in node.yaml")
    with opened(options.home) as (database, settings, home):
        proofs = {name: str(wanted_proof(one)) for name, one in settings.destinations.items()}
        if options.delete:
            done = run_retention(database, home.path, settings.retention, proofs)
            print(f"{done.studies} studies, {done.objects} objects, {done.bytes / _MIB:.1f} MiB, {done.results} results deleted")
            return 0
        days = options.days if options.days is not None else settings.retention.keep_days_after_delivery
        if days is None:
            print("Nothing is deleted: retention.keep_days_after_delivery is not set. --days N shows what would be.")
            return 0
        before, kept = time.time() - days * _DAY, keeper(settings.retention, time.time())
        with reading(database) as connection:
            found = deletable(connection, proofs, before, kept, _LISTED)
            reasons = kept_because(connection, proofs, before, kept)
    for item in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item.last_utc))
        print(f"{at}  {item.study_key}  {item.objects} objects  {item.bytes / _MIB:.1f} MiB")
    print(f"{len(found)} studies could be deleted, {sum(item.bytes for item in found) / _MIB:.1f} MiB")
    for why, count in sorted(reasons.items()):
        print(f"kept: {count} studies, {why}")
    return 0
