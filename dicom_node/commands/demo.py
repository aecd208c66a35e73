"""``dicom-node demo``: the main job end to end on loopback."""

from __future__ import annotations

import argparse
from pathlib import Path

from dicom_node.demo.walk import run_demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder to write (replaced); default demo-out")


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    return run_demo(options.out)
