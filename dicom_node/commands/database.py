"""Opening the rows of a home, for the commands that read or mend them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from dicom_node.config.load import load_settings
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import UsageError
from dicom_node.home import Home
from dicom_node.node import database_url
from dicom_node.store.connect import open_database


@contextlib.contextmanager
def opened(home: Path) -> Iterator[tuple[sa.Engine, NodeSettings, Home]]:
    """Open the database of a home that has been served before.

    Raises
    ------
    UsageError
        The node never ran with this home.
    """
    place = Home(home.resolve())
    settings = load_settings(place.config)
    if not settings.database_url and not (place.path / "node.sqlite").exists():
        raise UsageError(f"{home} holds no database yet: start the node first (dicom-node serve --home {home})")
    database = open_database(database_url(place, settings))
    try:
        yield database, settings, place
    finally:
        database.dispose()
