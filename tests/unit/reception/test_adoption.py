"""What a power cut takes of the database is made again from the files, and nothing else is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.study import Instance
from dicom_node.reception import adoption
from dicom_node.reception.adoption import WINDOW_SECONDS, adopt_unrecorded
from dicom_node.reception.group_commit import UNSYNCED_SECONDS, GroupCommit
from dicom_node.reception.intake import Command, Intake
from dicom_node.store import tables
from dicom_node.store.connect import default_url, make_engine, open_database
from dicom_node.studies.files import clean_store
from tests.factories.dicom_sender import send
from tests.factories.query_plans import plans
from tests.factories.received_objects import encoded, radiograph
from tests.unit.reception.conftest import RECORD, Node


def cut(node: Node, rows: int) -> None:
    """Take the newest rows, as a power cut takes what was committed and not synced."""
    with node.database.begin() as connection:
        newest = sa.select(tables.instance.c.instance_id).order_by(tables.instance.c.instance_id.desc()).limit(rows)
        connection.execute(sa.delete(tables.instance).where(tables.instance.c.instance_id.in_(newest)))


def columns(node: Node) -> list[tuple[object, ...]]:
    c = tables.instance.c
    with node.database.connect() as connection:
        query = sa.select(c.sop_instance_uid, c.digest, c.size, c.storage_key, c.calling_ae, c.called_ae, c.state, c.facts)
        return sorted(tuple(str(value) for value in row) for row in connection.execute(query))


def test_rows_that_a_power_cut_took_are_written_again_from_their_files(node: Node) -> None:
    for number in range(4):
        (answer,) = send(node.port, radiograph(SOPInstanceUID=f"1.2.3.{number + 1}"))
        assert answer.Status == 0
    before, files = columns(node), node.files()
    cut(node, 3)
    assert adopt_unrecorded(node.database, node.home, RECORD) == 3
    assert columns(node) == before
    assert node.files() == files
    assert adopt_unrecorded(node.database, node.home, RECORD) == 0


def test_a_study_of_which_nothing_is_left_is_there_again(node: Node) -> None:
    send(node.port, radiograph(SOPInstanceUID="1.2.3.1"))
    send(node.port, radiograph(SOPInstanceUID="1.2.4.1", StudyInstanceUID="1.2.4"))
    cut(node, 1)
    with node.database.begin() as connection:
        connection.execute(sa.delete(tables.study).where(tables.study.c.study_instance_uid == "1.2.4"))
    assert adopt_unrecorded(node.database, node.home, RECORD) == 1
    assert {row.study_instance_uid: row.deadline_utc is not None for row in node.rows(tables.study)}["1.2.4"]


def test_a_file_that_was_cut_off_is_not_an_object(node: Node) -> None:
    send(node.port, radiograph(SOPInstanceUID="1.2.3.1"))
    send(node.port, radiograph(SOPInstanceUID="1.2.3.2"))
    (cut_off,) = [node.path(row) for row in node.instances() if row.sop_instance_uid == "1.2.3.2"]
    cut(node, 1)
    os.truncate(cut_off, cut_off.stat().st_size - 10)
    assert adopt_unrecorded(node.database, node.home, RECORD) == 0
    assert clean_store(node.database, node.home, older_than_utc=cut_off.stat().st_mtime + 1) == (0, 1)


@pytest.mark.parametrize("seconds", [-WINDOW_SECONDS - 5, WINDOW_SECONDS + 5])
def test_a_file_of_another_time_is_left_to_the_clean_up(node: Node, seconds: float) -> None:
    send(node.port, radiograph(SOPInstanceUID="1.2.3.1"))
    send(node.port, radiograph(SOPInstanceUID="1.2.3.2"))
    (path,) = [node.path(row) for row in node.instances() if row.sop_instance_uid == "1.2.3.2"]
    cut(node, 1)
    at = path.stat().st_mtime + seconds
    os.utime(path, (at, at))
    assert adopt_unrecorded(node.database, node.home, RECORD) == 0


def test_a_file_whose_row_another_process_has_written_meanwhile_stays(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an archive sends is taken in the worker: its file is there a moment before its row."""
    send(node.port, radiograph(SOPInstanceUID="1.2.3.1"))
    (path,) = node.files()
    monkeypatch.setattr(adoption, "_unrecorded", lambda *_: iter([path]))
    assert adopt_unrecorded(node.database, node.home, RECORD) == 0
    assert node.files() == [path]


