"""Delete what is delivered, proven and old; keep everything else. Rows are marked first, then files go.

A crash between the two leaves marked rows whose files are still there: the next pass removes them. What was deleted and comes again
is stored anew (``deleted.take_back``).
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.delivery import DELIVERED, DeliveryState, Proof
from dicom_node.core.run import Release
from dicom_node.store.connect import reading
from dicom_node.store.story import read_story, tell
from dicom_node.store.tables import archive_answer, commitment, instance, message, refused_object, run, study, task, verdict
from dicom_node.studies import repository
from dicom_node.studies.files import object_path
from dicom_node.studies.settings import RetentionSettings

#: Holds that are routing's decision about a study that nobody waits for. Every other held study waits for a person and is kept.
DELETABLE_HOLDS = frozenset(
    ("study_too_old", "study_date_unknown", "no_rule", "hold_rule", "opted_out", "images_deleted", "images_rejected")
)
_DAY = 86400.0
_BATCH = 500

#: Study key -> whether somebody may still answer it. Asked last.
KeptForAnswers = Callable[[sa.Connection, str], bool]


def kept_for_answers(connection: sa.Connection, study_key: str, *, answered_since_utc: float) -> bool:
    """Say whether the images are kept for answers: somebody is asked for one, or one came lately and may be exported with them.

    What is asked about a result that was withdrawn keeps nothing.
    """
    asked = (
        sa.select(task.c.task_id)
        .join(run, run.c.run_key == task.c.run_key)
        .where(task.c.study_key == study_key, task.c.closed_utc.is_(None), run.c.state.in_(("analysed", "not_analysed")))
    )
    answered = sa.select(verdict.c.number).where(verdict.c.study_key == study_key, verdict.c.at_utc > answered_since_utc)
    return any(connection.execute(query.limit(1)).first() is not None for query in (asked, answered))


def keeper(settings: RetentionSettings, now: float) -> KeptForAnswers:
    """Return the question whether a study is kept for answers, by these settings."""
    return functools.partial(kept_for_answers, answered_since_utc=now - settings.keep_days_after_answer * _DAY)


class Study(NamedTuple):
    """A study that may be deleted, and how much it is."""

    study_key: str
    objects: int
    bytes: int
    last_utc: float


class Deleted(NamedTuple):
    """What one pass removed."""

    studies: int = 0
    objects: int = 0
    bytes: int = 0
    results: int = 0
    records: int = 0


def why_kept(connection: sa.Connection, row: Any, proofs: dict[str, str], older_than_utc: float, kept: KeptForAnswers) -> str:
    """Return why nothing of a study is deleted, one clause; empty when it may be.

    Parameters
    ----------
    row
        The study's row.
    proofs
        The proof that each destination owes now, by name; a destination that is gone owes the peer's answer.
    """
    if row.legal_hold:
        return "under legal hold"
    if row.committed_utc is not None:
        return "its sender was promised that it is kept"
    if row.deadline_utc is not None or row.state == "receiving":
        return "not looked at yet"
    if row.state == "held" and row.hold_reason not in DELETABLE_HOLDS:
        return "waits for a person"
    if row.last_received_utc > older_than_utc:
        return "too young"
    newest = {}
    for one in repository.runs_of(connection, row.study_key):
        newest[one.pipeline] = one.state
        if one.state in ("waiting", "queued", "running"):
            return "being analysed"
        if one.state in ("analysed", "not_analysed") and (one.request or {}).get("study_revision", row.revision) != row.revision:
            return "its result is to be taken back"
    if "failed" in newest.values():  # it has no answer, and no delivery says so
        return "waits for a person"
    for item in repository.deliveries_of(connection, row.study_key):
        why = _still_open(connection, item, proofs, older_than_utc)
        if why:
            return why
    return "may still be answered" if kept(connection, row.study_key) else ""


def _still_open(connection: sa.Connection, item: Any, proofs: dict[str, str], older_than_utc: float) -> str:
    if item.state == DeliveryState.CANCELLED:
        return ""
    if item.state == DeliveryState.WITHHELD:
        request = connection.execute(sa.select(run.c.request).where(run.c.run_key == item.run_key)).scalar_one()
        waits = str((request or {}).get("release", "")) == Release.AFTER_ANSWER
        return "waits for an answer" if waits else ""
    if item.state not in DELIVERED:
        return "not delivered with its proof yet"
    if (item.done_utc or 0.0) > older_than_utc or (item.proved_utc or 0.0) > older_than_utc:
        return "delivered too lately"
    strength = list(Proof)
    owed = Proof(proofs.get(item.destination, Proof.ANSWER))
    if owed is Proof.COMMITMENT and item.proof == Proof.QUERY:  # the second choice, found in the archive itself
        return ""
    return "" if strength.index(Proof(item.proof)) >= strength.index(owed) else "not delivered with its proof yet"


def deletable(
    connection: sa.Connection, proofs: dict[str, str], older_than_utc: float, kept: KeptForAnswers, limit: int = _BATCH
) -> list[Study]:
    """Return studies whose received objects may be deleted, oldest first."""
    c = instance.c
    there = sa.select(c.study_key).where(c.study_key == study.c.study_key, c.deleted_utc.is_(None)).exists()
    query = sa.select(study).where(study.c.last_received_utc <= older_than_utc, there).order_by(study.c.last_received_utc)
    found: list[Study] = []
    for row in connection.execute(query):
        if why_kept(connection, row, proofs, older_than_utc, kept):
            continue
        count, size = connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.size), 0)).where(
                c.study_key == row.study_key, c.deleted_utc.is_(None)
            )
        ).one()
        found.append(Study(row.study_key, count, int(size), row.last_received_utc))
        if len(found) == limit:
            break
    return found


def kept_because(connection: sa.Connection, proofs: dict[str, str], older_than_utc: float, kept: KeptForAnswers) -> dict[str, int]:
    """Return how many studies that are old enough are kept, by reason."""
    reasons: dict[str, int] = {}
    for row in connection.execute(sa.select(study).where(study.c.last_received_utc <= older_than_utc)):
        why = why_kept(connection, row, proofs, older_than_utc, kept)
        if why:
            reasons[why] = reasons.get(why, 0) + 1
    return reasons


def run_retention(
    database: sa.Engine,
    home: Path,
    settings: RetentionSettings,
    proofs: dict[str, str],
    *,
    disk_is_low: bool = False,
    kept: KeptForAnswers | None = None,
    now: float | None = None,
) -> Deleted:
    """Delete what may be deleted; safe to stop at any point and to run again."""
    now = time.time() if now is None else now
    kept = kept or keeper(settings, now)
    _finish(database, home)
    days = settings.keep_days_after_delivery
    if disk_is_low and settings.keep_days_when_disk_is_low is not None:
        days = min(settings.keep_days_when_disk_is_low, days or settings.keep_days_when_disk_is_low)
    studies = objects = size = 0
    if days is not None:
        with reading(database) as connection:
            found = deletable(connection, proofs, now - days * _DAY, kept)
        for item in found:
            if _mark(database, item, proofs, now, now - days * _DAY, kept):
                studies, objects, size = studies + 1, objects + item.objects, size + item.bytes
        _finish(database, home)
    results = 0
    if settings.keep_results_days is not None:
        results = _delete_results(database, home, proofs, now - settings.keep_results_days * _DAY, kept)
    records = _forget(database, settings, now)
    done = Deleted(studies, objects, size, results, records)
    if any(done):
        log.event("retention.done", count=done.objects, size=done.bytes, outcome=f"{done.studies} studies, {done.results} results")
    return done


def _mark(
    database: sa.Engine, item: Study, proofs: dict[str, str], now: float, older_than_utc: float, kept: KeptForAnswers
) -> bool:
    """Mark the rows of one study, judged again with the study locked; say whether it was."""
    with database.begin() as connection:
        row = repository.locked_study(connection, item.study_key)
        if row is None or why_kept(connection, row, proofs, older_than_utc, kept):
            return False
        c = instance.c
        connection.execute(
            sa.update(instance).where(c.study_key == item.study_key, c.deleted_utc.is_(None)).values(deleted_utc=now)
        )
        repository.update_study(connection, item.study_key, pixels_deleted_utc=now)
        text = f"{item.objects} received object(s) deleted by retention; results and story stay."
        tell(connection, item.study_key, "studies", "study.deleted", text)
    return True


def _finish(database: sa.Engine, home: Path) -> None:
    """Remove the files of marked rows, and then their names from the rows. One that cannot be removed is left to the next pass."""
    c = instance.c
    last = 0
    while True:
        with reading(database) as connection:
            query = sa.select(c.instance_id, c.storage_key).where(c.deleted_utc.is_not(None), c.storage_key != "")
            marked = list(connection.execute(query.where(c.instance_id > last).order_by(c.instance_id).limit(_BATCH)))
        if not marked:
            return
        last = marked[-1].instance_id
        removed = [row.instance_id for row in marked if _removed(home, row.storage_key)]
        with database.begin() as connection:
            gone = sa.update(instance).where(
                c.instance_id.in_(removed), c.deleted_utc.is_not(None)
            )  # not what came again meanwhile
            connection.execute(gone.values(storage_key=""))


def _removed(home: Path, storage_key: str) -> bool:
    try:
        path = object_path(home, storage_key)
        path.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        log.event("retention.failed", kind="object", error=type(error).__name__)
        return False
    with contextlib.suppress(OSError):  # another object of the study lies in the folder
        path.parent.rmdir()
    return True


def _delete_results(database: sa.Engine, home: Path, proofs: dict[str, str], older_than_utc: float, kept: KeptForAnswers) -> int:
    """Remove the result folders of old runs; told before, removed after."""
    deleted = 0
    with reading(database) as connection:
        query = sa.select(run.c.run_key, run.c.study_key, run.c.pipeline, run.c.revision).where(
            run.c.finished_utc <= older_than_utc
        )
        old = [row for row in connection.execute(query) if (home / "results" / row.run_key).is_dir()]
    for row in old:
        folder = home / "results" / row.run_key
        with database.begin() as connection:
            owner = repository.locked_study(connection, row.study_key)
            if owner is None or why_kept(connection, owner, proofs, older_than_utc, kept):
                continue
            text = f"{row.pipeline}: the files of result {row.revision} were deleted by retention."
            if all(line.text != text for line in read_story(connection, row.study_key)):  # the last pass may not have got through
                tell(connection, row.study_key, "studies", "result.deleted", text)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            log.event("retention.failed", kind="result", run=row.run_key)
        else:
            deleted += 1
    return deleted


def _forget(database: sa.Engine, settings: RetentionSettings, now: float) -> int:
    """Delete old records that belong to no result: questions, messages, refusals, ended commitments."""
    records, refused = now - settings.keep_records_days * _DAY, now - settings.keep_refused_days * _DAY
    statements = [
        sa.delete(archive_answer).where(archive_answer.c.at_utc < records),
        sa.delete(message).where(message.c.received_utc < records),
        sa.delete(commitment).where(commitment.c.state != "open", commitment.c.requested_utc < records),
        sa.delete(refused_object).where(refused_object.c.at_utc < refused),
    ]
    with database.begin() as connection:
        return sum(int(connection.execute(statement).rowcount) for statement in statements)
