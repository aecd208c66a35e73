"""The wall clock steps an hour back or forth while studies arrive, wait and are tried again: nothing lost, nothing waits for that hour."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.conftest import settings_for
from tests.faults.faulty_node import FaultyNode
from tests.faults.ledger import Ledger, study
from tests.faults.peers import Pacs
from tests.faults.test_peers import used_up

HOUR = 3600


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("steps", [(-HOUR, 0), (HOUR, 0), (-HOUR, -2 * HOUR)], ids=["back and forth", "forth and back", "back twice"])
def test_an_hour_back_or_forth_stalls_nothing(steps: tuple[int, ...], make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """A step falls between arrival and start, between failed attempt and the next, and while nothing happens."""
    node = make_node("sqlite", settings_for(pacs), clock=True)
    ledger = Ledger(node)
    for number, offset in enumerate(steps):
        ledger.send(study(f"quiet-{number}"))
        node.clock_step(offset)  # its deadline was set by the clock as it was
        ledger.send(study(f"after-{number}"))
        assert ledger.settle(40) == []
        pacs.troubles.append("a700")
        ledger.send(study(f"retry-{number}"))
        used_up(pacs)
        node.clock_step(offset + (HOUR if offset < 0 else -HOUR) // 2)  # its next attempt too
        assert ledger.settle(40) == []
    tally = ledger.check(node.injected + pacs.injected, pacs=pacs)
    assert tally.clean, tally
