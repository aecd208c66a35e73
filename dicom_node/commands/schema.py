"""``dicom-node schema``: the JSON Schema of node.yaml, for editors."""

from __future__ import annotations

import argparse
import json

from dicom_node.config.schema import json_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments: none."""


def run(options: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
