"""Rules that can never give a run, whatever study comes: told by the settings alone. Pure.

Only what is certain is told. A condition is fulfilled by "unknown" too, and it is for the narrower rule whenever it is for the
wider one's, since both look at the same element; so comparing what the conditions let through is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dicom_node.routing import terms
from dicom_node.routing.conditions import comparable, like
from dicom_node.routing.settings import Conditions, Rule


class Shadowed(NamedTuple):
    """A rule, and the one before it that takes every study which it could match."""

    rule: str
    by: str


def shadowed(rules: Iterable[Rule]) -> Iterator[Shadowed]:
    """Yield each rule that an earlier one of the same pipeline leaves nothing."""
    earlier: list[Rule] = []
    for rule in rules:
        by = next((e for e in earlier if e.pipeline == rule.pipeline and covers(e.when, rule.when)), None)
        if by is not None:
            yield Shadowed(rule.name, by.name)
        earlier.append(rule)


def covers(wide: Conditions, narrow: Conditions) -> bool:
    """Say whether every image that may fulfil ``narrow`` may fulfil ``wide``; ``False`` also where that is not certain."""
    return all(name in narrow.named and _covers(name, wide, narrow) for name in wide.named)


def _covers(name: str, wide: Conditions, narrow: Conditions) -> bool:
    if name == "min_age_years":
        return (wide.min_age_years or 0) <= (narrow.min_age_years or 0)
    if name == "max_age_years":
        return wide.max_age_years is not None and narrow.max_age_years is not None and wide.max_age_years >= narrow.max_age_years
    patterns = _wanted(name, wide)
    return all(any(_within(one, pattern) for pattern in patterns) for one in _wanted(name, narrow))


def _wanted(name: str, when: Conditions) -> Iterable[str]:
    """Return the words of a condition as they are compared with an image's."""
    written: tuple[str, ...] = getattr(when, name)
    if name == "body_part":
        return terms.body_part_terms(written)
    if name == "view":
        return terms.view_terms(written)
    return {terms.normal(word) if name == "modality" else comparable(word) for word in written}


def _within(narrow: str, wide: str) -> bool:
    """Say whether every text that fits the pattern ``narrow`` fits ``wide``."""
    if narrow == wide or wide == "*":
        return True
    if not _is_pattern(narrow):
        return like(narrow, wide)
    return wide.endswith("*") and not _is_pattern(wide[:-1]) and narrow.startswith(wide[:-1])


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def fits_any(name: str, when: Conditions, values: Iterable[str]) -> bool:
    """Say whether one of these AE titles, which are all that there can be, fulfils ``calling_ae`` or ``called_ae``."""
    return any(like(comparable(value), pattern) for value in values for pattern in _wanted(name, when))
