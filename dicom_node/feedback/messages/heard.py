"""What a message (HL7, FHIR) comes to: claims, or why there is none. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.core.feedback import Claim, Statement, Verdict


@dataclass(frozen=True)
class Heard:
    """What a message says: claims, or ``state`` (``nothing``, ``unclear``) and ``text`` for why there is none."""

    claims: tuple[Claim, ...] = ()
    state: str = "nothing"
    text: str = ""


def settled(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Return what one person's statements about one result come to.

    All accepted is the whole accepted, all withdrawn the whole withdrawn. Who changed the whole and left the classes as they were
    has not said that the classes are right, and the other way round.
    """
    kept = list(dict.fromkeys(statements))
    whole = next((one for one in kept if not one.finding), None)
    verdicts = {one.verdict for one in kept}
    if whole is not None and len(verdicts) == 1 and whole.verdict is not Verdict.AMENDED:
        return (whole,)
    if whole is not None and whole.verdict is Verdict.AMENDED:
        return tuple(one for one in kept if one is whole or one.verdict is not Verdict.ACCEPTED)
    if Verdict.AMENDED in verdicts:
        return tuple(one for one in kept if one.finding or one.verdict is not Verdict.ACCEPTED)
    return tuple(kept)
