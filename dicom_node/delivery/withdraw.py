"""Taking a result back from wherever it is, or may be: what is unsent is cancelled, the rest is planned like any delivery.

"May be" counts: an attempt whose answer was lost, or that is on its way in this moment (``begun_utc``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import sqlalchemy as sa

from dicom_node.core.artifact import DICOM, FHIR, HL7, Artifact
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.run import Priority
from dicom_node.core.withdrawal import MESSAGE, NOTE, REPORT, ROLES
from dicom_node.delivery import repository
from dicom_node.delivery.plan import words
from dicom_node.delivery.repository import Submit
from dicom_node.store.standing import objection
from dicom_node.store.story import tell

_ROLE_OF = {DICOM: NOTE, HL7: MESSAGE, FHIR: REPORT}
_FOLLOWS = (*repository.TAKEN, DeliveryState.QUEUED, DeliveryState.WAITING, DeliveryState.DEAD)


def cancel_unsent(connection: sa.Connection, run_key: str, detail: str) -> int:
    """Cancel what is not sent of a run's result; return how much was waiting to be sent."""
    values = {"state": str(DeliveryState.CANCELLED), "next_attempt_utc": None, "detail": detail}
    rows = [row for row in repository.of_run(connection, run_key) if row.state in repository.OPEN and row.role not in ROLES]
    cancelled = [row for row in rows if repository.update_if(connection, row.delivery_id, repository.OPEN, **values)]
    return sum(row.state != DeliveryState.WITHHELD for row in cancelled)


def roles_out(connection: sa.Connection, run_key: str) -> set[str]:
    """Return the roles of a run's artifacts that some destination has, or may have."""
    return {row.role for row in _out(connection, run_key)}


def plan_withdrawal(connection: sa.Connection, run_key: str, artifacts: Iterable[Artifact], submit: Submit) -> dict[str, list[str]]:
    """Plan what takes a result back, for each destination that has it or may have it; return role by destination.

    In the caller's transaction; the artifacts' rows are there. A message that a later result has updated in place is left alone:
    taking it back would take back the later one.
    """
    made = {artifact.role for artifact in artifacts}
    ids = repository.artifact_ids(connection, run_key)
    planned: dict[str, list[str]] = {}
    for row in _out(connection, run_key):
        role = _ROLE_OF[row.media_type]
        if role not in made or role in planned.get(row.destination, ()):
            continue
        if row.media_type != DICOM and any(one.state in repository.TAKEN for one in repository.updates_of(connection, row)):
            continue
        key = repository.delivery_id(ids[role], row.destination)
        values = {
            "delivery_id": key,
            "artifact_id": ids[role],
            "run_key": run_key,
            "study_key": row.study_key,
            "destination": row.destination,
            "state": str(DeliveryState.QUEUED),
            "attempt": 1,
            "planned_utc": time.time(),
            "detail": "",
        }
        if repository.insert(connection, values):
            submit(connection, key, 1, row.destination, int(Priority.STAT), 0.0)
        planned.setdefault(row.destination, []).append(role)
    return planned


def follow(connection: sa.Connection, late: repository.Delivery, submit: Submit) -> None:
    """Send once more what took ``late`` back or replaced it, because ``late`` arrived there, or may have, after it was cancelled.

    The same object, message or version again: who has it changes nothing, who missed it, or has had it overwritten, gets it.
    """
    if late.run_state == "withdrawn":
        of_run = repository.of_run(connection, late.run_key)
        rows = [row for row in of_run if row.destination == late.destination and row.role == _ROLE_OF[late.media_type]]
        why = "What it takes back may have arrived there after it."
    else:
        void = objection(connection, late.study_key, late.study_revision)  # then both are taken back
        in_place = not void and late.media_type != DICOM
        rows = repository.updates_of(connection, late)[-1:] or repository.newer_answer(connection, late) if in_place else []
        why = "What it replaced may have arrived there after it."
    for row in rows:
        attempt = row.attempt + 1
        values = {"state": str(DeliveryState.QUEUED), "attempt": attempt, "next_attempt_utc": None, "planned_utc": time.time()}
        if repository.update_if(connection, row.delivery_id, _FOLLOWS, **values):
            text = f"Sent again: {words([row.role])} to {row.destination}. {why}"
            tell(connection, row.study_key, "delivery", "delivery.again", text)
            submit(connection, row.delivery_id, attempt, row.destination, int(Priority.STAT), 0.0)


def _out(connection: sa.Connection, run_key: str) -> list[repository.Delivery]:
    rows = repository.of_run(connection, run_key)
    return [row for row in rows if row.role not in ROLES and (row.state in repository.TAKEN or row.begun_utc is not None)]
