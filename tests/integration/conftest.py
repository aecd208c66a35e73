"""Peers for the integration tests: real Orthanc and DCMTK on loopback. A missing one fails here, it is never skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.demo.peers import OrthancPacs, free_ports
from tests.factories.postgresql import running_postgresql
from tests.integration.running_node import RunningNode, configuration


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[OrthancPacs]:
    """An empty Orthanc; ``pacs.dicom_port`` takes images under AE title DEMOPACS."""
    assert shutil.which("Orthanc"), "Orthanc is not installed: run `make setup` (apt package orthanc)"
    dicom_port, http_port = free_ports(2)
    server = OrthancPacs(tmp_path, dicom_port, http_port, "AINODE", 1)
    yield server
    server.stop()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], RunningNode]]:
    """Return a maker of running nodes; all are stopped at the end."""
    nodes: list[RunningNode] = []

    def make(settings: dict[str, Any]) -> RunningNode:
        node = RunningNode(tmp_path / f"home{len(nodes)}", settings)
        nodes.append(node)
        node.start()
        return node

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def node(pacs: OrthancPacs, make_node: Callable[[dict[str, Any]], RunningNode]) -> RunningNode:
    """A node that answers into ``pacs``."""
    return make_node(configuration(pacs_port=pacs.dicom_port))


@pytest.fixture
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of our own on loopback; gives its URL."""
    with running_postgresql() as server:
        yield server.url
