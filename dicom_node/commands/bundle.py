"""``dicom-node bundle``: which models are here, and whether each file is the one that was approved."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import models.bundle
from dicom_node.inference.bundles import SHIPPED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the bundles that a node would find")
    listing.add_argument("--home", type=Path, help="also look in HOME/bundles")
    listing.add_argument("--json", action="store_true", help="print one JSON object a line")
    verify = actions.add_parser("verify", help="compare every file of a bundle with its checksum")
    verify.add_argument("bundle", type=Path, nargs="*", help="bundle folder(s); default: all shipped ones")


def run(options: argparse.Namespace) -> int:
    """List or verify; 1 when a bundle is damaged."""
    if options.action == "list":
        roots = ((options.home / "bundles",) if options.home else ()) + SHIPPED
        folders = models.bundle.list_bundles(roots)
    else:
        folders = options.bundle or models.bundle.list_bundles(SHIPPED)
    failed = False
    for folder in folders:
        try:
            bundle = models.bundle.load_bundle(Path(folder))
        except models.bundle.BundleError as error:
            failed = True
            print(f"{folder}: {error}")
            continue
        facts = {
            "name": bundle.name,
            "version": bundle.version,
            "evidence": bundle.evidence,
            "sha256": bundle.sha256,
            "folder": str(folder),
        }
        if options.action == "list" and options.json:
            print(json.dumps(facts))
        else:
            print(f"{bundle.name}@{bundle.version}  evidence: {bundle.evidence}  sha256: {bundle.sha256[:16]}  {folder}: intact")
    return 1 if failed else 0
