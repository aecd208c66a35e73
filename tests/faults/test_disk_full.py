"""Disk full at every write, in files and in the database: nothing is acknowledged that is not kept, and it goes on by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.conftest import DATABASES, settings_for
from tests.faults.faulty_node import FaultyNode
from tests.faults.ledger import SUCCESS, Ledger, study
from tests.faults.peers import Pacs

OUT_OF_RESOURCES = 0xA700

#: What reception does for one object; each must be answered "out of resources".
RECEIVING = (
    ("folder made", "disk full"),
    ("file opened", "disk full"),
    ("file written", "disk full"),
    ("file synced", "input/output error"),
    ("file renamed", "disk full"),
    ("folder synced", "input/output error"),
    ("row inserted", "database full"),
    ("row committed", "database full"),
)
#: What the work behind it does: step, what happens, how often.
WORKING = (
    ("study started", "disk full", 1),
    ("run inserted", "database full", 1),
    ("statement executed", "database full", 1),
    ("transaction committed", "database full", 2),
    ("findings saved", "disk full", 1),
    ("result opened", "disk full", 1),
    ("result written", "disk full", 1),
    ("result synced", "input/output error", 1),
    ("result renamed", "disk full", 1),
    ("artifacts recorded", "database full", 1),
    ("deliveries planned", "database full", 1),
    ("attempt made", "database full", 1),
    ("attempt settled", "database full", 1),
)


def receive_on_a_full_disk(node: FaultyNode, ledger: Ledger) -> None:
    """Each fault answers one object with A700, and the same object sent again is taken."""
    for number, (point, do) in enumerate(RECEIVING):
        image = study(f"disk-{number}")
        fault = node.arm(point, do, role="receive")
        assert ledger.try_once(image) == [OUT_OF_RESOURCES], point
        node.wait_fired(fault)
        assert ledger.try_once(image) == [SUCCESS], point


def work_on_a_full_disk(node: FaultyNode, ledger: Ledger, faults: tuple[tuple[str, str, int], ...]) -> None:
    """A study for each fault, which is put off and goes on."""
    for number, (point, do, times) in enumerate(faults):
        fault = node.arm(point, do, times=times, role="work")
        ledger.send(study(f"full-{number}"))
        node.wait_fired(fault)


def test_a_full_disk_refuses_and_delays_but_loses_nothing_short(make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """The short form on SQLite: every write of reception, and heartbeats that cannot be written."""
    node = make_node("sqlite", settings_for(pacs))
    ledger = Ledger(node)
    beats = node.arm("heartbeat written", "disk full", times=6)
    receive_on_a_full_disk(node, ledger)
    node.wait_fired(beats)
    tally = ledger.check(node.injected, pacs=pacs)
    assert tally.clean, tally
    assert "role.died" not in node.log()


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", DATABASES)
def test_a_full_disk_refuses_and_delays_but_loses_nothing(database: str, make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """Every write of reception and of the work behind it."""
    node = make_node(database, settings_for(pacs))
    ledger = Ledger(node)
    receive_on_a_full_disk(node, ledger)
    work_on_a_full_disk(node, ledger, WORKING)
    in_child = node.arm("findings saved", "disk full", role="pipeline")
    ledger.send(study("child", analysed=True))
    node.wait_fired(in_child)
    tally = ledger.check(node.injected, pacs=pacs)
    assert tally.clean, tally
    assert ledger.refusals == {OUT_OF_RESOURCES: len(RECEIVING)}
