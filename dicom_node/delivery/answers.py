"""Sending what people answered: to exactly the destinations that have the result, and never before it.

What tells of an answer updates a message or a report in place, or stands beside an object; so the result has to be there first, and
of two answers the newer one has to be last.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from dicom_node.core import withdrawal
from dicom_node.core.artifact import DICOM, FHIR, HL7, Artifact
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.feedback import ASSESSMENT, ASSESSMENT_MESSAGE, ASSESSMENT_REPORT, tells_of_answer, told_number
from dicom_node.core.run import Release, RunRequest
from dicom_node.delivery import repository
from dicom_node.delivery.plan import plan, words
from dicom_node.delivery.repository import Submit
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.delivery.step import places
from dicom_node.store.story import tell

#: Beside which objects of ours an assessment report stands: those that a person reads.
REPORTS = frozenset(("text_report", "structured_report"))
_WAITING = (DeliveryState.QUEUED, DeliveryState.WAITING)
#: What is planned is sent within this time, unless its destination is busy or down.
_A_MOMENT_SECONDS = 30.0
#: Has it, will have it, or could have it once a person mends what is in the way.
_MEANT_FOR = (*repository.TAKEN, *_WAITING, DeliveryState.DEAD)


@dataclasses.dataclass(frozen=True)
class Released:
    """What a release came to: roles by destination, sent and still withheld with the reason."""

    sent: dict[str, list[str]]
    kept: dict[str, str]


def release_withheld(
    connection: sa.Connection,
    run: RunRequest,
    evidence: str,
    destinations: Mapping[str, DestinationSettings],
    submit: Submit,
    *,
    reported: bool,
) -> Released:
    """Send what waited for an answer, as far as nothing else is against it, in the caller's transaction."""
    rows = [row for row in repository.of_run(connection, run.run_key) if row.state == DeliveryState.WITHHELD]
    built = {row.role: Artifact(run.run_key, row.role, row.media_type, "", b"", row.sop_class_uid, row.refusal) for row in rows}
    chosen = {name: destinations[name] for name in run.destinations if name in destinations}
    at_once = dataclasses.replace(run, release=Release.AT_ONCE)
    planned = plan(at_once, evidence, built.values(), places(chosen), reported=reported)
    by_place = {(item.role, item.destination): item for item in planned}
    released = Released({}, {})
    for row in rows:
        item = by_place.get((row.role, row.destination))
        if item is None:
            continue
        if item.state is DeliveryState.WITHHELD:
            released.kept[row.destination] = item.detail
            repository.update_if(connection, row.delivery_id, [DeliveryState.WITHHELD], detail=item.detail)
            continue
        attempt = row.attempt + 1
        values = {"state": str(DeliveryState.QUEUED), "attempt": attempt, "planned_utc": time.time(), "detail": ""}
        if repository.update_if(connection, row.delivery_id, [DeliveryState.WITHHELD], **values):
            submit(connection, row.delivery_id, attempt, row.destination, int(run.priority), 0.0)
            released.sent.setdefault(row.destination, []).append(row.role)
    return released


def of_result(connection: sa.Connection, run_key: str) -> list[repository.Delivery]:
    """Return the deliveries of a run's result itself that arrived, may have arrived, or are meant to."""
    rows = repository.of_run(connection, run_key)
    own = [row for row in rows if not tells_of_answer(row.role) and row.role not in withdrawal.ROLES]
    return [row for row in own if row.state in _MEANT_FOR]


def is_withheld(connection: sa.Connection, run_key: str) -> bool:
    """Say whether anything of a run's result waits for a permission."""
    return any(row.state == DeliveryState.WITHHELD for row in repository.of_run(connection, run_key))


def is_just_leaving(connection: sa.Connection, run_key: str, now_utc: float) -> bool:
    """Say whether the result was planned a moment ago and is about to be sent: what tells of it would only have to wait for it."""
    rows = of_result(connection, run_key)
    return any(row.state == DeliveryState.QUEUED and 0 <= now_utc - row.planned_utc < _A_MOMENT_SECONDS for row in rows)


def role_for(row: repository.Delivery, number: int) -> str:
    """Return the role that tells of an answer where this was sent; empty: nothing does."""
    if row.media_type == DICOM:
        return f"{ASSESSMENT}:{number}" if row.kind in REPORTS else ""
    if row.media_type == HL7:
        return f"{ASSESSMENT_MESSAGE}:{number}"
    variant = row.role.partition(":")[2]
    return f"{ASSESSMENT_REPORT}:{number}" + (f":{variant}" if variant else "")


def roles_wanted(
    connection: sa.Connection, run_key: str, destinations: Mapping[str, DestinationSettings], number: int
) -> dict[str, list[str]]:
    """Return, by destination, the roles that tell of an answer there."""
    wanted: dict[str, list[str]] = {}
    for row in of_result(connection, run_key):
        settings = destinations.get(row.destination)
        role = role_for(row, number) if settings is not None and settings.assessments else ""
        if role and role not in wanted.setdefault(row.destination, []):
            wanted[row.destination].append(role)
    return {name: roles for name, roles in wanted.items() if roles}


def plan_roles(
    connection: sa.Connection, run: RunRequest, wanted: Mapping[str, Iterable[str]], submit: Submit
) -> dict[str, list[str]]:
    """Plan them, in the caller's transaction; return what is new. The artifacts' rows are there; a role without one is left out.

    An earlier message or report that has not been sent is cancelled: what is sent last must be the newest. An earlier object is
    sent all the same: the newer one names it.
    """
    ids = repository.artifact_ids(connection, run.run_key)
    planned: dict[str, list[str]] = {}
    for destination, roles in wanted.items():
        for role in roles:
            if role not in ids:
                continue
            key = repository.delivery_id(ids[role], destination)
            values = {
                "delivery_id": key,
                "artifact_id": ids[role],
                "run_key": run.run_key,
                "study_key": run.study_key,
                "destination": destination,
                "state": str(DeliveryState.QUEUED),
                "attempt": 1,
                "planned_utc": time.time(),
                "detail": "",
            }
            if repository.insert(connection, values):
                submit(connection, key, 1, destination, int(run.priority), 0.0)
                planned.setdefault(destination, []).append(role)
    for row in repository.of_run(connection, run.run_key):
        overtaken = any(told_number(row.role) < told_number(role) for role in planned.get(row.destination, ()))
        if overtaken and tells_of_answer(row.role) and row.media_type in (FHIR, HL7):
            values = {"state": str(DeliveryState.CANCELLED), "next_attempt_utc": None}
            why = "A newer answer was given before it was sent."
            if repository.update_if(connection, row.delivery_id, repository.OPEN, **values, detail=why):
                text = f"{words([row.kind])} for {row.destination} replaced before it was sent."
                tell(connection, row.study_key, "delivery", "delivery.cancelled", text)
    return planned
