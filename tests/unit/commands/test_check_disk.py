"""What ``check`` says about disk and retention."""

from __future__ import annotations

from pathlib import Path

from dicom_node.commands.check import check_disk
from dicom_node.commands.checks.line import Mark
from dicom_node.config.model import NodeSettings
from dicom_node.home import Home

ALWAYS_FULL = 1e9


def lines(home: Path, **settings: object) -> list[tuple[Mark, str]]:
    values = {"site": {"timezone": "UTC"}, **settings}
    return [(line.mark, f"{line.subject}: {line.text}") for line in check_disk(Home(home), NodeSettings.model_validate(values))]


def test_a_disk_below_its_mark_fails_or_is_noted(tmp_path: Path) -> None:
    nothing = {"warn_free_percent": 0, "warn_free_gb": 0, "refuse_free_gb": 0}
    keeps = {"retention": {"keep_days_after_delivery": 30}}
    assert [mark for mark, _ in lines(tmp_path, disk=nothing, **keeps)] == [Mark.OK]
    full = lines(tmp_path, disk={**nothing, "refuse_free_gb": ALWAYS_FULL}, **keeps)
    assert (full[0][0], "0xA700" in full[0][1]) == (Mark.FAIL, True)
    low = lines(tmp_path, disk={**nothing, "warn_free_percent": 99.9999}, **keeps)
    assert (low[0][0], "getting full" in low[0][1]) == (Mark.NOTE, True)


def test_images_that_are_never_deleted_and_unclaimed_ones_are_noted(tmp_path: Path) -> None:
    (tmp_path / "unclaimed" / "aa").mkdir(parents=True)
    (tmp_path / "unclaimed" / "aa" / "x.dcm").write_bytes(b"x")
    said = [text for mark, text in lines(tmp_path) if mark is Mark.NOTE]
    assert any("never deleted" in text for text in said)
    assert any(text.startswith("disk: 1 objects without a record") for text in said)
