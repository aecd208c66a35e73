"""kill -9 at every named step: of everything at once, as a power cut would, or of one process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.conftest import DATABASES, settings_for
from tests.faults.faulty_node import FaultyNode
from tests.faults.ledger import Ledger, study
from tests.faults.peers import Pacs

#: Step, before or after it, in which role, all at once ("kill") or that process alone ("die"), whether the study must be analysed.
Kill = tuple[str, str, str, str, bool]

RECEIVING: tuple[Kill, ...] = (
    ("folder made", "after", "receive", "kill", False),
    ("file opened", "after", "receive", "die", False),
    ("file written", "after", "receive", "kill", False),
    ("file synced", "after", "receive", "kill", False),
    ("file renamed", "after", "receive", "die", False),
    ("folder synced", "after", "receive", "kill", False),
    ("row written", "after", "receive", "kill", False),
    ("row committed", "before", "receive", "die", False),
    ("row committed", "after", "receive", "kill", False),
    ("row shared", "after", "receive", "kill", False),
    ("answer sent", "before", "receive", "die", False),
    ("answer sent", "after", "receive", "kill", False),
)
WORKING: tuple[Kill, ...] = (
    ("due found", "after", "work", "kill", False),
    ("study settled", "after", "work", "die", False),
    ("study routed", "after", "work", "kill", False),
    ("run inserted", "after", "work", "kill", False),
    ("study started", "after", "work", "kill", False),
    ("analysis begun", "after", "work", "kill", False),
    ("pipeline run", "before", "pipeline", "die", True),
    ("pipeline run", "after", "pipeline", "die", True),
    ("findings saved", "before", "work", "kill", False),
    ("findings saved", "after", "pipeline", "die", True),
    ("findings saved", "after", "work", "kill", False),
    ("outputs built", "after", "work", "kill", False),
    ("result written", "after", "work", "kill", False),
    ("result synced", "after", "work", "die", False),
    ("result renamed", "after", "work", "kill", False),
    ("artifacts written", "after", "work", "kill", False),
    ("artifacts recorded", "after", "work", "kill", False),
    ("run finished", "after", "work", "kill", False),
    ("deliveries planned", "after", "work", "kill", False),
    ("attempt made", "before", "work", "kill", False),
    ("attempt made", "after", "work", "kill", False),  # sent, and not yet written down
    ("attempt settled", "after", "work", "die", False),
)
#: One step of each room, for every day.
SHORT = (
    *(kill for kill in RECEIVING + WORKING if kill[0] in ("folder synced", "analysis begun")),
    ("row committed", "after", "receive", "kill", False),
    ("attempt made", "after", "work", "kill", False),
)


def kill_at(node: FaultyNode, pacs: Pacs, kills: tuple[Kill, ...]) -> Ledger:
    """Send a study for each kill, and the next one as soon as the node has died of it."""
    ledger = Ledger(node)
    for number, (point, when, role, do, analysed) in enumerate(kills):
        node.wait_up()
        fault = node.arm(point, do, when=when, role=role)
        ledger.send(study(number, analysed=analysed))
        node.wait_fired(fault)
    return ledger


def test_every_kill_leaves_everything_whole_short(make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """The short form on SQLite."""
    node = make_node("sqlite", settings_for(pacs))
    tally = kill_at(node, pacs, SHORT).check(node.injected, pacs=pacs)
    assert tally.clean, tally


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [RECEIVING, WORKING], ids=["receiving", "working"])
@pytest.mark.parametrize("database", DATABASES)
def test_every_kill_leaves_everything_whole(
    database: str, kills: tuple[Kill, ...], make_node: Callable[..., FaultyNode], pacs: Pacs
) -> None:
    """Each step of reception, then of the work behind it."""
    node = make_node(database, settings_for(pacs))
    tally = kill_at(node, pacs, kills).check(node.injected, pacs=pacs)
    assert tally.clean, tally
