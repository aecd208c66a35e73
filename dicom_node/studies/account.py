"""What the node knows of a study, for people: one story for the command line and the page. Plain values, no identifiers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dicom_node.store.story import read_story
from dicom_node.studies import repository
from dicom_node.studies.arrivals import InstanceState
from dicom_node.studies.step import find_study


def study_story(connection: sa.Connection, key_or_uid: str) -> dict[str, Any]:
    """Return the whole story of one study as JSON has it.

    Returns
    -------
    dict
        ``study_key, state, hold_reason, revision, first_received_utc, last_received_utc, deadline_utc, counts, instances, runs,
        artifacts, deliveries, story``. Times are seconds since 1970, UTC. No names, identifiers or UIDs of the patient's objects.

    Raises
    ------
    UsageError
        The node has not heard of it.
    """
    key = find_study(connection, key_or_uid)
    row = repository.study_row(connection, key)
    assert row is not None, "found a moment ago, in the same transaction"
    return {
        **_head(row),
        "counts": repository.counts(connection, key),
        "instances": [_instance(r) for r in repository.rows_in(connection, key, *InstanceState)],
        "runs": [_run(r) for r in repository.runs_of(connection, key)],
        "artifacts": [
            {"artifact_id": r.artifact_id, "run_key": r.run_key, "role": r.role, "media_type": r.media_type, "refusal": r.refusal}
            for r in repository.artifacts_of(connection, key)
        ],
        "deliveries": [_delivery(r) for r in repository.deliveries_of(connection, key)],
        "story": [line._asdict() for line in read_story(connection, key)],
    }


def list_studies(connection: sa.Connection, limit: int = 50) -> list[dict[str, Any]]:
    """Return the studies heard of last, newest first, each with its counts and its runs."""
    return [
        {
            **_head(row),
            "counts": repository.counts(connection, row.study_key),
            "runs": [_run(r) for r in repository.runs_of(connection, row.study_key)],
        }
        for row in repository.recent(connection, limit)
    ]


def _head(row: Any) -> dict[str, Any]:
    names = ("study_key", "state", "hold_reason", "revision", "first_received_utc", "last_received_utc", "deadline_utc")
    return {name: getattr(row, name) for name in names}


def _instance(row: Any) -> dict[str, Any]:
    facts = repository.facts_of(row)
    return {
        "instance_id": row.instance_id,
        "state": row.state,
        "modality": facts.modality,
        "view": facts.view_position,
        "rows": facts.rows,
        "columns": facts.columns,
        "transfer_syntax_uid": row.transfer_syntax_uid,
        "sop_class_uid": row.sop_class_uid,
        "size": row.size,
        "calling_ae": row.calling_ae,
        "called_ae": row.called_ae,
        "received_utc": row.received_utc,
        "storage_key": row.storage_key,
    }


def _run(row: Any) -> dict[str, Any]:
    names = ("run_key", "pipeline", "rule", "revision", "state", "summary", "requested_utc", "finished_utc")
    return {name: getattr(row, name) for name in names}


def _delivery(row: Any) -> dict[str, Any]:
    names = ("delivery_id", "artifact_id", "run_key", "destination", "state", "attempt", "next_attempt_utc", "done_utc", "detail")
    return {name: getattr(row, name) for name in names}
