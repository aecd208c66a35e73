"""Studies' front door: an object arrived, what is due, settle repeated objects, hold, mark as routed, load."""

from __future__ import annotations

import enum
import time
from pathlib import Path

import sqlalchemy as sa

from dicom_node.core import abstentions
from dicom_node.core.errors import UsageError
from dicom_node.core.identifiers import study_key as key_of
from dicom_node.core.marks import marked_slices
from dicom_node.core.study import HeaderFacts, Instance, Study
from dicom_node.store.connect import reading
from dicom_node.store.story import read_story, tell
from dicom_node.studies import deleted, identity, rejection, repository
from dicom_node.studies.arrivals import InstanceState, Verdict
from dicom_node.studies.comparison import Compared, compare
from dicom_node.studies.files import path_in, store_folder
from dicom_node.studies.recording import record_arrival

__all__ = [
    "Settlement",
    "clock_was_set_back",
    "due_studies",
    "find_study",
    "hold",
    "hold_where_deleted",
    "hold_where_rejected",
    "load_study",
    "mark_routed",
    "next_deadline",
    "orders_named",
    "put_off",
    "record_arrival",
    "settle_arrivals",
    "voided_studies",
]

_ROOM = "studies"
#: Holds that put a result that was given in doubt, and what ends that.
_DOUBT_ENDS = {
    **dict.fromkeys(
        abstentions.PERSON_DECIDES - {"opted_out"}, "a person decides: dicom-node studies release, or studies withdraw"
    ),
    **dict.fromkeys(abstentions.WAITS_FOR_CORRECTION, "corrected images come, or a person decides: dicom-node studies withdraw"),
}
#: Clocks of receivers and workers on several hosts may be so far apart.
_CLOCK_TOLERANCE_SECONDS = 10.0


class Settlement(enum.StrEnum):
    """What a due study is good for, after its repeated objects were compared."""

    READY = "ready"  # route it
    UNCHANGED = "unchanged"  # it was routed before and nothing that matters has changed
    HELD = "held"  # a person must look
    WAITING = "waiting"  # something arrived meanwhile; it will be due again


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
    ends = _DOUBT_ENDS.get(reason)
    if ends and any(one.begun_utc or one.done_utc for one in repository.deliveries_of(connection, study_key)):
        tell(connection, study_key, _ROOM, "result.doubtful", f"A result was given before; it stands until {ends}.", reason)


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
    folder = store_folder(home)
    instances = tuple(
        Instance(
            sop_class_uid=r.sop_class_uid,
            sop_instance_uid=r.sop_instance_uid,
            series_instance_uid=r.series_instance_uid,
            study_instance_uid=row.study_instance_uid,
            transfer_syntax_uid=r.transfer_syntax_uid,
            digest=r.digest,
            path=str(path_in(folder, r.storage_key)),
            facts=HeaderFacts.from_json(r.facts),
            calling_ae=r.calling_ae,
            called_ae=r.called_ae,
        )
        for r in rows
    )
    # the node's own objects are asked for only where a document marks anything
    in_documents = any(one.facts.marks for one in instances)
    ours = {made.identifier for made in repository.artifacts_of(connection, study_key)} if in_documents else ()
    marks = marked_slices(instances, ours, repository.marks_said(connection, study_key))
    return Study(study_key, row.study_instance_uid, instances, row.revision, marks)


def orders_named(connection: sa.Connection, study_key: str) -> list[tuple[str, str, str]]:
    """Return (accession number, Patient ID, issuer) that the study's objects name, each once; for asking, never for logs."""
    named = repository.orders_named(connection, study_key)
    return sorted({(n, patient, issuer) for one, more, patient, issuer in named for n in (one, *more) if n.strip()})


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
