"""Watermarks: with an invented disk, and with a real one that is really full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.reception.status import OUT_OF_RESOURCES
from dicom_node.stages.commitment import admission
from dicom_node.studies.disk import GIB, DiskState, DiskWatch, Level, level, marks, words
from dicom_node.studies.settings import DiskSettings

SETTINGS = DiskSettings(warn_free_percent=10, warn_free_gb=20, refuse_free_gb=1)
MIB = 1 << 20


class Disk:
    """A disk of 100 GiB whose free space and clock the test sets."""

    def __init__(self, folder: Path) -> None:
        self.free: int | None = 50 * GIB
        self.now = 0.0
        self.asked = 0
        self.watch = DiskWatch({"store": folder}, SETTINGS, statvfs=self._statvfs, clock=lambda: self.now)

    def _statvfs(self, folder: Path) -> Any:
        self.asked += 1
        if self.free is None:
            raise OSError(5, "Input/output error")
        return os.statvfs_result((4096, 4096, 100 * GIB // 4096, 0, self.free // 4096, 0, 0, 0, 0, 255))

    def at(self, free: float) -> Level:
        self.free = int(free * GIB)
        self.now += 1.0
        return self.watch.worst()


@pytest.mark.parametrize(
    ("total", "warn"),
    [(100 * GIB, 20 * GIB), (1000 * GIB, 100 * GIB), (30 * GIB, 3 * GIB), (5 * GIB, GIB)],
)
def test_the_larger_mark_counts_but_a_small_disk_does_not_warn_for_ever(total: int, warn: int) -> None:
    assert marks(total, SETTINGS) == (warn, GIB)


def test_it_warns_then_refuses_and_goes_back_only_with_room_to_spare(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert [disk.at(free) for free in (50, 21, 19.9)] == [Level.OK, Level.OK, Level.WARN]
    assert [disk.at(free) for free in (24, 25)] == [Level.WARN, Level.OK]
    assert [disk.at(free) for free in (1.01, 0.99, 1.2, 1.25)] == [Level.WARN, Level.REFUSE, Level.REFUSE, Level.WARN]


def test_changes_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = Disk(tmp_path)
    for free in (50, 19, 18, 0.5, 0.4, 30):
        disk.at(free)
    told = [line for line in capsys.readouterr().out.splitlines() if '"event": "disk.' in line]
    assert [line.split('"event": "')[1].split('"')[0] for line in told] == ["disk.low", "disk.full", "disk.ok"]


def test_reception_is_told_0xa700_and_asks_the_disk_once_a_second(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    admit = admission(disk.watch)
    disk.at(0.5)
    asked = disk.asked
    for _ in range(100):
        refused = admit()
    assert refused is not None
    assert (refused.code, len(refused.meaning) <= 64) == (OUT_OF_RESOURCES.code, True)
    assert disk.asked == asked
    disk.at(50)
    assert admit() is None


def test_a_disk_that_cannot_be_asked_takes_nothing(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.free = None
    assert disk.watch.refusal()
    assert disk.at(50) is Level.OK


def test_folders_on_one_disk_count_once(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert len(DiskWatch({"store": tmp_path, "results": tmp_path / "results"}, SETTINGS).look()) == 1


def test_words_say_what_is_meant() -> None:
    assert words(DiskState("store", GIB // 2, 100 * GIB, Level.REFUSE)) == (
        "0.5 GiB free (0%): full; objects are refused with 0xA700 until there is room"
    )
    assert level(0, 0, SETTINGS) is Level.REFUSE


def levels_of(folder: Path, settings: DiskSettings) -> Level:
    return DiskWatch({"store": folder}, settings, quiet=True).worst()


def test_the_real_disk_is_asked(tmp_path: Path) -> None:
    """Marks far above and far below what is free here."""
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize / GIB
    assert levels_of(tmp_path, DiskSettings(warn_free_percent=0, warn_free_gb=0, refuse_free_gb=free * 2)) is Level.REFUSE
    assert levels_of(tmp_path, DiskSettings(warn_free_percent=0, warn_free_gb=0, refuse_free_gb=free / 10)) is Level.OK


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of 24 MiB of its own; ``None`` where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        yield None
        return
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_refused_before_it_is_full(small_disk: Path | None) -> None:
    """Real files on a real file system, where it can be had; the marks themselves are shown above."""
    if small_disk is None:
        return
    settings = DiskSettings(warn_free_percent=50, warn_free_gb=0, refuse_free_gb=8 / 1024)
    assert levels_of(small_disk, settings) is Level.OK
    (small_disk / "a").write_bytes(b"\0" * (14 * MIB))
    assert levels_of(small_disk, settings) is Level.WARN
    (small_disk / "b").write_bytes(b"\0" * (3 * MIB))
    assert levels_of(small_disk, settings) is Level.REFUSE
    assert os.statvfs(small_disk).f_bavail > 0
