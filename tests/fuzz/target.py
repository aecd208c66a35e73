"""The real role ``receive`` in a process of its own, so that a crash is seen: storage SCP, HL7 port, STOW-RS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
import yaml

from dicom_node.demo.peers import LOOPBACK, free_ports, listens, wait_for
from dicom_node.store import tables
from dicom_node.store.connect import default_url, make_engine
from tests.integration.running_node import configuration

CALLING = "FUZZ"


class Target:
    """One receiver with its home. ``path`` is reception's: fast or plain."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.temporary, self.here = folder / "tmp", folder / "cwd"
        for place in (folder, self.home, self.temporary, self.here):
            place.mkdir(exist_ok=True)
        self.port, self.hl7_port, self.stow_port = free_ports(3)
        settings = configuration(pacs_port=1)
        settings["reception"] |= {
            "port": self.port,
            "path": path,
            "peers": [{"ae_title": CALLING, "host": LOOPBACK}],
            "max_object_bytes": 8 << 20,
            "network_timeout_seconds": 5,
            "dimse_timeout_seconds": 5,
            "idle_seconds": 5,
            "stow": {"host": LOOPBACK, "port": self.stow_port},
        }
        settings["orders"] = {"listener": {"host": LOOPBACK, "port": self.hl7_port, "peers": [LOOPBACK], "frame_seconds": 5}}
        (self.home / "node.yaml").write_text(yaml.safe_dump(settings))
        self._log = (folder / "receiver.log").open("wb")
        environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dicom_node", "serve", "--home", str(self.home), "--only", "receive"],
            stdout=self._log,
            stderr=self._log,
            cwd=self.here,
            env=environment,
        )
        wait_for("the receiver", lambda: all(map(listens, (self.port, self.hl7_port, self.stow_port))), 60)
        self.database = make_engine(default_url(self.home))
        self._seen = psutil.Process(self.process.pid)

    @property
    def lives(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def log(self) -> str:
        """The end of what it printed."""
        return (self.folder / "receiver.log").read_text(errors="replace")[-2000:]

    def facts(self) -> dict[str, Any]:
        """Return what it holds now: associations by its own diary, the rest by the system."""
        a = tables.association.c
        with self.database.connect() as connection:
            query = sa.select(sa.func.count()).where(a.ended_utc.is_(None), a.outcome == "accepted")
            opened = connection.execute(query).scalar_one()
        return {
            "associations": opened,
            "threads": self._seen.num_threads(),
            "descriptors": self._seen.num_fds(),
            "memory_mb": self._seen.memory_info().rss / 1e6,
        }

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
