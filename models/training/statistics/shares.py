"""A share of cases with its interval, by Wilson and by Clopper and Pearson: every print says which of the two it shows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from scipy import stats


class Interval(NamedTuple):
    """A value with its two-sided interval."""

    value: float
    low: float
    high: float


class Share(NamedTuple):
    """``hits`` of ``n`` with both intervals, each under its name."""

    hits: int
    n: int
    wilson: Interval
    clopper_pearson: Interval

    def told(self) -> dict[str, Any]:
        """Return it as ``metrics.json`` keeps it."""
        return {"hits": self.hits, "n": self.n, "wilson": list(self.wilson), "clopper_pearson": list(self.clopper_pearson)}


def tail_of(confidence: float) -> float:
    """Return the probability that a two-sided interval leaves out on each side.

    Raises
    ------
    ValueError
        ``confidence`` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, found {confidence:g}")
    return (1 - confidence) / 2


def wilson(hits: int, n: int, confidence: float = 0.95) -> Interval:
    """Return hits / n with Wilson's score interval. ``n`` 0 gives (nan, 0, 1): nothing is known.

    Raises
    ------
    ValueError
        ``hits`` is not in 0..n.

    Notes
    -----
    Wilson, J Am Stat Assoc 22:209 (1927). Covers with ``confidence`` on average over shares, not for each of them.
    """
    _check(hits, n)
    z = float(stats.norm.isf(tail_of(confidence)))
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, middle - half) if hits else 0.0, min(1.0, middle + half) if hits < n else 1.0)


def clopper_pearson(hits: int, n: int, confidence: float = 0.95) -> Interval:
    """Return hits / n with the exact interval. ``n`` 0 gives (nan, 0, 1): nothing is known.

    Raises
    ------
    ValueError
        ``hits`` is not in 0..n.

    Notes
    -----
    Clopper and Pearson, Biometrika 26:404 (1934), by quantiles of the beta distribution. Covers with at least ``confidence``.
    """
    _check(hits, n)
    tail = tail_of(confidence)
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    low = float(stats.beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(stats.beta.isf(tail, hits + 1, n - hits)) if hits < n else 1.0
    return Interval(hits / n, low, high)


def share(hits: int, n: int, confidence: float = 0.95) -> Share:
    """Return hits / n with Wilson's and Clopper and Pearson's interval. The n cases are n patients."""
    return Share(hits, n, wilson(hits, n, confidence), clopper_pearson(hits, n, confidence))


def _check(hits: int, n: int) -> None:
    if n < 0 or not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n} cases is not a share")
