"""No Success before the object survives a power cut: disk and database fail at every place in turn."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from dicom_node.studies import step
from dicom_node.studies.files import clean_store
from tests.factories.dicom_sender import association, send, send_bytes
from tests.factories.received_objects import CR, encoded, radiograph
from tests.unit.reception.conftest import Node

EXPLICIT = "1.2.840.10008.1.2.1"


def full(*_args: Any, **_kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "MARKER")


def break_write(patch: pytest.MonkeyPatch) -> None:
    """A disk that takes some bytes and then no more."""
    writev = os.writev

    def some(descriptor: int, slices: Any) -> int:
        writev(descriptor, [bytes(slices[0][:50])])
        full()
        return 0

    patch.setattr(os, "writev", some)


def break_fdatasync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "fdatasync", full)


def break_rename(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "rename", full)


def break_open(patch: pytest.MonkeyPatch) -> None:
    """No room for even one more file name."""
    opened = os.open

    def refused(path: Any, *args: Any, **kwargs: Any) -> int:
        return full() or 0 if str(path).endswith(".part") else opened(path, *args, **kwargs)

    patch.setattr(os, "open", refused)


def break_folder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "mkdir", full)


def break_folder_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "fsync", full)


def break_last_folder_sync(patch: pytest.MonkeyPatch) -> None:
    """The folder cannot be synced after the rename, when the object already has its name."""
    rename = os.rename

    def then_full(source: Any, target: Any) -> None:
        rename(source, target)
        patch.setattr(os, "fsync", full)

    patch.setattr(os, "rename", then_full)


@pytest.mark.parametrize(
    "fault",
    [break_open, break_write, break_fdatasync, break_rename, break_folder, break_folder_sync, break_last_folder_sync],
    ids=lambda f: f.__name__,
)
def test_a_full_disk_gives_a700_and_leaves_nothing_visible_and_the_next_object_is_welcome(
    node: Node, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    ds = radiograph()
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        with pytest.MonkeyPatch.context() as patch:
            fault(patch)
            answer = send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds))
        assert answer.Status == 0xA700
        assert "MARKER" not in answer.ErrorComment
        assert node.instances() == []
        assert node.files() == []
        assert send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds)).Status == 0x0000
    assert len(node.instances()) == len(node.files()) == 1
    assert [row.status for row in node.refused()] == [0xA700]


@pytest.mark.parametrize("table", ["study", "instance", "story"])
def test_a_database_that_fails_gives_a700_and_no_row_and_the_clean_up_takes_the_file(node: Node, table: str) -> None:
    with node.database.begin() as connection:
        connection.exec_driver_sql(f"CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'MARKER'); END")
    (answer,) = send(node.port, radiograph())
    with node.database.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER broken")
    assert answer.Status == 0xA700
    assert "MARKER" not in answer.ErrorComment
    assert node.instances() == []
    assert len(node.files()) == 1
    assert clean_store(node.database, node.home, older_than_utc=node.files()[0].stat().st_mtime + 1) == (0, 1)
    (again,) = send(node.port, radiograph())
    assert again.Status == 0x0000


def test_a_commit_that_fails_is_no_success(node: Node) -> None:
    def broken(_connection: Any) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("disk I/O error"))

    event.listen(node.database, "commit", broken)
    (answer,) = send(node.port, radiograph())
    event.remove(node.database, "commit", broken)
    assert answer.Status == 0xA700
    assert node.instances() == []


def test_a_defect_of_ours_is_answered_and_does_not_end_the_association(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError("MARKER")

    ds = radiograph()
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        with monkeypatch.context() as patch:
            patch.setattr(step.repository, "insert_instance", defect)
            answer = send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds))
        assert answer.Status == 0xC001
        assert "MARKER" not in answer.ErrorComment
        assert send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds)).Status == 0x0000


def test_bytes_and_folder_are_synced_before_the_row_and_the_row_before_success(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            order.append(name)
            return call(*args, **kwargs)

        return noted

    send(node.port, radiograph("first"))  # the folder is made and synced once
    for name in ("fdatasync", "rename", "fsync"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))

    def committed(_connection: Any) -> None:
        order.append("commit")

    event.listen(node.database, "commit", committed)
    ds = radiograph("second")
    with association(node.port, [(CR, EXPLICIT)]) as opened:
        assert send_bytes(opened, CR, ds.SOPInstanceUID, encoded(ds)).Status == 0x0000
        order.append("success")
    event.remove(node.database, "commit", committed)
    assert sorted(order[1:3]) == ["fdatasync", "fsync"]  # at the same time
    assert [order[0], *order[3:]] == ["rename", "commit", "success"]
