"""Real senders and a real PostgreSQL behind the fast path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.demo.peers import LOOPBACK, PACS_AE, OrthancPacs, free_ports, send
from dicom_node.reception.scp import start
from dicom_node.reception.settings import PeerSettings, ReceptionSettings
from dicom_node.store import tables
from dicom_node.store.connect import open_database
from dicom_node.studies.settings import StudiesSettings
from dicom_node.studies.step import record_arrival
from tests.benchmark.cheap_sender import Sendable, Sender, radiographs
from tests.factories.received_objects import dataset_bytes, radiograph, recompressed
from tests.integration.running_node import RunningNode
from tests.unit.reception.conftest import running


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_orthanc_forwards_a_study_and_it_is_stored_as_sent(tmp_path: Path, path: str) -> None:
    """Uncompressed and compressed objects of one study, over Orthanc's own associations."""
    (port, dicom_port, http_port) = free_ports(3)
    pacs = OrthancPacs(tmp_path, dicom_port, http_port, "AINODE", port)
    try:
        large = radiograph("large", Rows=2000, Columns=2000, PixelData=bytes(range(250)) * 32000)
        objects = [radiograph("a"), recompressed(radiograph("b"), "1.2.840.10008.1.2.4.70"), large]
        for one in objects:
            send([one], dicom_port, PACS_AE, "SENDER")
        home = tmp_path / "home"
        home.mkdir()
        with running(home, path=path, port=port, peers=(PeerSettings(ae_title=PACS_AE),)) as node:
            pacs.forward(str(large.StudyInstanceUID))
            stored = {row.sop_instance_uid: row for row in node.instances()}
            assert set(stored) == {str(one.SOPInstanceUID) for one in objects}
            held = {str(one.SOPInstanceUID): one for one in pacs.fetch(str(large.StudyInstanceUID))}
            for uid, row in stored.items():
                assert row.transfer_syntax_uid in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70")
                assert held[uid].PixelData in dataset_bytes(node.path(row))
    finally:
        pacs.stop()


def sent_at_once(port: int, objects: Sequence[Sendable], senders: int, calling: str = "PACS") -> list[int]:
    """Send each object over an association of its own, several at a time; return the answers."""
    answers: list[int] = []

    def work(mine: Sequence[Sendable]) -> None:
        for one in mine:
            opened = Sender(port, "AINODE", calling, one.sop_class_uid)
            answers.append(opened.store(one))
            opened.release()

    threads = [threading.Thread(target=work, args=(objects[n::senders],)) for n in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_two_receivers_on_postgresql_share_commits_and_lose_nothing(postgresql: str, tmp_path: Path) -> None:
    """Objects of the same studies come in at both at once; one object that cannot be stored hurts no other."""
    database = open_database(postgresql)
    settings = ReceptionSettings(host=LOOPBACK, port=0, peers=(PeerSettings(ae_title="PACS"),))
    poisoned: list[str] = []

    def record(connection: sa.Connection, instance: Any, **facts: Any) -> bool:
        if instance.sop_instance_uid in poisoned:
            connection.execute(sa.text("SELECT 1/0"))
        return record_arrival(connection, instance, settings=StudiesSettings(), **facts)

    homes = [tmp_path / "one", tmp_path / "two"]
    receivers = [start(settings, home=home, database=database, record=partial(record)) for home in homes]
    try:
        objects = [one for seed in (1, 2, 3) for one in radiographs(30, seed=seed, rows=64, columns=64)]
        poisoned.append(objects[7].sop_instance_uid)
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda port=receiver.port, mine=objects[n::2]: answers.extend(sent_at_once(port, mine, 6)))
            for n, receiver in enumerate(receivers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [0] * 89 + [0xA700]
        with database.connect() as connection:
            stored = list(connection.execute(sa.select(tables.instance.c.sop_instance_uid)).scalars())
            studies = connection.execute(sa.select(sa.func.count()).select_from(tables.study)).scalar()
        assert sorted(stored) == sorted({one.sop_instance_uid for one in objects} - set(poisoned))
        assert studies == 3
    finally:
        for receiver in receivers:
            receiver.stop(grace_seconds=1)
        database.dispose()


def test_a_burst_of_studies_is_answered_and_none_is_lost(make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """200 studies of one image, one association each, eight at a time (``make bench`` sends a thousand)."""
    port, web = free_ports(2)
    node = make_node(
        {
            "site": {"timezone": "UTC"},
            "reception": {"host": LOOPBACK, "port": port, "peers": [{"ae_title": "PACS"}]},
            "web": {"host": LOOPBACK, "port": web},
        }
    )
    objects = radiographs(200, seed=9, rows=64, columns=64, studies=True)
    assert sent_at_once(port, objects, 8) == [0] * 200
    with node.database.connect() as connection:
        stored = set(connection.execute(sa.select(tables.instance.c.sop_instance_uid)).scalars())
    assert stored == {one.sop_instance_uid for one in objects}
