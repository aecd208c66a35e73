"""``dicom-node serve``: run the node until SIGTERM."""

from __future__ import annotations

import argparse
from pathlib import Path

from dicom_node.core.errors import ConfigError, UsageError
from dicom_node.engine import supervisor
from dicom_node.engine.process import ROLES
from dicom_node.home import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
    parser.add_argument("--role", default=",".join(ROLES), help="roles to run, e.g. receive,work,web (default: all)")
    parser.add_argument(
        "--state",
        type=Path,
        help="folder for locks and heartbeats, on a disk of this machine (default: HOME/state); machines that share a home need it",
    )
    parser.add_argument("--only", choices=ROLES, help=argparse.SUPPRESS)  # how the supervisor starts a child


def run(options: argparse.Namespace) -> int:
    """Supervise the roles, or be one. What a role needs is imported late: reception must listen soon after a start."""
    home = Home(options.home.resolve(), options.state.resolve() if options.state else None)
    if options.only:
        return _be(home, options.only)
    roles = tuple(role.strip() for role in options.role.split(",") if role.strip())
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise UsageError(f"--role takes {', '.join(ROLES)}; not {', '.join(unknown) or 'nothing'}")
    return supervisor.serve(home, roles, lambda: _prepare(home))


def _be(home: Home, role: str) -> int:
    """Be one role. A file with mistakes ends it in silence: the supervisor, which looks closer, tells them."""
    from dicom_node import node
    from dicom_node.config.load import load_settings

    try:
        settings = load_settings(home.config, thorough=False)
    except ConfigError as error:
        if supervisor.is_supervised():
            return 2
        raise error
    node.run_role(home, settings, role)
    return 0


def _prepare(home: Home) -> None:
    """Check the settings to the last name, and make folders and tables."""
    from dicom_node import node
    from dicom_node.config.load import load_settings

    node.prepare(home, load_settings(home.config)).dispose()
