"""Figures as text: tables in Markdown, intervals, P values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), ["---"] * len(head), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """Return the number, ``-`` where it is unknown or undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def interval(values: Sequence[float | None] | None) -> str:
    """Return ``value (low to high)``, ``-`` where there is none."""
    if values is None or values[0] is None or not math.isfinite(values[0]):
        return "-"
    value, low, high = values
    return f"{number(value)} ({number(low)} to {number(high)})"


def change(values: Sequence[float | None] | None) -> str:
    """Return a difference as ``+value (low to high)``, each with its sign; ``-`` where there is none."""
    if values is None or any(value is None or not math.isfinite(value) for value in values):
        return "-"
    value, low, high = values
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def p_text(value: float | None) -> str:
    """Return a P value to three decimals, never 0."""
    if value is None or not math.isfinite(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
