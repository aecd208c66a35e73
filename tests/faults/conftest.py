"""Nodes and peers for the fault scenarios, and the one line at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.factories.postgresql import running_postgresql
from tests.faults import ledger
from tests.faults.faulty_node import FaultyNode
from tests.faults.peers import Pacs
from tests.integration.running_node import configuration

DATABASES = ("sqlite", "postgresql")


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """A PACS that is up."""
    peer = Pacs()
    peer.open()
    yield peer
    peer.close()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., FaultyNode]]:
    """Return a maker of nodes on ``database``, a PostgreSQL server each; all are stopped at the end, the node first."""
    with contextlib.ExitStack() as running:

        def make(database: str, settings: dict[str, Any], *, clock: bool = False) -> FaultyNode:
            server = running.enter_context(running_postgresql()) if database == "postgresql" else None
            if server is not None:
                settings = {**settings, "database_url": server.url}
            node = FaultyNode(tmp_path / "home", settings, clock=clock)
            node.postgresql = server
            running.callback(node.close)
            node.start()
            return node

        yield make


def settings_for(pacs: Pacs, **destinations: dict[str, Any]) -> dict[str, Any]:
    """Return a node.yaml as data: everything goes to the PACS, refusals too, and to ``destinations``."""
    settings = configuration(pacs_port=pacs.port, destinations=["pacs", *destinations])
    settings["studies"] = {"quiet_seconds": 0.3}
    common = {"allow_unvalidated": True, "refusals": "all", "timeout_seconds": 2}
    settings["destinations"]["pacs"] |= common
    settings["destinations"] |= {name: {**common, **values} for name, values in destinations.items()}
    return settings


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the sum of all scenarios of this session."""
    if not ledger.TALLIES:
        return
    total = ledger.Tally()
    for tally in ledger.TALLIES:
        total.injected += tally.injected
        total.studies += tally.studies
        total.lost += tally.lost
        total.duplicated += tally.duplicated
        total.stuck += tally.stuck
    terminalreporter.write_line(str(total))
