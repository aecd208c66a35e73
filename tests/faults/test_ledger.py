"""The ledger can find fault: what is lost, doubled or stuck is noticed. Without this, a clean tally would say nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.core.digest import digest_of
from dicom_node.reception.intake import Command, Intake
from dicom_node.store import tables
from dicom_node.studies import step as studies
from dicom_node.studies.settings import StudiesSettings
from tests.factories.deliverables import artifact, record_run, request
from tests.factories.received_objects import encoded
from tests.faults import ledger as ledgers
from tests.faults.conftest import settings_for
from tests.faults.faulty_node import FaultyNode
from tests.faults.ledger import Ledger, Tally, study
from tests.faults.peers import Pacs


@pytest.fixture
def received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """One acknowledged study in a node that does not run."""
    monkeypatch.setattr(ledgers, "TALLIES", [])
    node = FaultyNode(tmp_path / "home", settings_for(Pacs()))
    image = study("ledger")
    data = encoded(image)
    record = partial(studies.record_arrival, settings=StudiesSettings())
    command = Command(image.SOPClassUID, image.SOPInstanceUID, image.SOPClassUID, "1.2.840.10008.1.2.1", "SENDER", "AINODE")
    Intake(node.home.path, node.database, record).receive(command, data)
    made = Ledger(node)
    made.acknowledged[image.SOPInstanceUID] = (image.StudyInstanceUID, digest_of(data))
    return made


def tally(ledger: Ledger, pacs: Pacs | None = None) -> Tally:
    """Check at once."""
    return ledger.check(0, pacs=pacs or Pacs(), seconds=0)


def test_a_study_that_nobody_works_on_is_stuck(received: Ledger) -> None:
    """It is whole, and it does not move."""
    found = tally(received)
    assert (found.lost, found.duplicated, len(found.stuck)) == ([], [], 1)
    assert "still receiving" in found.stuck[0]


def test_a_file_that_is_gone_or_another_is_lost(received: Ledger) -> None:
    """Also where its row is there."""
    (path,) = received.node.home.store.rglob("*.dcm")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x7f")
    assert tally(received).lost == ["the file of an acknowledged object is other"]
    path.unlink()
    assert tally(received).lost == ["the file of an acknowledged object is gone", "1 rows without a file"]


def test_an_object_without_a_row_is_lost(received: Ledger) -> None:
    """An answer of success that nothing stands behind."""
    received.acknowledged["1.2.3"] = (received.studies[0], "0" * 64)
    assert tally(received).lost == ["an acknowledged object has no row"]


def test_two_contents_under_one_name_and_a_result_nobody_planned_are_duplicates(received: Ledger) -> None:
    """The peer's receipts are compared with the rows; what is called delivered must be there."""
    pacs = Pacs()
    item = artifact()
    with received.node.database.begin() as connection:
        record_run(connection, request())
        row = {"artifact_id": "ar_1", "run_key": item.run_key, "role": item.role, "media_type": item.media_type}
        row |= {"identifier": item.identifier, "storage_key": "x", "sha256": "y"}
        connection.execute(sa.insert(tables.artifact).values(row))
        sent = {"delivery_id": "dl_1", "artifact_id": "ar_1", "run_key": item.run_key, "study_key": "st_x", "planned_utc": 0.0}
        connection.execute(sa.insert(tables.delivery).values(sent | {"destination": "pacs", "state": "done"}))
    assert any("text_report at pacs" in lost for lost in tally(received, pacs).lost)
    pacs.keep(item.identifier, b"one")
    assert tally(received, pacs).lost == []
    pacs.keep(item.identifier, b"one")
    assert tally(received, pacs).duplicated == []
    pacs.keep(item.identifier, b"two")
    pacs.keep("1.2.3", b"three")
    assert len(tally(received, pacs).duplicated) == 2
