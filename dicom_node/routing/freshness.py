"""How long ago the study was made: fresh, too old, or not to be told. Pure."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Iterable

from dicom_node.core.age import parse_date
from dicom_node.core.study import HeaderFacts, Instance

_TIME = re.compile(r"^\s*(\d{2}):?(\d{2})?:?(\d{2})?(?:\.\d{0,6})?\s*$")
_OFFSET = re.compile(r"^\s*([+-])(\d{2}):?(\d{2})\s*$")
_DAY_AHEAD = dt.timedelta(hours=24)  # a wrong zone or an unset summer time; a clock further ahead is not believed


class Freshness(enum.StrEnum):
    """What a rule's ``max_study_age_hours`` says of a study."""

    FRESH = "fresh"
    TOO_OLD = "study_too_old"
    UNKNOWN = "study_date_unknown"


def study_moment(facts: HeaderFacts, timezone: dt.tzinfo) -> dt.datetime | None:
    """Return Study Date and Time with its zone; ``None`` when the date cannot be read.

    The zone is the header's own (0008,0201), else the site's. Without a readable time it is the end of the day: a study of
    today is never called old because its time is missing.
    """
    day = parse_date(facts.study_date)
    if day is None:
        return None
    return dt.datetime.combine(day, _clock(facts.study_time), tzinfo=offset(facts.timezone_offset) or timezone)


def _clock(study_time: str) -> dt.time:
    match = _TIME.match(study_time)
    hour, minute, second = (int(part or 0) for part in match.groups()) if match else (23, 59, 59)
    if hour > 23 or minute > 59:
        return dt.time(23, 59, 59)
    return dt.time(hour, minute, min(second, 59))  # a leap second is written 60


def offset(value: str) -> dt.timezone | None:
    """Return the zone of a Timezone Offset From UTC value, ``None`` when it is not one (PS3.3 C.12.1.1.8: -1200 to +1400)."""
    match = _OFFSET.match(value)
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    if int(match[3]) > 59 or minutes > (12 if match[1] == "-" else 14) * 60:
        return None
    return dt.timezone(dt.timedelta(minutes=-minutes if match[1] == "-" else minutes))


def freshness(instances: Iterable[Instance], max_age_hours: float, now: dt.datetime, timezone: dt.tzinfo) -> tuple[Freshness, str]:
    """Say whether a study is fresh enough, and the sentence for people.

    The newest readable date of these instances counts. A date more than a day ahead of ``now`` is a wrong clock: unknown.

    Parameters
    ----------
    instances
        The instances that the rule matched.
    now
        Aware.
    """
    moments = [_utc(moment) for i in instances if (moment := study_moment(i.facts, timezone)) is not None]
    if not moments:
        return Freshness.UNKNOWN, "The study date is missing or cannot be read, so nobody can say whether the study is new."
    age = now - max(moments)
    if age < -_DAY_AHEAD:
        return Freshness.UNKNOWN, "The study date lies in the future: a device's clock is wrong."
    if age > dt.timedelta(hours=max_age_hours):
        return Freshness.TOO_OLD, f"The study is {_spoken(age)} old; the rule takes studies of the last {max_age_hours:g} hours."
    return Freshness.FRESH, f"The study is from the last {max_age_hours:g} hours."


def _utc(moment: dt.datetime) -> dt.datetime:
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:  # the first or last day of the calendar
        return moment.replace(tzinfo=dt.UTC)


def _spoken(age: dt.timedelta) -> str:
    return f"{age.days} days" if age.days >= 3 else f"{age.total_seconds() / 3600:.0f} hours"
