"""A result to take back, as the builders of note, message and report see it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from dicom_node.core.artifact import Artifact
from dicom_node.core.withdrawal import Cause
from dicom_node.results.settings import ResultsSettings


@dataclass(frozen=True)
class Withdrawal:
    """One run's result to take back. ``sent``: what left the node, or may have; ``at``: aware, whole seconds."""

    run_key: str
    cause: Cause
    at: dt.datetime
    sent: tuple[Artifact, ...]
    settings: ResultsSettings

    def of(self, media_type: str) -> tuple[Artifact, ...]:
        """Return what was sent of one media type, in order of role."""
        return tuple(a for a in sorted(self.sent, key=lambda a: a.role) if a.media_type == media_type)
