"""May a result draw attention to itself? Only while it is news, and not when there are more flags than anybody can follow. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from dicom_node.core.study import Instance
from dicom_node.routing.freshness import Freshness, freshness
from dicom_node.routing.settings import Rule


def no_flag_because(
    rule: Rule | None, instances: Iterable[Instance], flags_of_last_hour: int, now: dt.datetime, timezone: dt.tzinfo
) -> str:
    """Return why a positive result goes out without a flag, ``""`` when it may flag.

    Parameters
    ----------
    rule
        The rule that asked for the result; ``None``: it is not in the configuration any more.
    instances
        The images that were read.
    flags_of_last_hour
        Flags that results of this rule have raised.
    now
        Aware; when the result was requested, so that building it again decides the same.
    """
    if rule is None:
        return "Its rule is not in the configuration any more."
    fresh, _ = freshness(instances, rule.max_flag_age_hours, now, timezone)
    if fresh is Freshness.TOO_OLD:
        return f"The study is older than {rule.max_flag_age_hours:g} hours."
    if fresh is Freshness.UNKNOWN:
        return "Nobody can say how old the study is."
    if flags_of_last_hour >= rule.max_flags_per_hour:
        return f"The rule has raised {flags_of_last_hour} flags within an hour."
    return ""
