"""``dicom-node demo``: the main job end to end on loopback."""

from __future__ import annotations

import argparse
from pathlib import Path

from dicom_node.demo.chest_ct import run_ct_demo
from dicom_node.demo.walk import run_demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, help="folder to write (replaced); default demo-out, of a CT demo-ct-out")
    parser.add_argument("--ct", action="store_true", help="a chest CT instead of radiographs")


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    return run_ct_demo(options.out or Path("demo-ct-out")) if options.ct else run_demo(options.out or Path("demo-out"))
