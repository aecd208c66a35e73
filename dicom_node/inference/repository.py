"""The table of runs."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.findings import NotRead
from dicom_node.core.run import AfterReport, Priority, Release, RunRequest
from dicom_node.core.study import Mark
from dicom_node.store.tables import run, study

ACTIVE = ("queued", "running")
#: Requested, and waits for laboratory values before it is queued (``inference.waiting``).
WAITING = "waiting"
#: Without an answer yet.
OPEN = (WAITING, *ACTIVE)
ANSWERED = ("analysed", "not_analysed")


@dataclass(frozen=True)
class StoredRun:
    """A run as its row has it."""

    request: RunRequest
    read: tuple[str, ...]  # SOP Instance UIDs, the first choice first
    not_read: tuple[NotRead, ...]
    refusal: str
    detail: str
    state: str
    crashes: int
    study_revision: int
    settings: dict[str, Any]  # what the rule sets for the pipeline
    marked: tuple[Mark, ...] = ()  # slices to read, where a person marked any
    no_flag: str | None = None  # why the result goes out without a flag; empty: it may flag; None: not decided yet
    wait_until_utc: float | None = None  # when a run that waits for laboratory values goes on without; None: it never waited
    wait_minutes: float = 0


def insert_run(
    connection: sa.Connection,
    request: RunRequest,
    *,
    read: tuple[str, ...],
    not_read: tuple[NotRead, ...],
    refusal: str,
    detail: str,
    study_revision: int,
    settings: dict[str, Any],
    marked: tuple[Mark, ...] = (),
    wait_until_utc: float | None = None,
    wait_minutes: float = 0,
) -> bool:
    """Write the row; ``False`` when this run is already there (the work is submitted once).

    With ``wait_until_utc`` it waits, and is not to be submitted.
    """
    exists = connection.execute(sa.select(run.c.run_key).where(run.c.run_key == request.run_key)).first()
    if exists:
        return False
    connection.execute(
        sa.insert(run).values(
            run_key=request.run_key,
            study_key=request.study_key,
            pipeline=request.pipeline,
            rule=request.rule,
            revision=request.revision,
            state="queued" if wait_until_utc is None else WAITING,
            requested_utc=request.requested_at.timestamp(),
            request={
                "study_instance_uid": request.study_instance_uid,
                "policy": request.policy,
                "release": request.release.value,
                "priority": int(request.priority),
                "destinations": list(request.destinations),
                "outputs": list(request.outputs),
                "bundles": request.bundles,
                "predecessor": request.predecessor,
                "incomplete": request.incomplete,
                "after_report": request.after_report.value,
                "read": list(read),
                "not_read": [[n.sop_instance_uid, n.reason, n.detail] for n in not_read],
                "refusal": refusal,
                "detail": detail,
                "study_revision": study_revision,
                "settings": settings,
                "marked": [list(mark) for mark in marked],
                "wait_until_utc": wait_until_utc,
                "wait_minutes": wait_minutes,
            },
        )
    )
    return True


def load_run(connection: sa.Connection, run_key: str) -> StoredRun:
    """Return one run; ``LookupError`` when there is none."""
    row = connection.execute(sa.select(run).where(run.c.run_key == run_key)).first()
    if row is None:
        raise LookupError(f"no run {run_key}")
    return _stored(row)


def latest_run(connection: sa.Connection, study_key: str, pipeline: str) -> StoredRun | None:
    """Return the run of the highest revision that counts: cancelled, unchanged and erased ones do not.

    A withdrawn one does: what a person took back is not given again because a lateral arrives late.
    """
    query = (
        sa.select(run)
        .where(run.c.study_key == study_key, run.c.pipeline == pipeline, run.c.state.not_in(("cancelled", "unchanged", "erased")))
        .order_by(run.c.revision.desc())
    )
    row = connection.execute(query).first()
    return _stored(row) if row else None


def next_revision(connection: sa.Connection, study_key: str, pipeline: str) -> int:
    """Return 1, or one more than the highest revision there is."""
    query = sa.select(sa.func.max(run.c.revision)).where(run.c.study_key == study_key, run.c.pipeline == pipeline)
    return (connection.execute(query).scalar() or 0) + 1


def begin_run(connection: sa.Connection, run_key: str) -> StoredRun:
    """Mark the run as running. A run that was already running died with its worker: that is counted."""
    connection.execute(
        sa.update(run)
        .where(run.c.run_key == run_key, run.c.state.in_(ACTIVE))
        .values(crashes=run.c.crashes + sa.case((run.c.state == "running", 1), else_=0), state="running")
    )
    return load_run(connection, run_key)


def count_resubmission(connection: sa.Connection, run_key: str) -> int:
    """Count that the run's worker died in it and it is submitted again."""
    connection.execute(sa.update(run).where(run.c.run_key == run_key).values(crashes=run.c.crashes + 1))
    return load_run(connection, run_key).crashes


def wait_again(connection: sa.Connection, run_key: str) -> bool:
    """Put a run back that could not go on for now (disk, database); this is no crash. Says whether there was one to put back."""
    query = sa.update(run).where(run.c.run_key == run_key, run.c.state.in_(ACTIVE)).values(state="queued")
    return connection.execute(query).rowcount > 0


