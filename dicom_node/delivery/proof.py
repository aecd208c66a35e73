"""When does "sent" become "delivered"? Which proof a destination owes, when it is asked for, and what comes of it. Pure."""

from __future__ import annotations

import enum

from dicom_node.core.delivery import Proof
from dicom_node.delivery.settings import ArchivingSettings, DestinationSettings

#: An archive that stays silent is asked on at this pace after its tries are used up.
SILENT_SECONDS = 86400.0
#: Growing pauses end here.
LONGEST_SECONDS = 3600.0


def wanted_proof(settings: DestinationSettings | None) -> Proof:
    """Return what makes a delivery there count as delivered; where nothing else can be had, the peer's answer."""
    return Proof(settings.proof) if isinstance(settings, ArchivingSettings) else Proof.ANSWER


def first_question_seconds(settings: DestinationSettings | None, asked: int) -> float:
    """Return how long after sending the archive is asked, longer each time that it did not show the object.

    Parameters
    ----------
    asked
        Times that it was asked about this delivery before.
    """
    first = settings.proof_after_seconds if isinstance(settings, ArchivingSettings) else 0.0
    return float(min(max(LONGEST_SECONDS, first), first * 2.0 ** min(asked, 20)))


def longest_pause_seconds(settings: ArchivingSettings) -> float:
    """Return how far away the next question ever is; one that is further waits for a clock that was set back."""
    return max(SILENT_SECONDS, getattr(settings, "commitment_hours", 0.0) * 3600, settings.proof_after_seconds) + 60.0


class Missing(enum.StrEnum):
    """What to do about an object that the archive does not have."""

    SEND_AGAIN = "send again"
    PARK = "park"


def when_missing(settings: ArchivingSettings, asked: int) -> Missing:
    """Return what is done; ``asked`` counts the question that has just been answered.

    A destination of proof ``commitment`` may have used its tries up on an archive that stays silent before a query shows that the
    object is missing, so it has twice as many.
    """
    tries = settings.proof_tries * (2 if settings.proof == "commitment" and settings.archive else 1)
    return Missing.SEND_AGAIN if asked < tries else Missing.PARK


class Question(enum.StrEnum):
    """How the archive is asked next."""

    COMMITMENT = "commitment"
    QUERY = "query"
    NOTHING = "nothing"  # the peer's answer has to do
    UNPROVEN = "unproven"  # told to people; asked again, rarely


def next_question(settings: ArchivingSettings, asked: int) -> Question:
    """Return how to ask when a delivery is due.

    Parameters
    ----------
    asked
        Times that the archive was asked about it before.
    """
    if settings.proof == "answer":  # it was another one when the delivery was sent
        return Question.NOTHING
    if settings.proof == "query":
        return Question.QUERY
    return Question.COMMITMENT if asked < settings.proof_tries else without_commitment(settings)


def without_commitment(settings: ArchivingSettings) -> Question:
    """Return how to ask where commitment cannot be had."""
    if settings.archive is not None:
        return Question.QUERY
    return Question.NOTHING if settings.proof_otherwise == "answer" else Question.UNPROVEN
