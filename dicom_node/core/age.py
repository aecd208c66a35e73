"""The patient's age at the study, or unknown."""

from __future__ import annotations

import datetime as dt
import re

OLDEST_YEARS = 120
_PLACEHOLDER = dt.date(1900, 1, 1)  # what many registration desks type when nobody knows
_AGE_STRING = re.compile(r"^\s*(\d{1,3})\s*([DWMY])\s*$", re.IGNORECASE)
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
_DATE = re.compile(r"^\s*(\d{4})\.?(\d{2})\.?(\d{2})\s*$")


def parse_date(value: str) -> dt.date | None:
    """Return the day that a DA value names, ``None`` for anything else.

    ``YYYYMMDD``, and ``YYYY.MM.DD`` of ACR-NEMA (PS3.5, 6.2, VR DA).
    """
    match = _DATE.match(value)
    if match is None:
        return None
    try:
        return dt.date(*(int(part) for part in match.groups()))
    except ValueError:
        return None


def age_years(birth_date: str, patient_age: str, study_date: str) -> float | None:
    """Return the age at the study in years, ``None`` for unknown.

    Birth date at study date, else Patient's Age as written. A birth date of 1 January 1900, after the study, or more than
    120 years before it is a placeholder: unknown. A Patient's Age that merely repeats a placeholder is unknown too.

    Parameters
    ----------
    birth_date, study_date
        DA values.
    patient_age
        AS value, e.g. ``046Y`` (PS3.5, 6.2, VR AS).

    Returns
    -------
    float or None
        Years, exact on birthdays, so ``>= 18`` is true from the eighteenth birthday on.
    """
    born, day = parse_date(birth_date), parse_date(study_date)
    stated = _stated_years(patient_age)
    if born is None or day is None:
        return None if born == _PLACEHOLDER and stated is not None and stated > OLDEST_YEARS - 30 else stated
    years = _years_between(born, day)
    if born != _PLACEHOLDER and 0 <= years <= OLDEST_YEARS:
        return years
    if stated is not None and abs(stated - years) <= 1:
        return None  # the device computed it from the placeholder
    return stated


def _stated_years(patient_age: str) -> float | None:
    match = _AGE_STRING.match(patient_age)
    if match is None:
        return None
    years = int(match[1]) * _DAYS[match[2].upper()] / 365.25
    return years if years <= OLDEST_YEARS else None


def _years_between(born: dt.date, day: dt.date) -> float:
    whole = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    last, following = _birthday(born, born.year + whole), _birthday(born, born.year + whole + 1)
    return whole + (day - last).days / (following - last).days


def _birthday(born: dt.date, year: int) -> dt.date:
    if not 1 <= year <= 9999:
        return dt.date.min if year < 1 else dt.date.max
    try:
        return born.replace(year=year)
    except ValueError:  # 29 February, in a year without one
        return dt.date(year, 3, 1)
