"""A line of ``check``: what it is about, how it stands, and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mark(enum.StrEnum):
    """What a line says at its start."""

    OK = "ok"
    NOTE = "note"  # works, but somebody should know
    FAIL = "FAIL"


@dataclass(frozen=True)
class Line:
    """One line of the answer."""

    mark: Mark
    subject: str
    text: str
