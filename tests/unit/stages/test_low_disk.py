"""Retention runs at once when a disk gets low, and not again while it stays so."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.stages import proof
from dicom_node.studies.disk import Level


class Watch:
    """A disk that stands where the test says."""

    level = Level.OK

    def worst(self) -> Level:
        return self.level


def test_crossing_a_mark_runs_retention_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[Level] = []
    monkeypatch.setattr(proof, "retain", lambda rooms, watch: passes.append(watch.level))
    watch: Any = Watch()
    rooms: Any = None
    low = proof.LowDisk(rooms, watch)
    for level in (Level.OK, Level.WARN, Level.WARN, Level.REFUSE, Level.WARN, Level.OK, Level.WARN):
        watch.level = level
        low.look()
    assert passes == [Level.WARN, Level.REFUSE, Level.WARN]