def test_a_file_that_was_adopted_before_its_own_row_came_stays(node: Node) -> None:
    """The other way round: the row is there, so the bytes look like a repetition, but the row is of this very file."""
    send(node.port, radiograph(SOPInstanceUID="1.2.3.1"))
    dataset = radiograph(SOPInstanceUID="1.2.3.2")

    def adopted_first(connection: sa.Connection, item: Instance, *, size: int, received_utc: float) -> bool:
        assert RECORD(connection, item, size=size, received_utc=received_utc)
        return RECORD(connection, item, size=size, received_utc=received_utc)

    intake = Intake(node.home, node.database, adopted_first)
    uids = str(dataset.SOPClassUID), "1.2.3.2", str(dataset.SOPClassUID)
    assert intake.receive(Command(*uids, ExplicitVRLittleEndian, "CT", "AINODE"), encoded(dataset))
    intake.close()
    assert node.files() == sorted(node.path(row) for row in node.instances())
    assert len(node.files()) == 2


def test_one_odd_file_does_not_keep_the_port_closed(node: Node) -> None:
    for number in range(3):
        send(node.port, radiograph(SOPInstanceUID=f"1.2.3.{number + 1}"))
    cut(node, 2)

    def record(connection: sa.Connection, item: Instance, *, size: int, received_utc: float) -> bool:
        if item.sop_instance_uid == "1.2.3.2":
            raise KeyError("what nobody thought of")
        return RECORD(connection, item, size=size, received_utc=received_utc)

    assert adopt_unrecorded(node.database, node.home, record) == 1


def test_a_start_reads_no_table_of_objects_from_end_to_end(node: Node) -> None:
    """By the key of a file there is no index: of a million objects that took minutes a folder, with the port closed."""
    send(node.port, radiograph(SOPInstanceUID="1.2.3.1"))
    with plans(node.database) as seen:
        adopt_unrecorded(node.database, node.home, RECORD)
        clean_store(node.database, node.home, older_than_utc=2e10)
    assert any("instance_study_state" in line for line in seen)
    assert [line for line in seen if line.startswith("SCAN") and line != "SCAN instance"] == []
    assert seen.count("SCAN instance") == 1, "the newest row, from the end"


def test_an_empty_database_adopts_nothing(node: Node) -> None:
    send(node.port, radiograph(SOPInstanceUID="1.2.3.1"))
    cut(node, 1)
    assert adopt_unrecorded(node.database, node.home, RECORD) == 0


def test_no_more_than_the_rows_of_half_a_second_are_ever_unsynced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first commit is synced, and the first after each half second. The mode of each is looked at."""
    database = open_database(default_url(tmp_path))
    rows, clock, modes = GroupCommit(database), [100.0], []
    monkeypatch.setattr("dicom_node.reception.group_commit.time.monotonic", lambda: clock[0])

    def work(connection: sa.Connection) -> None:
        modes.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())

    for step in (0.0, 0.1, 0.1, UNSYNCED_SECONDS, 0.1, 10.0):
        clock[0] += step
        rows.write(work)
    assert modes == [2, 1, 1, 2, 1, 2]
    clock[0] += 0.1
    rows.write(work, synced=True)
    assert modes[-1] == 2
    rows.close()
    with database.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_killed_process_loses_no_row_that_was_not_synced(tmp_path: Path) -> None:
    """Write-ahead log without sync: another process sees the row at once, also when the writer never closes anything."""
    database = open_database(default_url(tmp_path))
    rows = GroupCommit(database)
    refused = {"at_utc": 1.0, "calling_ae": "A", "called_ae": "B", "status": 1, "text": "x"}
    for _ in range(3):
        rows.write(lambda connection: connection.execute(sa.insert(tables.refused_object).values(refused)) and None)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("node.sqlite*"):
        shutil.copy(file, copy)
    with make_engine(default_url(copy)).connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.refused_object)).scalar() == 3
