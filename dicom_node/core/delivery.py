"""The outcome of one attempt to send one artifact to one destination."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class DeliveryState(enum.StrEnum):
    """Where a delivery stands."""

    WITHHELD = "withheld"  # release or evidence does not allow sending; ``detail`` says which
    QUEUED = "queued"  # the next attempt is submitted
    WAITING = "waiting"  # failed for now; next attempt at ``next_attempt_utc``
    DONE = "done"  # the peer said so
    WARNED = "done_with_warning"  # the peer took it with a warning (B000, B006, B007)
    DEAD = "dead"  # given up: permanent error, or out of patience; one command sends again
    CANCELLED = "cancelled"  # replaced or withdrawn before it was sent


class Outcome(enum.StrEnum):
    """What one attempt came to."""

    DELIVERED = "delivered"
    WARNING = "warning"  # delivered, and the peer told something; never shown as plain success
    RETRY = "retry"  # temporary: try again later
    REJECT = "reject"  # permanent: a person must change something


@dataclass(frozen=True)
class Receipt:
    """What ``send`` returns: outcome and the peer's own words (status in words, HTTP status, MSA), without PHI."""

    outcome: Outcome
    detail: str = ""
