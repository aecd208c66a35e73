"""Names that say nothing, and dates moved: everything depends on the site's key, so that the next export fits to this one.

Keyed hashes are HMAC-SHA-256: who has an export and even the original value cannot make the name without the key. Dates of one
patient move by the same number of whole days (1 to 365, into the past), so that intervals, weekdays apart, and times stay true.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass

from dicom_node.core.age import parse_date

OLDEST = 90  # years; above it an age names a person (45 CFR 164.514 b 2 C)
_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"), (OLDEST, "80-89"))
_DATETIME = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
#: part of the data -> the buckets 0..99 that belong to it, for ever
SPLITS = {"train": range(70), "validation": range(70, 80), "calibration": range(80, 90), "locked": range(90, 100)}


@dataclass(frozen=True)
class Pseudonyms:
    """Made of the site's key (``Home.site_key``)."""

    key: bytes

    def name(self, prefix: str, text: str) -> str:
        """Return a name for something, e.g. ``fb_`` and 20 hexadecimal digits."""
        return f"{prefix}_{self._mac(prefix, text).hex()[:20]}"

    def uid(self, uid: str) -> str:
        """Return the UID that stands for this one: a UUID of the keyed hash in the 2.25 arc (PS3.5, B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._mac('uid', uid)[:16], version=4).int}"

    def days(self, patient: str) -> int:
        """Return by how many days the dates of a patient move into the past, 1 to 365."""
        return 1 + int.from_bytes(self._mac("days", patient)[:8]) % 365

    def split(self, patient: str) -> str:
        """Return the part of the data that a patient belongs to: with all studies, in every export."""
        bucket = int.from_bytes(self._mac("split", patient)[:8]) % 100
        return next(name for name, buckets in SPLITS.items() if bucket in buckets)

    def _mac(self, purpose: str, text: str) -> bytes:
        return hmac.new(self.key, f"export|{purpose}|{text}".encode(), hashlib.sha256).digest()


def moved_date(value: str, days: int) -> str:
    """Return a DA value moved into the past; empty for anything that is not one day."""
    day = parse_date(value)
    try:
        return (day - dt.timedelta(days=days)).strftime("%Y%m%d") if day is not None else ""
    except OverflowError:
        return ""


def moved_datetime(value: str, days: int) -> str:
    """Return a DT value moved by whole days: time and offset from UTC stay; empty where no day is named."""
    match = _DATETIME.fullmatch(value.strip())
    moved = moved_date(match[1], days) if match else ""
    return f"{moved}{match[2] or ''}{match[3] or ''}" if match and moved else ""


def age_string(years: float | None) -> str:
    """Return an AS value in whole years, ``090Y`` for 90 and more; empty: unknown."""
    return "" if years is None else f"{min(int(years), OLDEST):03d}Y"


def age_band(years: float | None) -> str:
    """Return the band of an age; ``unknown``."""
    if years is None:
        return "unknown"
    return next((name for below, name in _BANDS if years < below), f"{OLDEST}+")
