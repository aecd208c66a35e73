"""Roles that take no work have a lease only so that others see them: whatever becomes of it, they go on."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicom_node.core.errors import StoreError
from dicom_node.home import Home
from dicom_node.node import machines


def test_a_lease_that_another_process_took_is_told_and_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The thread that beats must not die of one failed beat: other machines would take this one for dead for ever."""
    again = threading.Event()
    beats: list[int] = []

    class Lease:
        def beat(self) -> bool:
            beats.append(1)
            if len(beats) == 1:
                raise StoreError("another process works under the name")
            again.set()
            return True

        def leave(self) -> None:
            beats.append(0)

    monkeypatch.setattr(machines, "enter", lambda *_: Lease())
    database: Any = SimpleNamespace(dialect=SimpleNamespace(name="postgresql"))
    settings: Any = SimpleNamespace(work=SimpleNamespace(lease_beat_seconds=0.05))
    with machines.seen_by_others(database, Home(tmp_path), settings, "receive"):
        assert again.wait(5)
    assert beats[-1] == 0
    assert "StoreError" in capsys.readouterr().out
