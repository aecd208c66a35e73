"""The table of runs."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.findings import NotRead
from dicom_node.core.run import Priority, Release, RunRequest
from dicom_node.store.tables import run

ACTIVE = ("queued", "running")


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
) -> bool:
    """Write the row; ``False`` when this run is already there (the work is submitted once)."""
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
            state="queued",
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
                "read": list(read),
                "not_read": [[n.sop_instance_uid, n.reason, n.detail] for n in not_read],
                "refusal": refusal,
                "detail": detail,
                "study_revision": study_revision,
                "settings": settings,
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
    """Return the run of the highest revision that counts: cancelled and unchanged ones do not."""
    query = (
        sa.select(run)
        .where(run.c.study_key == study_key, run.c.pipeline == pipeline, run.c.state.not_in(("cancelled", "unchanged")))
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


def finish_run(connection: sa.Connection, run_key: str, state: str, summary: dict[str, Any] | None) -> None:
    """Write the outcome; repeating it changes nothing."""
    connection.execute(
        sa.update(run).where(run.c.run_key == run_key).values(state=state, summary=summary, finished_utc=time.time())
    )


def unfinished_runs(connection: sa.Connection) -> list[StoredRun]:
    """Return the runs that are queued or running, the most urgent and oldest first."""
    rows = connection.execute(sa.select(run).where(run.c.state.in_(ACTIVE)).order_by(run.c.requested_utc)).all()
    return sorted((_stored(row) for row in rows), key=lambda stored: stored.request.priority)


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
    )
