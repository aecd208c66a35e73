"""The outcome of one attempt to send one artifact to one destination."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class DeliveryState(enum.StrEnum):
    """Where a delivery stands."""

    WITHHELD = "withheld"  # release or evidence does not allow sending; ``detail`` says which
    QUEUED = "queued"  # the next attempt is submitted
    WAITING = "waiting"  # failed for now; next attempt at ``next_attempt_utc``
    SENT = "sent"  # the peer took it; the proof that it keeps it is awaited
    DONE = "done"  # delivered; ``proof`` says how that is known
    WARNED = "done_with_warning"  # the peer took it with a warning (B000, B006, B007)
    DEAD = "dead"  # given up: permanent error, or out of patience; one command sends again
    CANCELLED = "cancelled"  # replaced or withdrawn before it was sent


#: Why a result is withheld that comes after the radiologist's report; by it the discrepancies are found.
REPORTED = "The radiologist's final report is known already."


class Proof(enum.StrEnum):
    """How it is known that a delivery arrived."""

    NONE = ""  # not known yet
    ANSWER = "answer"  # the peer's success status, ACK or HTTP status; nobody promised to keep it
    QUERY = "query"  # found in the archive by C-FIND or QIDO-RS after it was sent
    COMMITMENT = "commitment"  # the archive took responsibility (PS3.4, Annex J)


_PROOFS = {
    Proof.NONE: "accepted by the peer; how it is proved is not recorded",
    Proof.ANSWER: "accepted by the peer, no further proof asked",
    Proof.QUERY: "found in the archive",
    Proof.COMMITMENT: "committed by the archive",
}
DELIVERED = (DeliveryState.DONE, DeliveryState.WARNED)


def proof_words(state: str, proof: str, detail: str = "") -> str:
    """Return how it is known that a delivery arrived, in words; empty for one that has not left the node.

    Parameters
    ----------
    detail
        ``proof_detail`` of the row: what came of asking so far.
    """
    if state in DELIVERED:
        return _PROOFS[Proof(proof)]
    if state == DeliveryState.SENT:
        return f"sent, not proven yet: {detail}" if detail else "sent, not proven yet"
    return ""


class Outcome(enum.StrEnum):
    """What one attempt came to."""

    DELIVERED = "accepted"  # the peer took it; whether that is enough to call it delivered is for its proof to say
    WARNING = "warning"  # the same, and the peer told something; never shown as plain success
    RETRY = "retry"  # temporary: try again later
    REJECT = "reject"  # permanent: a person must change something


@dataclass(frozen=True)
class Receipt:
    """What ``send`` returns: outcome and the peer's own words (status in words, HTTP status, MSA), without PHI.

    ``in_doubt``: of a failure, whether the peer may have the object all the same (its answer was lost). Then it is withdrawn there
    too, should it be withdrawn.
    """

    outcome: Outcome
    detail: str = ""
    in_doubt: bool = True
