"""PostgreSQL goes away hard, mid-run, and comes back: what was acknowledged is there, and all is answered."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import settings_for
from tests.faults.faulty_node import FaultyNode
from tests.faults.ledger import SUCCESS, Ledger, study
from tests.faults.peers import Pacs


def crash_and_recover(node: FaultyNode, ledger: Ledger, name: str, down_seconds: float, analysed: bool = False) -> None:
    """Studies before, during and after; the crash falls into the work of the first."""
    server = node.postgresql
    assert server is not None
    ledger.send(study(f"{name}-before", analysed=analysed))
    pause = node.arm("analysis begun", "sleep 1", when="after", role="work")
    node.wait_fired(pause)
    node.injected -= 1  # that was no fault, only a place to aim at
    server.stop("immediate")
    node.injected += 1
    end = time.monotonic() + down_seconds
    image = study(f"{name}-during")
    while time.monotonic() < end:
        assert ledger.try_once(image) != [SUCCESS], "acknowledged without a database"
        time.sleep(0.3)
    server.start()
    ledger.send(image)
    ledger.send(study(f"{name}-after"))


def test_a_crash_of_postgresql_loses_nothing_short(make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """Once, for two seconds."""
    node = make_node("postgresql", settings_for(pacs))
    ledger = Ledger(node)
    crash_and_recover(node, ledger, "crash", 2)
    tally = ledger.check(node.injected, pacs=pacs)
    assert tally.clean, tally


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_postgresql_crashes_again_and_again(make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """Short and long, and once while the node is killed and must start without a database."""
    node = make_node("postgresql", settings_for(pacs))
    ledger = Ledger(node)
    for number, down in enumerate((0, 1, 12)):
        crash_and_recover(node, ledger, f"crash-{number}", down, analysed=number == 1)
    ledger.settle(120)
    assert node.postgresql is not None
    node.postgresql.stop("immediate")
    node.kill()
    time.sleep(5)
    node.postgresql.start()
    node.injected += 2
    ledger.send(study("together"))
    tally = ledger.check(node.injected, pacs=pacs)
    assert tally.clean, tally
