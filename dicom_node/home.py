"""The home folder: where everything of one node lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """``HOME/node.yaml`` is IT's, the rest is the node's. Machines that share a home each have a ``state_folder`` of their own."""

    path: Path
    state_folder: Path | None = None

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.path / "node.yaml"

    @property
    def store(self) -> Path:
        """Received images."""
        return self.path / "store"

    @property
    def results(self) -> Path:
        """What runs made."""
        return self.path / "results"

    @property
    def bundles(self) -> Path:
        """Model bundles that a site mounts; searched before the shipped ones."""
        return self.path / "bundles"

    @property
    def state(self) -> Path:
        """Locks and heartbeats of running processes: on a disk of this machine."""
        return self.state_folder or self.path / "state"
