"""The wall clock steps by an hour while studies arrive, wait and are tried again: nothing is lost or waits for that hour."""

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
@pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["back", "forth"])
def test_an_hour_back_or_forth_stalls_nothing(step: int, make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """A step falls between arrival and start, and between a failed attempt and the next; then the other way."""
    node = make_node("sqlite", settings_for(pacs), clock=True)
    ledger = Ledger(node)
    for number, offset in enumerate((step, 0)):
        pacs.troubles.append("a700")
        ledger.send(study(f"retry-{number}"))
        used_up(pacs)  # the next attempt has its time now
        ledger.send(study(f"quiet-{number}"))  # and this one its deadline
        node.clock_step(offset)
        ledger.send(study(f"after-{number}"))
        assert ledger.settle(60) == []
    tally = ledger.check(node.injected + pacs.injected, pacs=pacs)
    assert tally.clean, tally
