"""A PostgreSQL server of our own on loopback, that can be stopped as hard as a test wants."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.demo.peers import LOOPBACK, free_ports, listens, wait_for


class PostgreSql:
    """One server. initdb refuses root, so it runs as the package's user then."""

    def __init__(self, folder: Path, binaries: Path, port: int) -> None:
        self.url = f"postgresql+psycopg://node@{LOOPBACK}:{port}/postgres"
        self._folder = folder
        self._data = folder / "data"
        self._binaries = binaries
        self._port = port
        self._prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self._run("initdb", "-D", self._data, "-U", "node", "-A", "trust", "-E", "UTF8")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-c listen_addresses={LOOPBACK} -c port={self._port} -c unix_socket_directories={self._folder}"
        self._run("pg_ctl", "-D", self._data, "-o", options, "-l", self._folder / "log", "-w", "start")
        wait_for("PostgreSQL", lambda: listens(self._port))

    def stop(self, mode: str = "fast") -> None:
        """Stop it; ``immediate`` is a crash: nothing is flushed, and the next start recovers."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def _run(self, program: str, *words: str | Path) -> None:
        subprocess.run([*self._prefix, self._binaries / program, *words], check=True, capture_output=True, cwd="/")


@contextmanager
def running_postgresql() -> Iterator[PostgreSql]:
    """Make a server in a folder of its own, run it, remove it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "PostgreSQL is not installed: run `make setup` (apt package postgresql)"
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-postgresql-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    (port,) = free_ports(1)
    server = PostgreSql(folder, found[-1].parent, port)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)
