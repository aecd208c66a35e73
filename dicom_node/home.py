"""The home folder: where everything of one node lies."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from dicom_node.core.identifiers import patient_key


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

    def site_key(self) -> bytes:
        """Return the site's secret (32 bytes), made at first use: pseudonyms and tokens depend on it."""
        path = self.path / "site.key"
        with contextlib.suppress(FileNotFoundError):
            return bytes.fromhex(path.read_text().strip())
        self.path.mkdir(parents=True, exist_ok=True)
        new = self.path / f".site.key.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_hex(32).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
            os.link(new, path)
        new.unlink()
        return bytes.fromhex(path.read_text().strip())

    def token(self, purpose: str, text: str) -> str:
        """Return a keyed hash (HMAC-SHA-256, 32 hexadecimal digits): for one purpose, at one site."""
        return hmac.new(self.site_key(), f"{purpose}|{text}".encode(), hashlib.sha256).hexdigest()[:32]

    def patient_token(self, patient_id: str, issuer: str = "") -> str:
        """Return the name of a patient that tells nothing about them, for opt-outs and exports.

        Made of the Patient ID alone: who issued it is often left out on one side, and an opt-out must not be missed for that.
        """
        return "pt_" + self.token("patient", patient_key(patient_id).partition("|")[0])