def finish_run(connection: sa.Connection, run_key: str, state: str, summary: dict[str, Any] | None) -> bool:
    """Write the outcome of a run that waits or works; says whether it did. One that has ended stays as it is."""
    query = sa.update(run).where(run.c.run_key == run_key, run.c.state.in_(OPEN))
    return connection.execute(query.values(state=state, summary=summary, finished_utc=time.time())).rowcount > 0


def stale_runs(connection: sa.Connection, study_key: str = "") -> list[StoredRun]:
    """Return runs, of one study or of all, that wait, work or have answered for a revision of their study that is over."""
    query = (
        sa.select(run)
        .join(study, study.c.study_key == run.c.study_key)
        .where(run.c.state.in_((*OPEN, *ANSWERED)), study.c.revision > 1)
        .where(run.c.request["study_revision"].as_integer() != study.c.revision)
        .order_by(run.c.requested_utc, run.c.run_key)
    )
    if study_key:
        query = query.where(run.c.study_key == study_key)
    return [_stored(row) for row in connection.execute(query)]


def answered_runs(connection: sa.Connection, study_key: str) -> list[StoredRun]:
    """Return the study's runs that have given an answer that stands, oldest first."""
    query = (
        sa.select(run).where(run.c.study_key == study_key, run.c.state.in_(ANSWERED)).order_by(run.c.requested_utc, run.c.revision)
    )
    return [_stored(row) for row in connection.execute(query)]


def withdraw_run(connection: sa.Connection, run_key: str, cause: str, at_utc: float) -> bool:
    """Mark an answered run as withdrawn; what it said stays readable. False when there is nothing (more) to withdraw."""
    row = connection.execute(sa.select(run.c.summary).where(run.c.run_key == run_key, run.c.state.in_(ANSWERED))).first()
    if row is None:
        return False
    summary = {**(row.summary or {}), "withdrawn": {"cause": cause, "at_utc": at_utc}}
    query = sa.update(run).where(run.c.run_key == run_key, run.c.state.in_(ANSWERED)).values(state="withdrawn", summary=summary)
    return connection.execute(query).rowcount > 0


def flags_since(connection: sa.Connection, rule: str, since_utc: float) -> int:
    """Return how many results of a rule were allowed to flag since then, of runs requested within the last days."""
    flagged_at = run.c.request["flagged_utc"].as_float()
    query = sa.select(sa.func.count()).where(
        run.c.rule == rule, run.c.requested_utc > since_utc - 3 * 86400, flagged_at >= since_utc
    )
    return int(connection.execute(query).scalar_one())


def decide_flag(connection: sa.Connection, run_key: str, no_flag: str, now_utc: float) -> None:
    """Write whether a positive result may flag: once, so that building it again gives the same bytes."""
    request = connection.execute(sa.select(run.c.request).where(run.c.run_key == run_key).with_for_update()).scalar_one()
    decided = {"no_flag": no_flag, "flagged_utc": None if no_flag else now_utc}
    connection.execute(sa.update(run).where(run.c.run_key == run_key).values(request={**request, **decided}))


def unfinished_runs(connection: sa.Connection) -> list[StoredRun]:
    """Return the runs that are queued or running, the most urgent and oldest first."""
    rows = connection.execute(sa.select(run).where(run.c.state.in_(ACTIVE)).order_by(run.c.requested_utc)).all()
    return sorted((_stored(row) for row in rows), key=lambda stored: stored.request.priority)


def open_runs(connection: sa.Connection, study_key: str) -> list[StoredRun]:
    """Return the study's runs that have no answer yet, those that wait for laboratory values too."""
    rows = connection.execute(sa.select(run).where(run.c.study_key == study_key, run.c.state.in_(OPEN)))
    return [_stored(row) for row in rows]


def waiting_runs(connection: sa.Connection) -> list[StoredRun]:
    """Return the runs that wait for laboratory values, the oldest first."""
    rows = connection.execute(sa.select(run).where(run.c.state == WAITING).order_by(run.c.requested_utc, run.c.run_key))
    return [_stored(row) for row in rows]


def _stored(row: sa.Row[Any]) -> StoredRun:
    data = row.request
    request = RunRequest(
        run_key=row.run_key,
        study_key=row.study_key,
        study_instance_uid=data["study_instance_uid"],
        pipeline=row.pipeline,
        rule=row.rule,
        revision=row.revision,
        policy=data["policy"],
        release=Release(data["release"]),
        priority=Priority(data["priority"]),
        destinations=tuple(data["destinations"]),
        outputs=tuple(data["outputs"]),
        requested_at=dt.datetime.fromtimestamp(row.requested_utc, dt.UTC),
        bundles=data["bundles"],
        predecessor=data["predecessor"],
        incomplete=data.get("incomplete", ""),
        after_report=AfterReport(data.get("after_report", AfterReport.HOLD.value)),
    )
    return StoredRun(
        request=request,
        read=tuple(data["read"]),
        not_read=tuple(NotRead(*item) for item in data["not_read"]),
        refusal=data["refusal"],
        detail=data["detail"],
        state=row.state,
        crashes=row.crashes,
        study_revision=data["study_revision"],
        settings=data["settings"],
        marked=tuple((uid, frame) for uid, frame in data.get("marked", ())),
        no_flag=data.get("no_flag"),
        wait_until_utc=data.get("wait_until_utc"),
        wait_minutes=data.get("wait_minutes", 0),
    )
