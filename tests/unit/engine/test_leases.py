"""Leases: who is alive, who holds the timers, and when nobody may be judged."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.core.errors import StoreError
from dicom_node.engine.leases import TIMERS, Leases, clock_skew_seconds, living_roles, worker_name
from dicom_node.store.connect import default_url, open_database
from dicom_node.store.tables import lease

DEAD = 60.0


@pytest.fixture
def database(tmp_path: Path) -> sa.Engine:
    """A database with our tables."""
    return open_database(default_url(tmp_path))


def make(database: sa.Engine, name: str) -> Leases:
    """Return a process that has entered."""
    leases = Leases(database, name, "work", DEAD)
    leases.enter()
    return leases


def silent_for(database: sa.Engine, name: str, seconds: float) -> None:
    """Move a lease's last beat into the past, as if its process had been silent."""
    with database.begin() as connection:
        connection.execute(sa.update(lease).where(lease.c.name == name).values(beat_utc=lease.c.beat_utc - seconds))


def test_a_silent_process_is_dead_and_a_beating_one_lives(database: sa.Engine) -> None:
    """After the term of silence a name is not among the living; a beat brings it back."""
    one, other = make(database, "one"), make(database, "other")
    assert one.living() == {"one", "other"}
    silent_for(database, "other", DEAD + 1)
    assert one.living() == {"one"}
    other.beat()
    assert one.living() == {"one", "other"}
    assert living_roles(database, DEAD) == {"work"}


def test_one_process_holds_the_timers_until_it_dies(database: sa.Engine) -> None:
    """The first takes them; the second gets them when the first has been silent for the term or has left."""
    one, other = make(database, "one"), make(database, "other")
    assert (one.take_timers(), other.take_timers()) == (True, False)
    assert (one.has_timers(), other.has_timers()) == (True, False)
    silent_for(database, TIMERS, DEAD + 1)
    assert (other.take_timers(), one.take_timers()) == (True, False)
    assert (other.has_timers(), one.has_timers()) == (True, False)
    other.leave()
    assert one.take_timers()


def test_timers_are_given_up_before_others_may_take_them(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without renewal a holder counts itself out after half the term, by its own clock."""
    one = make(database, "one")
    one.take_timers()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + DEAD / 2 + 1)
    assert not one.has_timers()


def test_after_a_late_beat_nobody_is_judged_for_a_term(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat on time may judge; one that comes late may not, nor those of the term after it."""
    one = make(database, "one")
    now = time.monotonic()
    clock = {"now": now}
    monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
    judged = []
    for seconds in (10, 50, 60, 70, 100, 112):  # the second comes 40 s after the first
        clock["now"] = now + seconds
        judged.append(one.beat())
    assert judged == [True, False, False, False, False, True]


def test_two_processes_of_one_name_are_found_out(database: sa.Engine) -> None:
    """A successor takes the name; its predecessor, should it live, is told at its next beat and must stop."""
    first = make(database, "copy")
    second = make(database, "copy")
    with pytest.raises(StoreError, match="copy of another"):
        first.beat()
    second.beat()


def test_a_name_is_the_same_after_a_restart_and_another_in_another_folder(tmp_path: Path) -> None:
    """The state folder decides; containers may all have one host name."""
    assert worker_name(tmp_path / "a", "work-1") == worker_name(tmp_path / "a", "work-1")
    assert worker_name(tmp_path / "a", "work-1") != worker_name(tmp_path / "b", "work-1")
    assert worker_name(tmp_path / "a", "work-1") != worker_name(tmp_path / "a", "work-2")


def test_the_skew_to_the_database_is_measured(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded database has this host's clock; a host that is an hour ahead is seen to be."""
    assert abs(clock_skew_seconds(database)) < 0.5
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert clock_skew_seconds(database) == pytest.approx(3600, abs=1)


def test_who_died_before_the_clock_was_set_back_is_dead_after_a_term(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last beat of the dead then lies in the future: their work and the timers must not wait until the clock is there again."""
    one, dead, living = make(database, "one"), make(database, "dead"), make(database, "living")
    assert dead.take_timers()
    for name in ("dead", "living", TIMERS):
        silent_for(database, name, -3600)
    assert one.living() == {"one", "dead", "living"}
    assert not one.take_timers()
    assert living_roles(database, DEAD) == {"work"}
    living.beat()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + DEAD + 1)
    assert one.living() == {"one", "living"}
    assert one.take_timers()
    assert not dead.take_timers()
