"""When to try again. Pure."""

from __future__ import annotations

import hashlib

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 3600.0


def next_delay_seconds(attempt: int, key: str = "") -> float:
    """Return how long to wait after a failed attempt.

    Parameters
    ----------
    attempt
        Number of the attempt that failed, counted from 1.
    key
        What is tried, e.g. a delivery id. It decides up to 20 % less waiting, always the same for the same attempt, so that
        everything that failed together is not sent together again.

    Returns
    -------
    float
        Seconds: 5, 10, 20, … and never more than an hour.
    """
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    delay = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempt - 1, 30))
    digest = hashlib.sha256(f"{key}|{attempt}".encode()).digest()
    return delay * (1.0 - 0.2 * digest[0] / 255.0)
