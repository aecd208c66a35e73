"""Files of what was erased stay away, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.home import Home
from dicom_node.stages import erase
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database


def test_a_file_is_gone_from_the_disk_before_its_row_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the file comes back without a row, and a start would take it for one whose row was lost."""
    home, database = Home(tmp_path), open_database(default_url(tmp_path))
    file = home.store / "ab" / "st_ab" / "one.dcm"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    words = dict.fromkeys(("sop_instance_uid", "sop_class_uid", "series_instance_uid", "transfer_syntax_uid", "digest"), "")
    words |= {"study_key": "st_ab", "storage_key": "ab/st_ab/one.dcm", "state": "erased", "calling_ae": "", "called_ae": ""}
    with database.begin() as connection:
        times = dict.fromkeys(("first_received_utc", "last_received_utc", "ceiling_utc"), 1.0)
        connection.execute(sa.insert(tables.study).values(study_key="st_ab", study_instance_uid="erased:", state="erased", **times))
        connection.execute(sa.insert(tables.instance).values(**words, size=1, facts={}, received_utc=1.0))
    count = sa.select(sa.func.count()).select_from(tables.instance)
    seen = []

    def fsync(descriptor: int) -> None:
        with database.connect() as connection:
            seen.append((os.readlink(f"/proc/self/fd/{descriptor}"), file.exists(), connection.execute(count).scalar()))

    monkeypatch.setattr(os, "fsync", fsync)
    assert erase.finish(database, home) == 0
    assert seen == [(str(file.parent), False, 1)]
    with database.connect() as connection:
        assert connection.execute(count).scalar() == 0
    assert not file.parent.exists()
