"""Peers for the integration tests: real Orthanc and DCMTK on loopback. A missing one fails here, it is never skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.demo.peers import LOOPBACK, OrthancPacs, free_ports, listens, wait_for
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
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own on loopback; gives its URL. initdb refuses root, so it runs as the package's user then."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "PostgreSQL is not installed: run `make setup` (apt package postgresql)"
    binaries = found[-1].parent
    folder = Path("/tmp") / f"dicom-node-postgresql-{os.getpid()}"
    folder.mkdir(mode=0o700)
    prefix: list[str] = []
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        prefix = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    subprocess.run(
        [*prefix, binaries / "initdb", "-D", data, "-U", "node", "-A", "trust", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    (port,) = free_ports(1)
    options = f"-c listen_addresses={LOOPBACK} -c port={port} -c unix_socket_directories={folder}"
    log = folder / "log"
    subprocess.run(
        [*prefix, binaries / "pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    wait_for("PostgreSQL", lambda: listens(port))
    yield f"postgresql+psycopg://node@{LOOPBACK}:{port}/postgres"
    subprocess.run([*prefix, binaries / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop"], check=True, capture_output=True, cwd="/")
    shutil.rmtree(folder)
