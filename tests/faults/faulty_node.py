"""A node that can be hit: its processes import ``site/sitecustomize.py``, and it is started again when it was killed."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from dicom_node.core.errors import PeerError
from dicom_node.demo.peers import listens, wait_for
from tests.factories.postgresql import PostgreSql
from tests.faults.site.fault_points import POINTS
from tests.integration.running_node import RunningNode

SITE = Path(__file__).parent / "site"


class FaultyNode(RunningNode):
    """``arm`` faults, wait until they ``fired``; ``clock_step`` moves the wall clock of all its processes."""

    def __init__(self, home: Path, settings: dict[str, Any], *, clock: bool = False) -> None:
        super().__init__(home, settings)
        self.faults = home.parent / f"{home.name}-faults"
        self.faults.mkdir()
        path = os.pathsep.join(filter(None, (str(SITE), os.environ.get("PYTHONPATH"))))
        self.environment = {"DICOM_NODE_FAULTS": str(self.faults), "PYTHONPATH": path}
        self.postgresql: PostgreSql | None = None  # its server, where it has one of its own
        self.injected = 0
        self._armed: list[dict[str, Any]] = []
        self._closing = threading.Event()
        self._reviver = threading.Thread(target=self._revive, daemon=True)
        if clock:
            self._movable_clock()

    def start(self, ready_seconds: float = 60) -> None:
        """Start it, and from then on again whenever it was killed."""
        super().start(ready_seconds)
        if not self._reviver.is_alive():
            self._reviver.start()

    def close(self) -> None:
        """Stop it for good."""
        self._closing.set()
        if self._reviver.is_alive():
            self._reviver.join(60)
        super().close()

    def _revive(self) -> None:
        while not self._closing.wait(0.1):
            if self._process is not None and self._process.poll() is not None:
                with contextlib.suppress(PeerError):  # nobody waits here: it may be killed again while it starts
                    super().start(ready_seconds=0)

    def wait_up(self, seconds: float = 60) -> None:
        """Wait until it takes associations."""
        wait_for("the node", lambda: listens(self.port), seconds)

    # ---------------------------------------------------------------- faults

    def arm(self, point: str, do: str, *, when: str = "before", nth: int = 1, times: int = 1, role: str = "") -> str:
        """Arm one fault; returns its name. ``do`` is a word of ``sitecustomize.act``."""
        assert point in POINTS, point
        name = f"f{len(self._armed):03d}"
        self._armed.append({"id": name, "point": point, "when": when, "nth": nth, "times": times, "role": role, "do": do})
        self._write()
        return name

    def _write(self) -> None:
        text = self.faults / "armed.new"
        text.write_text(json.dumps(self._armed))
        text.replace(self.faults / "armed.json")

    def times_fired(self, name: str) -> int:
        """Return how often a fault has happened."""
        try:
            return (self.faults / f"{name}.fired").stat().st_size
        except FileNotFoundError:
            return 0

    def wait_fired(self, name: str, seconds: float = 60) -> None:
        """Wait until the fault has happened as often as it was armed for; it then counts as injected."""
        fault = next(item for item in self._armed if item["id"] == name)
        end = time.monotonic() + seconds
        while self.times_fired(name) < fault["times"]:
            assert time.monotonic() < end, f"did not fire: {fault}\n{self.log()[-2000:]}"
            time.sleep(0.05)
        self.injected += fault["times"]

    # ---------------------------------------------------------------- the wall clock

    def _movable_clock(self) -> None:
        library = self.faults / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SITE / "clock.c", "-ldl"], check=True)
        (self.faults / "offset").write_bytes(struct.pack("q", 0))
        self.environment |= {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self.faults / "offset")}

    def clock_step(self, seconds: int) -> None:
        """Set the wall clock of all processes to the real one plus this much."""
        with (self.faults / "offset").open("r+b") as handle:
            handle.write(struct.pack("q", seconds))
        self.injected += 1
