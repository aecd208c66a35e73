"""The same SOP Instance UID again: what that means. Pure.

A SOP Instance UID names one object for ever; in hospitals it comes again all the same: resent, recompressed by an archive, with a
corrected patient, or, where software is broken, with other pixels.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class InstanceState(enum.StrEnum):
    """Where one version of an instance stands."""

    CURRENT = "current"  # the version that counts
    SUPERSEDED = "superseded"  # an earlier header of the same image
    PENDING = "pending"  # came under a known UID with other bytes; not compared yet
    HELD = "held"  # kept, never analysed, until a person decides
    OURS = "ours"  # a result of this node that came back
    REJECTED = "rejected"  # a rejection note names it: kept, never analysed
    REJECTION_NOTE = "rejection_note"  # the note itself


@dataclass(frozen=True)
class Version:
    """One version of an instance that the study has, in order of arrival."""

    instance_id: int
    digest: str
    state: InstanceState


def state_on_arrival(
    versions: Sequence[Version], digest: str, *, ours: bool, study_is_stuck: bool, rejected: bool = False
) -> InstanceState | None:
    """Return the state of an arriving object, or ``None`` when it is here already and need not be kept again.

    Parameters
    ----------
    versions
        What the study has under this SOP Instance UID, oldest first.
    ours
        This node made it.
    study_is_stuck
        The study waits for a person (two patients, changed pixels): whatever comes is kept and waits too.
    rejected
        A rejection note that came before names it.
    """
    if ours:
        return None if versions else InstanceState.OURS
    if versions and (versions[-1].digest == digest or any(v.digest == digest and v.state is InstanceState.HELD for v in versions)):
        return None
    if rejected:
        return InstanceState.REJECTED
    if study_is_stuck:
        return InstanceState.HELD
    return InstanceState.PENDING if versions else InstanceState.CURRENT


class Verdict(enum.StrEnum):
    """What a second version turned out to be."""

    TWIN = "twin"  # same pixels, same identity: the newest header is kept, nothing runs
    CORRECTED = "corrected"  # same pixels, other identity or order: a new revision
    CHANGED = "changed"  # other pixels: both are kept, the study is held


def verdict(*, same_pixels: bool, same_identity: bool) -> Verdict:
    """Return what the comparison means."""
    if not same_pixels:
        return Verdict.CHANGED
    return Verdict.TWIN if same_identity else Verdict.CORRECTED
