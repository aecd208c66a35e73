"""The short form of ``make fuzz``: a fixed seed, so that it says the same today and tomorrow; and proof that it can fail."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dicom_node.reception import intake
from tests.fuzz import headers, sockets, streams
from tests.fuzz.corpus import instance_uid, specimens, undamaged
from tests.fuzz.data_sets import damaged
from tests.fuzz.target import Target

pytestmark = pytest.mark.filterwarnings("ignore")


def test_damaged_data_sets_are_read_or_refused(tmp_path: Path) -> None:
    """Taken, refused in words, or unreadable; never anything else, never for long."""
    found = headers.run("short", 0, 1500, tmp_path, tmp_path / "failures", seconds=4)
    assert found.defects == []
    assert found.outcomes["taken"] > found.cases / 10, found  # the damage leaves some whole
    assert len(found.outcomes) > 8, found


@pytest.mark.parametrize(("path", "connections"), [("fast", 60), ("plain", 20), ("doors", 30)])
def test_damaged_streams_leave_a_receiver_as_it_was(path: str, connections: int, tmp_path: Path) -> None:
    """It lives, holds nothing, has kept what it acknowledged, and takes the next good object."""
    found = sockets.run("short", 0, connections, tmp_path / path, tmp_path / "failures", path, seconds=4)
    assert found.defects == []
    assert found.acknowledged > 0, found


def test_every_specimen_is_good_before_it_is_damaged(tmp_path: Path) -> None:
    """Else the damage would be nothing against what is wrong already."""
    for specimen in specimens():
        if specimen.transfer_syntax_uid != "1.2.840.10008.1.2.1.99":  # packed with the damage
            assert headers.outcome(specimen.numbered(7), 7, tmp_path) == "taken"


def test_the_same_seed_makes_the_same_cases() -> None:
    """A case can be told by its number."""
    for number in range(40):
        assert damaged(random.Random(f"x{number}"), number) == damaged(random.Random(f"x{number}"), number)
        assert streams.case("s", number) == streams.case("s", number)
    assert streams.case("s", 1) != streams.case("t", 1)


def test_a_defect_is_found_written_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that reception does not expect is reported with the command that brings it back."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("injected")

    monkeypatch.setattr(intake, "read_facts", broken)
    found = headers.run("short", 0, 40, tmp_path, tmp_path / "failures")
    assert found.defects
    assert "ZeroDivisionError" in found.defects[0]
    assert "--seed short --only" in found.defects[0]
    assert list((tmp_path / "failures").glob("headers-short-*.bin"))


def test_an_acknowledged_object_that_is_gone_is_noticed(tmp_path: Path) -> None:
    """The comparison of answers with files can fail."""
    target = Target(tmp_path / "target", "fast")
    specimen = undamaged(4)
    stream = [streams.opening(specimen), *streams.stored(specimen, instance_uid(4)), streams.RELEASE]
    taken = streams.acknowledged(sockets.exchange(target.port, stream))
    target.stop()
    assert taken == [instance_uid(4)]
    assert sockets.kept(target, taken) == []
    assert sockets.strays(target) == []
    (path,) = (target.home / "store").rglob("*.dcm")
    path.rename(target.home / "stray")
    assert sockets.kept(target, [*taken, "1.2.3"]) == [
        "acknowledged and not kept: '1.2.3'",
        "a row without its file, or with other bytes in it",
    ]
    assert len(sockets.strays(target)) == 1
