"""The only place that knows everyone: builds the rooms from the settings and runs the roles, a file each.

``serve`` is a supervisor with one child per role. ``receive`` takes objects in, ``work`` takes work from the queues, ``web`` shows
pages. On SQLite there is one ``work`` process; on PostgreSQL any number of any role, on any number of machines that share the home
folder (docs/how-to/several-machines.md).
"""

from __future__ import annotations

from importlib import import_module

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.engine import process as processes
from dicom_node.engine.process import BEAT_SECONDS, ROLES
from dicom_node.home import Home
from dicom_node.store.connect import default_url, open_database

__all__ = ["BEAT_SECONDS", "ROLES", "database_url", "last_beats", "prepare", "run_role"]


def database_url(home: Home, settings: NodeSettings) -> str:
    """Return where this node's rows are."""
    return settings.database_url or default_url(home.path)


def prepare(home: Home, settings: NodeSettings) -> sa.Engine:
    """Make folders and tables, and return the database."""
    for folder in (home.path, home.store, home.results, home.state, home.bundles):
        folder.mkdir(parents=True, exist_ok=True)
    return open_database(database_url(home, settings))


def last_beats(home: Home) -> dict[str, float]:
    """Return the age of the heartbeat, in seconds, of each role that runs on this machine."""
    return processes.last_beats(home, ROLES)


def run_role(home: Home, settings: NodeSettings, role: str) -> None:
    """Run one of ``ROLES`` in this process until it is told to stop. Only its own file is imported, so that it starts fast."""
    processes.die_with_parent()
    log.quiet_libraries()
    import_module(f"{__name__}.{role}").run(home, settings)
