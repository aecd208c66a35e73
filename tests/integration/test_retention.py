"""Disk and retention as IT meets them: C-STORE on a full disk, and the commands that list, hold and delete."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from pydicom.dataset import Dataset
from pynetdicom import AE

from dicom_node import cli
from dicom_node import node as processes
from dicom_node.config.load import load_settings
from dicom_node.core.identifiers import study_key
from dicom_node.demo.peers import LOOPBACK
from dicom_node.home import Home
from dicom_node.reception import scp
from dicom_node.stages.arrivals import recorder
from dicom_node.stages.commitment import admission
from dicom_node.store import tables
from dicom_node.studies.disk import GIB, DiskWatch
from dicom_node.studies.settings import DiskSettings
from tests.factories.received_objects import radiograph
from tests.integration.running_node import SENDER, configuration

DAY = 86400.0


class Disk:
    """A disk whose free space the test sets."""

    free = 50 * GIB

    def statvfs(self, folder: Path) -> Any:
        return os.statvfs_result((4096, 4096, 100 * GIB // 4096, 0, self.free // 4096, 0, 0, 0, 0, 255))


class Node:
    """A home with its port open and no workers."""

    def __init__(self, path: Path, **retention: Any) -> None:
        self.home = Home(path)
        path.mkdir()
        values = configuration(pacs_port=9) | {"retention": retention}
        values["reception"]["port"] = 0
        self.home.config.write_text(yaml.safe_dump(values))
        settings = load_settings(self.home.config)
        self.database = processes.prepare(self.home, settings)
        self.disk = Disk()
        self.seconds = 0.0
        watch = DiskWatch(
            {"store": self.home.store},
            DiskSettings(refuse_free_gb=1),
            statvfs=self.disk.statvfs,
            clock=lambda: self.seconds,
        )
        self.receiver = scp.start(
            settings.reception,
            home=self.home.path,
            database=self.database,
            record=recorder(settings, self.home),
            admit_storage=admission(watch),
        )

    def store(self, *images: Dataset) -> list[tuple[int, str]]:
        """Send over one association; returns status and Error Comment of each."""
        entity = AE(SENDER)
        entity.add_requested_context(images[0].SOPClassUID, images[0].file_meta.TransferSyntaxUID)
        association = entity.associate(LOOPBACK, self.receiver.port, ae_title="AINODE")
        assert association.is_established
        try:
            answers = [association.send_c_store(image) for image in images]
            return [(int(answer.Status), str(answer.get("ErrorComment", ""))) for answer in answers]
        finally:
            association.release()

    def files(self) -> int:
        return len(list(self.home.store.rglob("*.dcm")))

    def age(self, days: float) -> None:
        """Let every study be analysed by nobody, delivered nowhere, and that old."""
        with self.database.begin() as connection:
            last = time.time() - days * DAY
            values = {"state": "held", "hold_reason": "no_rule", "deadline_utc": None, "last_received_utc": last}
            connection.execute(sa.update(tables.study).values(**values))


def run(*arguments: str) -> int:
    return cli.main(list(arguments))


def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    """0xA700 on the same association, in words; what was acknowledged stays, and with room again the sender's retry succeeds."""
    node = Node(tmp_path / "home")
    try:
        assert node.store(radiograph("a")) == [(0x0000, "")]
        node.disk.free, node.seconds = GIB // 2, 5.0
        refused = node.store(radiograph("b"), radiograph("c"))
        assert [status for status, _ in refused] == [0xA700, 0xA700]
        assert "full" in refused[0][1]
        assert node.files() == 1
        node.disk.free, node.seconds = 50 * GIB, 10.0
        assert [status for status, _ in node.store(radiograph("b"), radiograph("c"))] == [0x0000, 0x0000]
        assert node.files() == 3
        with node.database.begin() as connection:
            statuses = list(connection.execute(sa.select(tables.refused_object.c.status)).scalars())
        assert statuses == [0xA700, 0xA700], "each refusal is told"
    finally:
        node.receiver.stop(1)
        node.database.dispose()


def test_commands_list_hold_and_delete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = Node(tmp_path / "home", keep_days_after_delivery=30)
    home = str(node.home.path)
    try:
        for study in ("one", "two"):
            node.store(radiograph("a", study), radiograph("b", study))
    finally:
        node.receiver.stop(1)
    node.age(31)
    held = study_key(radiograph("a", "two").StudyInstanceUID)
    assert run("studies", "hold", held, "--legal", "--home", home) == 0
    capsys.readouterr()
    assert run("retention", "--dry-run", "--home", home) == 0
    listed = capsys.readouterr().out
    assert "1 studies could be deleted" in listed
    assert "kept: 1 studies, under legal hold" in listed
    assert node.files() == 4
    assert run("retention", "--home", home, "--days", "60") == 0
    assert "0 studies could be deleted" in capsys.readouterr().out
    assert run("retention", "--delete", "--home", home) == 0
    assert node.files() == 2
    assert run("studies", "hold", held, "--release", "--home", home) == 0
    assert run("retention", "--delete", "--home", home) == 0
    assert node.files() == 0
    assert run("studies", "hold", held, "--home", home) == 2, "what to do must be said"
    node.database.dispose()


def test_a_home_that_keeps_for_ever_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = Node(tmp_path / "home")
    node.store(radiograph())
    node.receiver.stop(1)
    node.age(3650)
    capsys.readouterr()
    run("retention", "--home", str(node.home.path))
    assert "Nothing is deleted" in capsys.readouterr().out
    run("retention", "--delete", "--home", str(node.home.path))
    assert node.files() == 1
    node.database.dispose()
