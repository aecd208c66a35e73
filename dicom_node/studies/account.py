"""What the node knows of a study, for people: one story for the command line and the page. Plain values, no identifiers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dicom_node.core.delivery import DELIVERED, DeliveryState, Proof, proof_words
from dicom_node.core.summary import held_line
from dicom_node.core.withdrawal import Cause
from dicom_node.store import tables
from dicom_node.store.story import read_story
from dicom_node.studies import rejection, repository
from dicom_node.studies.arrivals import InstanceState
from dicom_node.studies.step import find_study


def study_story(connection: sa.Connection, key_or_uid: str) -> dict[str, Any]:
    """Return the whole story of one study as JSON has it.

    Returns
    -------
    dict
        ``study_key, state, hold_reason, revision, first_received_utc, last_received_utc, deadline_utc, counts, instances, runs,
        artifacts, deliveries, story, lab_inputs`` (names of what runs take from a laboratory). Times are seconds since 1970, UTC.
        No names, identifiers or UIDs of the patient's objects.

    Raises
    ------
    UsageError
        The node has not heard of it.
    """
    key = find_study(connection, key_or_uid)
    row = repository.study_row(connection, key)
    assert row is not None, "found a moment ago, in the same transaction"
    sent = repository.deliveries_of(connection, key)  # first: while we read, an object and its deliveries may be added together
    made = repository.artifacts_of(connection, key)
    roles = {r.artifact_id: r.role for r in made}
    return {
        **_head(row),
        "counts": repository.counts(connection, key),
        "instances": [_instance(r) for r in repository.rows_in(connection, key, *InstanceState)],
        "runs": [_run(r) for r in repository.runs_of(connection, key)],
        "artifacts": [_artifact(r) for r in made],
        "deliveries": [_delivery(r, roles[r.artifact_id]) for r in sent],
        "story": [line._asdict() for line in read_story(connection, key)],
        "lab_inputs": repository.lab_inputs_of(connection, key),
        "result": _result(row, repository.runs_of(connection, key)),
    }


def list_studies(connection: sa.Connection, limit: int = 50, *, discrepancies: bool = False) -> list[dict[str, Any]]:
    """Return the studies heard of last, newest first: counts, runs, the answer in a sentence, how much of it is delivered.

    ``discrepancies``: only those with a result that was withheld because the radiologist's report was there before it.
    """
    return [_listed(connection, row) for row in repository.recent(connection, limit, with_report=discrepancies)]


def list_refused(connection: sa.Connection, limit: int = 20) -> list[dict[str, Any]]:
    """Return the objects refused at the door last, newest first: they belong to no study, and their sender was told."""
    query = sa.select(tables.refused_object).order_by(tables.refused_object.c.refused_id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def count_given_up(connection: sa.Connection) -> int:
    """Return how many deliveries were given up and wait for a person, of whatever study."""
    d = tables.delivery.c
    query = sa.select(sa.func.count()).where(d.state == DeliveryState.DEAD.value)
    return int(connection.execute(query).scalar_one())


def _listed(connection: sa.Connection, row: Any) -> dict[str, Any]:
    runs = repository.runs_of(connection, row.study_key)
    deliveries = repository.deliveries_of(connection, row.study_key)
    result = _result(row, runs)
    return {
        **_head(row),
        "counts": repository.counts(connection, row.study_key),
        "runs": [_run(r) for r in runs],
        "answer": result.get("reason") or result.get("headline") or _waits(runs),
        "planned": len(deliveries),
        "delivered": sum(one.state in DELIVERED for one in deliveries),
        "given_up": sum(one.state == DeliveryState.DEAD for one in deliveries),
        "proof": _weakest_proof(deliveries),
    }


def _waits(runs: list[Any]) -> str:
    return "Waits for values of the laboratory." if any(r.state == "waiting" for r in runs) else ""


def _result(row: Any, runs: list[Any]) -> dict[str, Any]:
    """Return the newest result's line; of a held study, why it is held; empty while nothing is known."""
    said = [dict(r.summary) for r in runs if r.summary]
    last = said[-1] if said else {}
    if "withdrawn" in last and (row.state != "held" or row.hold_reason == rejection.REASON):
        why = Cause(last["withdrawn"]["cause"]).sentence
        return {**last, "status": "withdrawn", "headline": "", "reason": f"Withdrawn. {why}", "decision": "", "zone": ""}
    return held_line(row.study_key, row.hold_reason) if row.state == "held" else last


def _head(row: Any) -> dict[str, Any]:
    names = ["study_key", "state", "hold_reason", "revision", "first_received_utc", "last_received_utc", "deadline_utc"]
    names += ["legal_hold", "pixels_deleted_utc"]
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
    until = (row.request or {}).get("wait_until_utc") if row.state == "waiting" else None
    return {**{name: getattr(row, name) for name in names}, "wait_until_utc": until}


def _artifact(row: Any) -> dict[str, Any]:
    names = ("artifact_id", "run_key", "role", "media_type", "sop_class_uid", "identifier", "refusal", "storage_key", "sha256")
    return {name: getattr(row, name) for name in names}


def _delivery(row: Any, role: str) -> dict[str, Any]:
    names = ["delivery_id", "artifact_id", "run_key", "destination", "state", "attempt", "next_attempt_utc", "done_utc", "detail"]
    names += ["proof", "proved_utc"]
    said = proof_words(row.state, row.proof, row.proof_detail)
    return {**{name: getattr(row, name) for name in names}, "proof_words": said, "role": role}


def _weakest_proof(deliveries: list[Any]) -> str:
    """Return in words how it is known that all of these arrived: a chain is as strong as its weakest link."""
    if any(row.state == DeliveryState.SENT for row in deliveries):
        return proof_words(DeliveryState.SENT, "")
    strength = list(Proof)
    proofs = [Proof(row.proof) for row in deliveries if row.state in DELIVERED]
    return proof_words(DeliveryState.DONE, min(proofs, key=strength.index)) if proofs else ""
