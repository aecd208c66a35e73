"""Rejection notes: a department takes images back (IHE RAD, Imaging Object Change Management; PS3.3 A.35.4, PS3.16 CID 7010).

A note is a Key Object Selection whose title is one of four. What it names is rejected wherever it stands, also when it arrives
after the note, and is never analysed. A result that was made from rejected images belongs to a revision of the study that is over:
the revision goes up, and whoever uses or sends what was decided earlier finds that out by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from dicom_node.core.codes import INCORRECT_WORKLIST_ENTRY, REJECTED_FOR_QUALITY, REJECTED_FOR_SAFETY, RETENTION_EXPIRED
from dicom_node.core.study import HeaderFacts, Instance
from dicom_node.store.story import tell
from dicom_node.studies import repository
from dicom_node.studies.arrivals import InstanceState

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
REASON = "images_rejected"

#: Title of the note -> why, as a person says it.
_WHY = {
    REJECTED_FOR_QUALITY.value: "their quality",
    REJECTED_FOR_SAFETY.value: "patient safety",
    INCORRECT_WORKLIST_ENTRY.value: "an incorrect worklist entry",
    RETENTION_EXPIRED.value: "the end of their retention",
}
_ROOM = "studies"
#: A run that gave, or may still give, a result from these images.
_COUNTS = ("waiting", "queued", "running", "analysed", "not_analysed")


def is_rejection(sop_class_uid: str, facts: HeaderFacts) -> bool:
    """Say whether an object is a rejection note."""
    return sop_class_uid == KEY_OBJECT_SELECTION and facts.document_title in _WHY


def is_rejected(connection: sa.Connection, study_key: str, sop_instance_uid: str) -> bool:
    """Say whether a note that came earlier names this object."""
    return any(sop_instance_uid in facts.get("references", ()) for facts in repository.facts_of_notes(connection, study_key))


def made_from(request: dict[str, Any]) -> set[str]:
    """Return the SOP Instance UIDs that a run's answer rests on: the images to read; for a refusal, those it could not read."""
    return set(request.get("read", ())) or {left[0] for left in request.get("not_read", ())}


def apply_note(connection: sa.Connection, row: Any, note: Instance) -> bool:
    """Reject what the note names, in the caller's transaction; return whether the study must be looked at again.

    Parameters
    ----------
    row
        The study's row, locked.
    note
        The note; its own row is there already.
    """
    key: str = row.study_key
    named = set(note.facts.references)
    ours = {made.identifier for made in repository.artifacts_of(connection, key)}
    ours |= {r.sop_instance_uid for r in repository.rows_in(connection, key, InstanceState.OURS)}
    sources = named - ours
    if not sources:
        text = "A rejection note came that names only results of this node: it is kept, and rejects no image."
        tell(connection, key, _ROOM, "note.received", text)
        return False
    rejected = {r.sop_instance_uid: r for r in _not_yet(connection, key) if r.sop_instance_uid in sources}
    for version in _not_yet(connection, key):
        if version.sop_instance_uid in sources:
            repository.set_state(connection, version.instance_id, InstanceState.REJECTED)
    why = _WHY[note.facts.document_title]
    later = "" if rejected else " None of them has arrived; if they do, they are kept and not analysed."
    text = f"A rejection note for {why} names {len(sources)} object(s); {len(rejected)} of this study are rejected.{later}"
    tell(connection, key, _ROOM, "images.rejected", text, REASON)
    if not any(made_from(run.request) & sources for run in _counting(connection, row)):
        return False
    repository.update_study(connection, key, revision=row.revision + 1)
    text = f"What was made from the rejected images does not hold any more; the study is now in revision {row.revision + 1}."
    tell(connection, key, _ROOM, "study.revised", text, REASON)
    return True


def nothing_left(connection: sa.Connection, study_key: str) -> bool:
    """Say whether images were rejected and none is left to analyse."""
    if not repository.has_state(connection, study_key, InstanceState.REJECTED):
        return False
    return not any(repository.facts_of(r).has_pixel_data for r in repository.rows_in(connection, study_key, InstanceState.CURRENT))


def are_rejected(connection: sa.Connection, study_key: str, sop_instance_uids: Iterable[str]) -> bool:
    """Say whether any of these objects of the study is rejected."""
    rejected = {r.sop_instance_uid for r in repository.rows_in(connection, study_key, InstanceState.REJECTED)}
    return not rejected.isdisjoint(sop_instance_uids)


def _not_yet(connection: sa.Connection, study_key: str) -> list[sa.Row[Any]]:
    states = (InstanceState.CURRENT, InstanceState.PENDING, InstanceState.SUPERSEDED, InstanceState.HELD)
    return repository.rows_in(connection, study_key, *states)


def _counting(connection: sa.Connection, row: Any) -> list[sa.Row[Any]]:
    runs = repository.runs_of(connection, row.study_key)
    return [r for r in runs if r.state in _COUNTS and r.request.get("study_revision", 1) == row.revision]
