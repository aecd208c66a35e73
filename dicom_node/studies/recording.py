"""An object came: its row, its study's deadline, and what a rejection note among them means. In the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from dicom_node.core.abstentions import PERSON_DECIDES, WAITS_FOR_CORRECTION
from dicom_node.core.study import Instance
from dicom_node.store.story import tell
from dicom_node.studies import completeness, deleted, rejection, repository
from dicom_node.studies.arrivals import InstanceState, state_on_arrival
from dicom_node.studies.settings import StudiesSettings

#: Holds that no arriving object ends by itself.
_STAYS_HELD = PERSON_DECIDES | WAITS_FOR_CORRECTION
_ROOM = "studies"
_WAITS_TOO = "Another object came while the study is held; it waits too."


def record_arrival(
    connection: sa.Connection,
    instance: Instance,
    *,
    size: int,
    received_utc: float,
    settings: StudiesSettings,
    quiet_hints: Iterable[float] = (),
) -> bool:
    """Write the row of one received object, and its study's deadline and story, in the caller's transaction.

    Parameters
    ----------
    instance
        ``path`` is the storage key below HOME/store.
    size
        Bytes on disk.
    quiet_hints
        Quiet times, in seconds, of the rules that could apply to this object.

    Returns
    -------
    bool
        Whether the file is now referred to; False when the same bytes (or our own object) were here already.
    """
    ceiling = received_utc + settings.ceiling_seconds
    row, made = repository.ensure_study(connection, instance.study_instance_uid, received_utc, ceiling)
    key: str = row.study_key
    there = repository.what_is_known(connection, key, instance.sop_instance_uid)
    ours = instance.facts.made_by_this_node or there.is_ours
    stuck = row.state == "held" and row.hold_reason in PERSON_DECIDES
    if row.pixels_deleted_utc is not None:
        is_image = not ours and not rejection.is_rejection(instance.sop_class_uid, instance.facts)
        if deleted.take_back(connection, key, instance, size=size, received_utc=received_utc, is_image=is_image):
            return True
    known = repository.versions(connection, key, instance.sop_instance_uid) if there.came_before else []
    rejected = there.has_notes and rejection.is_rejected(connection, key, instance.sop_instance_uid)
    state = state_on_arrival(known, instance.digest, ours=ours, study_is_stuck=stuck, rejected=rejected)
    if state is None:
        return False
    if not ours and rejection.is_rejection(instance.sop_class_uid, instance.facts):
        _take_note(connection, row, made, instance, size, received_utc, settings, quiet_hints)
        return True
    first_of_ours = ours and not repository.has_state(connection, key, InstanceState.OURS)
    foreign_uid = there.came_before and not ours and not known
    repository.insert_instance(connection, key, instance, size, state, received_utc)
    if ours:
        if first_of_ours:
            tell(connection, key, _ROOM, "result.returned", "A result of this node came back; it is kept and not analysed.")
        return True
    if foreign_uid:
        tell(
            connection,
            key,
            _ROOM,
            "instance.shared",
            "An object of this study is also in another study, under the same SOP Instance UID.",
        )
    if state is InstanceState.REJECTED:
        text = "An object came that a rejection note names: it is kept and not analysed."
        tell(connection, key, _ROOM, "instance.rejected", text, rejection.REASON)
        return True
    if stuck:
        repository.update_study(connection, key, last_received_utc=received_utc)
        tell(connection, key, _ROOM, "instance.held", _WAITS_TOO, row.hold_reason)
        return True
    _move_deadline(connection, row, made, instance, state, received_utc, settings, quiet_hints)
    return True


def _take_note(
    connection: sa.Connection,
    row: Any,
    made: bool,
    note: Instance,
    size: int,
    now_utc: float,
    settings: StudiesSettings,
    hints: Iterable[float],
) -> None:
    """Keep a rejection note and do what it says; a study whose result is void thereby is looked at again once it is quiet."""
    key = row.study_key
    repository.insert_instance(connection, key, note, size, InstanceState.REJECTION_NOTE, now_utc)
    void = rejection.apply_note(connection, row, note)
    if made:
        repository.update_study(connection, key, state="held", hold_reason=rejection.REASON)
    if not void:
        return
    if row.state == "held" and row.hold_reason in _STAYS_HELD:  # the look at it withdraws what is void
        repository.update_study(connection, key, deadline_utc=now_utc)
        return
    ceiling = row.ceiling_utc if row.deadline_utc is not None else now_utc + settings.ceiling_seconds
    quiet = completeness.quiet_seconds((note.sop_class_uid,), settings, hints)
    deadline = completeness.deadline_utc(now_utc, quiet, ceiling)
    repository.update_study(connection, key, state="receiving", hold_reason="", deadline_utc=deadline, ceiling_utc=ceiling)


def _move_deadline(
    connection: sa.Connection,
    row: Any,
    made: bool,
    instance: Instance,
    state: InstanceState,
    now_utc: float,
    settings: StudiesSettings,
    hints: Iterable[float],
) -> None:
    """Set the deadline after an arrival, and tell what begins with it."""
    key = row.study_key
    waiting = row.deadline_utc is not None
    pending = state is InstanceState.PENDING
    ceiling = row.ceiling_utc if waiting else now_utc + settings.ceiling_seconds
    is_ct = instance.sop_class_uid in completeness.CT_SOP_CLASSES
    has_ct = is_ct or repository.has_sop_class(connection, key, sorted(completeness.CT_SOP_CLASSES))
    classes = (instance.sop_class_uid, *(completeness.CT_SOP_CLASSES if has_ct else ()))
    quiet = completeness.quiet_seconds(classes, settings, hints)
    deadline = completeness.deadline_utc(now_utc, quiet, ceiling)
    if row.state == "held" and row.hold_reason in WAITS_FOR_CORRECTION:  # another object of the same header corrects nothing
        if not pending:
            tell(connection, key, _ROOM, "instance.held", _WAITS_TOO, row.hold_reason)
    elif not pending and row.state != "receiving":  # a repeated object alone reopens nothing: first it is compared
        repository.update_study(connection, key, state="receiving", hold_reason="")
        tell(
            connection,
            key,
            _ROOM,
            "study.reopened",
            f"Another object came from {instance.calling_ae}; the study is looked at again.",
        )
    elif made or (not waiting and not pending):
        text = f"First object received from {instance.calling_ae} for {instance.called_ae}."
        tell(connection, key, _ROOM, "study.opened", text)
    if pending:
        tell(
            connection,
            key,
            _ROOM,
            "instance.repeated",
            "An object came again with other bytes; it is compared once the study is quiet.",
        )
    repository.move_deadline(connection, key, last_received_utc=now_utc, deadline_utc=deadline, ceiling_utc=ceiling)
