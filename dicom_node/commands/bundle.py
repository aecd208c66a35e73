"""``dicom-node bundle``: which models are here, whether each file is the one that was approved, what a model is worth on images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import models.bundle
from dicom_node.core.errors import BundleError, UsageError
from dicom_node.inference.bundles import SHIPPED
from dicom_node.log import quiet_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the bundles that a node would find")
    listing.add_argument("--home", type=Path, help="also look in HOME/bundles")
    listing.add_argument("--json", action="store_true", help="print one JSON object a line")
    verify = actions.add_parser("verify", help="compare every file of a bundle with its checksum")
    verify.add_argument("bundle", type=Path, nargs="*", help="bundle folder(s); default: all shipped ones")
    judge = actions.add_parser("evaluate", help="read labelled images as the node does, and say what the bundle is worth on them")
    judge.add_argument("bundle", type=Path, help="folder of a classifier bundle")
    judge.add_argument("--index", type=Path, required=True, help="CSV, one row an image; needed columns: file, label")
    judge.add_argument("--split", default="test", help="test (default), all, train, selection or calibration")
    judge.add_argument("--out", type=Path, required=True, help="folder for metrics.json, report.md, plots and pictures")
    judge.add_argument("--data", type=Path, help="folder that the files are relative to; default: the index's folder")


def run(options: argparse.Namespace) -> int:
    """List or verify: 1 when a bundle is damaged. Evaluate: 0 also where images are refused or cannot be read."""
    if options.action == "evaluate":
        return evaluate(options)
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


def evaluate(options: argparse.Namespace) -> int:
    """Evaluate a bundle; print the report, then one line with its figures."""
    from models.training.evaluate_bundle import command, report  # loads the networks' blocks, which listing does not need

    quiet_libraries()

    def told(count: int, total: int) -> None:
        if count % 50 == 0 or count == total:
            print(f"image {count} of {total}", file=sys.stderr, flush=True)

    try:
        result = command.evaluate(
            options.bundle,
            options.index,
            options.out,
            lambda name: models.bundle.find_bundle(name, None, SHIPPED),
            split=options.split,
            data=options.data,
            told=told,
        )
    except command.IndexUnusable as error:
        raise UsageError(str(error)) from error
    except models.bundle.BundleError as error:
        raise BundleError(str(error)) from error
    print((options.out / "report.md").read_text(encoding="utf-8"))
    print(report.summary(result))
    return 0
