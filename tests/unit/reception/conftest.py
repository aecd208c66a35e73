"""A running SCP on loopback with a home and a database behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.reception.scp import Receiver, start
from dicom_node.reception.settings import PeerSettings, ReceptionSettings
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from dicom_node.studies.settings import StudiesSettings
from dicom_node.studies.step import record_arrival

RECORD = partial(record_arrival, settings=StudiesSettings())
EXTRA_SOP_CLASS = "1.2.826.0.1.3680043.8.498.77"


@dataclass
class Node:
    """What a test needs to look at."""

    home: Path
    database: sa.Engine
    receiver: Receiver

    @property
    def port(self) -> int:
        return self.receiver.port

    def rows(self, table: sa.Table) -> list[Any]:
        with self.database.connect() as connection:
            return list(connection.execute(sa.select(table)))

    def instances(self) -> list[Any]:
        return self.rows(tables.instance)

    def refused(self) -> list[Any]:
        return self.rows(tables.refused_object)

    def files(self) -> list[Path]:
        return sorted(path for path in (self.home / "store").rglob("*") if path.is_file())

    def path(self, row: Any) -> Path:
        return self.home / "store" / str(row.storage_key)


@pytest.fixture(params=["fast", "plain"])
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    """A receiver on each path: whatever a test says must hold on both."""
    with running(tmp_path, path=request.param) as made:
        yield made


@contextmanager
def running(home: Path, **changes: Any) -> Iterator[Node]:
    """Run a receiver; ``services``, ``admit_storage`` and ``side_doors`` go to ``start``, everything else into its settings."""
    passed_on = {name: changes.pop(name) for name in ("services", "admit_storage", "database", "side_doors") if name in changes}
    database = passed_on.pop("database", None) or open_database(default_url(home))
    settings = ReceptionSettings(
        host="127.0.0.1",
        ae_titles=("AINODE", "AISTAT"),
        **{
            "port": 0,
            "peers": (
                PeerSettings(ae_title="PACS", host="localhost"),
                PeerSettings(ae_title="ELSEWHERE", host="192.0.2.1"),
                PeerSettings(ae_title="NOWHERE", host="no-such-host.invalid"),
                PeerSettings(ae_title="ANYWHERE"),
            ),
            "extra_sop_classes": (EXTRA_SOP_CLASS,),
            "max_associations": 4,
            "network_timeout_seconds": 20,
            "dimse_timeout_seconds": 20,
            **changes,
        },
    )
    receiver = start(settings, home=home, database=database, record=RECORD, **passed_on)
    try:
        yield Node(home, database, receiver)
    finally:
        receiver.stop(grace_seconds=1)
        database.dispose()
