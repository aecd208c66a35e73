"""``dicom-node serve``: run the node until SIGTERM."""

from __future__ import annotations

import argparse
from pathlib import Path

from dicom_node import node
from dicom_node.config.load import load_settings
from dicom_node.core.errors import UsageError
from dicom_node.home import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--role", default=",".join(node.ROLES), help="roles to run, e.g. receive,work,web (default: all)")
    parser.add_argument(
        "--state",
        type=Path,
        help="folder for locks and heartbeats, on a disk of this machine (default: HOME/state); machines that share a home need it",
    )
    parser.add_argument("--only", choices=node.ROLES, help=argparse.SUPPRESS)  # how the supervisor starts a child


def run(options: argparse.Namespace) -> int:
    """Supervise the roles, or be one."""
    home = Home(options.home.resolve(), options.state.resolve() if options.state else None)
    if options.only:  # the supervisor has checked every name already
        node.run_role(home, load_settings(home.config, thorough=False), options.only)
        return 0
    settings = load_settings(home.config)
    roles = tuple(role.strip() for role in options.role.split(",") if role.strip())
    unknown = sorted(set(roles) - set(node.ROLES))
    if unknown or not roles:
        raise UsageError(f"--role takes {', '.join(node.ROLES)}; not {', '.join(unknown) or 'nothing'}")
    return node.serve(home, settings, roles)
