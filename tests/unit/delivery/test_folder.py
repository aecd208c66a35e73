"""The folder destination."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import PeerError
from dicom_node.delivery.destinations import folder
from tests.factories.deliverables import artifact


def settings(path: Path) -> folder.Settings:
    return folder.Settings(kind="folder", path=path)


def test_a_file_is_complete_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before the rename leaves no file under the final name, and the next attempt mends it."""

    def crash(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(PeerError, match="No space left") as caught:
            folder.send(artifact(), settings(tmp_path))
    assert caught.value.temporary
    assert [p for p in tmp_path.rglob("*.dcm") if not p.name.startswith(".")] == []
    for _ in range(2):
        assert folder.send(artifact(), settings(tmp_path)).outcome is Outcome.DELIVERED
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["text_report.dcm"]


def test_file_names_hold_no_identifier(tmp_path: Path) -> None:
    """Names are made of our own run key and role."""
    folder.send(artifact("structured_report:ohif_text"), settings(tmp_path))
    (path,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert str(path.relative_to(tmp_path)) == f"{artifact().run_key}/structured_report-ohif_text.dcm"


def test_a_share_that_is_not_mounted_is_waited_for(tmp_path: Path) -> None:
    """A missing folder is temporary and is never made by the node."""
    with pytest.raises(PeerError) as caught:
        folder.send(artifact(), settings(tmp_path / "share"))
    assert caught.value.temporary
    assert list(tmp_path.iterdir()) == []
    assert folder.check(settings(tmp_path / "share"), ()) != []
    assert folder.check(settings(tmp_path), ()) == []
