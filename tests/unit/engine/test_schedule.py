"""Timers beat where they may; an alarm meets the moment that its call named."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest

from dicom_node.engine import schedule
from dicom_node.engine.schedule import Alarm, Timers


def test_a_timer_without_the_lease_does_nothing_and_a_failing_one_comes_again() -> None:
    """Calls are made where allowed only; an exception ends no timer."""
    allowed, calls = [False], [0]

    def call() -> None:
        calls[0] += 1
        raise KeyError("Doe^John")

    timers = Timers(lambda: allowed[0])
    timers.every(0.02, "shared", call)
    timers.start()
    time.sleep(0.3)
    assert calls[0] == 0
    allowed[0] = True
    end = time.monotonic() + 10
    while calls[0] < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    timers.stop()


def test_an_alarm_meets_a_deadline_that_lies_within_its_beat() -> None:
    """A call that asks for 50 ms comes after 50 ms, not at the next beat of 10 s."""
    calls: list[float] = []
    enough = threading.Event()

    def call() -> float | None:
        calls.append(time.monotonic())
        if len(calls) == 3:
            enough.set()
        return 0.05

    alarm = Alarm("due", call, 10.0, lambda: True)
    alarm.start()
    assert enough.wait(5)
    alarm.stop()
    assert 0.09 < calls[2] - calls[0] < 2


def test_an_alarm_that_fails_or_knows_no_deadline_beats_on() -> None:
    """An exception and ``None`` both mean: again after the longest time."""
    calls: list[int] = []

    def call() -> float | None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("x")
        return None

    alarm = Alarm("due", call, 0.02, lambda: True)
    alarm.start()
    time.sleep(0.5)
    alarm.stop()
    assert len(calls) >= 3


def test_a_clock_that_was_set_back_stops_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call is at most one interval away, although the library had put it an hour ahead."""

    class Clock:
        step = 0.0
        monotonic = staticmethod(time.monotonic)

        @classmethod
        def time(cls) -> float:
            return time.time() + cls.step

    monkeypatch.setattr(schedule, "time", Clock)
    monkeypatch.setattr(schedule, "_WATCH_SECONDS", 0.02)
    called = threading.Event()
    timers = Timers()
    timers.every(0.2, "beat", called.set)
    timers.start()
    assert called.wait(5)
    (job,) = timers._scheduler.get_jobs()
    job.modify(next_run_time=job.next_run_time + dt.timedelta(hours=1))  # what a step of the clock comes to
    called.clear()
    assert not called.wait(0.5)
    Clock.step = -3600.0
    assert called.wait(5)
    timers.stop()


def test_calls_that_wait_for_a_silent_peer_hold_up_no_other() -> None:
    """A node with a dozen archives that do not answer still sends, judges answers and deletes."""
    timers, release, called = Timers(), threading.Event(), threading.Event()
    for number in range(12):
        timers.every(0.05, f"archive {number}", lambda: release.wait(10))
    timers.every(0.3, "another", called.set)
    timers.start()
    try:
        assert called.wait(3)
    finally:
        release.set()
        timers.stop()
