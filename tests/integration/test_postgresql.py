"""The same journey on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.demo.peers import LOOPBACK, OrthancPacs, free_ports, listens, wait_for
from tests.integration.running_node import RunningNode, configuration
from tests.integration.test_kill import kill_and_count


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


def test_every_acknowledged_study_is_answered_once_on_postgresql(
    postgresql: str, pacs: OrthancPacs, make_node: Callable[[dict[str, Any]], RunningNode]
) -> None:
    """On PostgreSQL too, each acknowledged study has its results exactly once after kill -9."""
    node = make_node({**configuration(pacs_port=pacs.dicom_port), "database_url": postgresql})
    assert kill_and_count(node, pacs, count=3, kills=1, seed=3) == Counter()
