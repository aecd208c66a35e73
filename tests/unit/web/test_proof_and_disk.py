"""Pages and metrics say how deliveries are proven, and how full the disk is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dicom_node.results.repository import record_artifacts
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from dicom_node.studies.disk import GIB, DiskState, Level
from dicom_node.web.app import make_app
from tests.factories.deliverables import artifact, record_run, request


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    """One study whose report is sent for an hour and not proven."""
    engine = open_database(default_url(tmp_path))
    with engine.begin() as connection:
        record_run(connection, request())
        record_artifacts(connection, [artifact()])
        (artifact_id,) = connection.execute(sa.select(tables.artifact.c.artifact_id)).one()
        row = {"delivery_id": "dl_a", "artifact_id": artifact_id, "run_key": request().run_key, "study_key": request().study_key}
        now = time.time()
        connection.execute(
            sa.insert(tables.delivery).values(
                **row, destination="pacs", state="sent", planned_utc=now, done_utc=now - 3600, proof_detail="Asked to commit."
            )
        )
    yield engine
    engine.dispose()


def client(database: sa.Engine, level: Level = Level.OK) -> TestClient:
    disk = DiskState("store", GIB // 2, 100 * GIB, level)
    return TestClient(make_app(database, "Hospital", lambda: {"work": 1.0}, 10.0, lambda: (disk,)))


def prove(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(sa.update(tables.delivery).values(state="done", proof="commitment", proved_utc=time.time()))


def test_sent_is_shown_as_not_proven_until_it_is(database: sa.Engine) -> None:
    pages = client(database)
    story = f"/studies/{request().study_key}"
    assert "sent, not proven yet: Asked to commit." in pages.get(story).text
    assert "0 of 1" in pages.get("/").text
    assert "sent, not proven yet" in pages.get("/").text
    prove(database)
    assert "committed by the archive" in pages.get(story).text
    assert "1 of 1" in pages.get("/").text
    assert "committed by the archive" in pages.get("/").text


def test_metrics_count_proofs_and_the_oldest_that_waits(database: sa.Engine) -> None:
    def metric(name: str) -> float:
        lines = client(database).get("/metrics").text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name)))

    assert metric("dicom_node_oldest_unproven_delivery_seconds") >= 3600
    prove(database)
    assert metric("dicom_node_oldest_unproven_delivery_seconds") == 0
    assert metric('dicom_node_deliveries_proven{destination="pacs",proof="commitment"}') == 1
    assert metric('dicom_node_disk_free_bytes{disk="store"}') == GIB // 2
    assert metric('dicom_node_disk_level{disk="store"}') == 0


def test_a_full_disk_stands_on_the_first_page(database: sa.Engine) -> None:
    assert "0xA700" in client(database, Level.REFUSE).get("/").text
    assert "getting full" in client(database, Level.WARN).get("/").text
    assert "disk store" not in client(database).get("/").text
