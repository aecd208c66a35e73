"""What a pipeline takes from a laboratory: which results, whether one that counts is known, what a person may say instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LabInput:
    """One part, as the pipeline itself understands it; the node waits for it, asks for it and shows a form, and reads no value."""

    part: str  # lower case, e.g. "smear"
    name: str  # for people, e.g. "acid-fast smear"
    codes: tuple[str, ...]  # which results tell it, as code^scheme; never empty
    settled: bool  # a result is there, also one that the pipeline cannot take, or a person said that nobody knows: no more waiting
    choices: tuple[tuple[str, str], ...]  # what a person may say: the value as a laboratory would write it, and words


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
