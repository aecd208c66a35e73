"""Studies' front door: an object arrived, what is due, settle repeated objects, hold, mark as routed, load."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.core import abstentions
from dicom_node.core.errors import UsageError
from dicom_node.core.identifiers import study_key as key_of
from dicom_node.core.study import HeaderFacts, Instance, Study
from dicom_node.store.connect import reading
from dicom_node.store.story import read_story, tell
from dicom_node.studies import completeness, deleted, identity, rejection, repository
from dicom_node.studies.arrivals import InstanceState, Verdict, state_on_arrival
from dicom_node.studies.comparison import Compared, compare
from dicom_node.studies.files import object_path
from dicom_node.studies.settings import StudiesSettings

STUCK, WAITING = abstentions.PERSON_DECIDES, abstentions.WAITS_FOR_CORRECTION
_ROOM = "studies"
_WAITS_TOO = "Another object came while the study is held; it waits too."
#: Clocks of receivers and workers on several hosts may be so far apart.
_CLOCK_TOLERANCE_SECONDS = 10.0


class Settlement(enum.StrEnum):
    """What a due study is good for, after its repeated objects were compared."""

    READY = "ready"  # route it
    UNCHANGED = "unchanged"  # it was routed before and nothing that matters has changed
    HELD = "held"  # a person must look
    WAITING = "waiting"  # something arrived meanwhile; it will be due again


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
    ours = instance.facts.made_by_this_node or repository.is_our_artifact(connection, instance.sop_instance_uid)
    stuck = row.state == "held" and row.hold_reason in STUCK
    if row.pixels_deleted_utc is not None:
        is_image = not ours and not rejection.is_rejection(instance.sop_class_uid, instance.facts)
        if deleted.take_back(connection, key, instance, size=size, received_utc=received_utc, is_image=is_image):
            return True
    known = repository.versions(connection, key, instance.sop_instance_uid)
    rejected = rejection.is_rejected(connection, key, instance.sop_instance_uid)
    state = state_on_arrival(known, instance.sha256, ours=ours, study_is_stuck=stuck, rejected=rejected)
    if state is None:
        return False
    if not ours and rejection.is_rejection(instance.sop_class_uid, instance.facts):
        _take_note(connection, row, made, instance, size, received_utc, settings, quiet_hints)
        return True
    first_of_ours = ours and not repository.has_state(connection, key, InstanceState.OURS)
    foreign_uid = not ours and not known and repository.known_elsewhere(connection, key, instance.sop_instance_uid)
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
    if row.state == "held" and row.hold_reason in STUCK | WAITING:  # it stays held; the look at it withdraws what is void
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
    values: dict[str, object] = {
        "last_received_utc": now_utc,
        "deadline_utc": completeness.deadline_utc(now_utc, quiet, ceiling),
        "ceiling_utc": ceiling,
    }
    if row.state == "held" and row.hold_reason in WAITING:  # another object of the same header corrects nothing
        if not pending:
            tell(connection, key, _ROOM, "instance.held", _WAITS_TOO, row.hold_reason)
    elif not pending and row.state != "receiving":  # a repeated object alone reopens nothing: first it is compared
        values |= {"state": "receiving", "hold_reason": ""}
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
    repository.update_study(connection, key, **values)


def due_studies(connection: sa.Connection, now: float) -> list[str]:
    """Return keys of studies to look at now, longest overdue first. Each goes through ``settle_arrivals`` next."""
    return repository.due(connection, now)


def clock_was_set_back(connection: sa.Connection, now_utc: float, longest_wait_seconds: float) -> int:
    """Mend the deadlines of open studies after the wall clock was set back; return how many were wrong.

    A study that arrived before waits as long as it was meant to, not until the clock has caught up; and nobody waits longer than
    ``longest_wait_seconds``. Called again and again: when no clock was set back, it changes nothing.
    """
    return repository.shift_future_arrivals(connection, now_utc, _CLOCK_TOLERANCE_SECONDS) + repository.cap_deadlines(
        connection, now_utc + longest_wait_seconds
    )


def next_deadline(connection: sa.Connection) -> float | None:
    """Return when the next study will be due (UTC, seconds since 1970), ``None`` when none waits."""
    return repository.next_deadline(connection)


def settle_arrivals(database: sa.Engine, study_key: str, home: Path, *, now: float | None = None) -> Settlement:
    """Compare objects that came again with other bytes, look for two patients in one study, and say what the study is good for.

    Pixels are decoded outside the transaction. May run twice: what was settled is not pending any more.

    Raises
    ------
    OSError
        A stored file cannot be read; nothing was changed.
    """
    now = time.time() if now is None else now
    with reading(database) as connection:
        pending = repository.rows_in(connection, study_key, InstanceState.PENDING)
        current = {row.sop_instance_uid: row for row in repository.rows_in(connection, study_key, InstanceState.CURRENT)}
    compared = compare(pending, current, home)
    with database.begin() as connection:
        row = repository.locked_study(connection, study_key)
        if row is None or row.deadline_utc is None or row.deadline_utc > now:
            return Settlement.HELD if row is not None and row.state == "held" else Settlement.WAITING
        still = {r.instance_id for r in repository.rows_in(connection, study_key, InstanceState.PENDING)}
        if still != {one.instance_id for one in compared}:
            return Settlement.WAITING
        corrected = _apply(connection, study_key, compared)
        if corrected:
            repository.update_study(connection, study_key, revision=row.revision + 1, state="receiving", hold_reason="")
            text = f"Patient or order of an image was corrected; the study is now in revision {row.revision + 1}."
            tell(connection, study_key, _ROOM, "study.revised", text)
        if any(one.verdict is Verdict.CHANGED for one in compared):
            hold(connection, study_key, "changed_pixels")
            return Settlement.HELD
        facts = [repository.facts_of(r) for r in repository.rows_in(connection, study_key, InstanceState.CURRENT)]
        if identity.any_conflict(facts):
            hold(connection, study_key, "patient_conflict")
            return Settlement.HELD
        if row.state == "receiving" or corrected:
            return Settlement.READY
        repository.update_study(connection, study_key, deadline_utc=None)
        return Settlement.HELD if row.state == "held" else Settlement.UNCHANGED


def _apply(connection: sa.Connection, study_key: str, compared: list[Compared]) -> bool:
    """Write the outcome of the comparisons; return whether an identity was corrected."""
    for one in compared:
        if one.verdict is Verdict.CHANGED:
            repository.set_state(connection, one.instance_id, InstanceState.HELD)
            continue
        repository.set_state(connection, one.instance_id, InstanceState.CURRENT)
        if one.base_id is not None:
            repository.set_state(connection, one.base_id, InstanceState.SUPERSEDED)
    twins = sum(one.verdict is Verdict.TWIN for one in compared)
    if twins:
        text = f"{twins} repeated object{'s' if twins > 1 else ''} with the same pixels and patient: the newest header is kept."
        tell(connection, study_key, _ROOM, "instance.superseded", text)
    return any(one.verdict is Verdict.CORRECTED for one in compared)


def hold(connection: sa.Connection, study_key: str, reason: str, text: str = "") -> None:
    """Keep a study from being analysed and say why.

    Parameters
    ----------
    reason
        Key of ``core/abstentions.py``.
    text
        One sentence without identifiers; default: the reason's own.
    """
    sentence = text or abstentions.reason(reason).text
    repository.update_study(connection, study_key, state="held", hold_reason=reason, deadline_utc=None)
    tell(connection, study_key, _ROOM, "study.held", sentence, reason)
    if reason in STUCK and any(run.state in ("analysed", "not_analysed") for run in repository.runs_of(connection, study_key)):
        text = "A result was given before; it stands until a person decides: dicom-node studies release, or studies withdraw."
        tell(connection, study_key, _ROOM, "result.doubtful", text, reason)


def put_off(connection: sa.Connection, study_key: str, now: float, seconds: float, text: str) -> None:
    """Look at a study again ``seconds`` after ``now``, because it could not be started; ``text`` is told once.

    A study that moved on by itself (something arrived after ``now``) is left alone.
    """
    row = repository.locked_study(connection, study_key)
    if row is None or row.deadline_utc is None or row.deadline_utc > now:
        return
    repository.update_study(connection, study_key, deadline_utc=now + seconds)
    if all(line.text != text for line in read_story(connection, study_key)):
        tell(connection, study_key, _ROOM, "study.put_off", text)


def voided_studies(connection: sa.Connection) -> list[str]:
    """Return keys of open studies in a later revision than the first: what was made for an earlier one is withdrawn at once."""
    return repository.open_and_revised(connection)


def hold_where_rejected(connection: sa.Connection, study_key: str) -> bool:
    """Hold a study whose images were all rejected; says whether it is one. In the transaction of ``mark_routed``."""
    if not rejection.nothing_left(connection, study_key):
        return False
    hold(connection, study_key, rejection.REASON)
    return True


def hold_where_deleted(connection: sa.Connection, study_key: str) -> bool:
    """Hold a study that is looked at again after retention took its images; in the transaction of ``mark_routed``."""
    if not deleted.objects_missing(connection, study_key):
        return False
    hold(connection, study_key, "images_deleted")
    return True


def mark_routed(connection: sa.Connection, study_key: str, now: float) -> bool:
    """Say that the study's runs are requested; in the transaction that inserts them.

    Parameters
    ----------
    now
        The time given to ``due_studies`` and ``settle_arrivals``, before the study was loaded.

    Returns
    -------
    bool
        False when something arrived after that, or the study was held: it stays as it is and will be looked at again.
    """
    row = repository.locked_study(connection, study_key)
    if row is None or row.state != "receiving" or row.deadline_utc is None or row.deadline_utc > now:
        return False
    repository.update_study(connection, study_key, state="routed", hold_reason="", deadline_utc=None)
    return True


def load_study(connection: sa.Connection, study_key: str, home: Path) -> Study:
    """Return the study as pipelines see it: current instances only, our own results left out, paths absolute.

    Raises
    ------
    UsageError
        The node has not heard of it.
    """
    row = repository.locked_study(connection, study_key)
    if row is None:
        raise UsageError("this node has not received a study of that name")
    places = repository.first_arrivals(connection, study_key)
    rows = sorted(repository.rows_in(connection, study_key, InstanceState.CURRENT), key=lambda r: places[r.sop_instance_uid])
    instances = tuple(
        Instance(
            sop_class_uid=r.sop_class_uid,
            sop_instance_uid=r.sop_instance_uid,
            series_instance_uid=r.series_instance_uid,
            study_instance_uid=row.study_instance_uid,
            transfer_syntax_uid=r.transfer_syntax_uid,
            sha256=r.sha256,
            path=str(object_path(home, r.storage_key)),
            facts=HeaderFacts.from_json(r.facts),
            calling_ae=r.calling_ae,
            called_ae=r.called_ae,
        )
        for r in rows
    )
    return Study(study_key, row.study_instance_uid, instances, row.revision)


def orders_named(connection: sa.Connection, study_key: str) -> list[tuple[str, str, str]]:
    """Return (accession number, Patient ID, issuer) that the study's objects name, each once; for asking, never for logs."""
    found: dict[tuple[str, str, str], None] = {}
    for row in repository.rows_in(connection, study_key, InstanceState.CURRENT):
        facts = repository.facts_of(row)
        for number in (facts.accession_number, *facts.requested_accessions):
            if number.reveal().strip():
                found[(number.reveal(), facts.patient_id.reveal(), facts.issuer_of_patient_id.reveal())] = None
    return list(found)


def find_study(connection: sa.Connection, key_or_uid: str) -> str:
    """Return the key of a study named by key or by Study Instance UID.

    Raises
    ------
    UsageError
        The node has not heard of it.
    """
    key = key_or_uid if key_or_uid.startswith("st_") else key_of(key_or_uid.strip())
    if repository.study_row(connection, key) is None:
        raise UsageError("this node has not received a study of that name")
    return key
