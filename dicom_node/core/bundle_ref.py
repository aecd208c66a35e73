"""Which model gave an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BundleRef:
    """Name, version and hash of a model's folder, and how well it is proven."""

    name: str
    version: str
    sha256: str  # bundle hash
    evidence: str  # demo | internal | external
    synthetic: bool = False
    twin: bool = False

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"
