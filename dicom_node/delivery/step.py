"""The room's door: plan deliveries, make one attempt, settle it, list and mend.

Rows and the work that acts on them are written in one transaction: a power cut leaves both or neither. One attempt is one
workflow, so a destination that is down holds nobody else's place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.core import withdrawal
from dicom_node.core.artifact import Artifact
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.run import RunRequest
from dicom_node.delivery import repository
from dicom_node.delivery.attempt import ROOM, Guard, Reported, Turns, attempt_delivery, make_turns
from dicom_node.delivery.plan import Destination, plan, roles_wanted, words
from dicom_node.delivery.repository import Gone, Submit
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.delivery.settle import resubmit_lost, retry_dead, settle_delivery, unfinished
from dicom_node.plugins import load_kind
from dicom_node.store.story import tell, tell_once

__all__ = [
    "Gone",
    "Guard",
    "Reported",
    "Submit",
    "Turns",
    "attempt_delivery",
    "check_destination",
    "count_deliveries",
    "describe_destination",
    "list_deliveries",
    "make_turns",
    "places",
    "plan_deliveries",
    "resubmit_lost",
    "retry_dead",
    "settle_delivery",
    "unfinished",
    "wanted_roles",
]


def places(destinations: Mapping[str, DestinationSettings]) -> dict[str, Destination]:
    """Return destinations as planning sees them."""
    return {name: Destination(s, tuple(load_kind("destination", s.kind).MEDIA_TYPES)) for name, s in destinations.items()}


def wanted_roles(rule_outputs: Sequence[str], destinations: Mapping[str, DestinationSettings]) -> tuple[str, ...]:
    """Return the roles that results must build for these destinations, narrowed by the rule's outputs."""
    return roles_wanted(rule_outputs, places(destinations).values())


def plan_deliveries(
    connection: sa.Connection,
    run: RunRequest,
    evidence: str,
    artifacts: Iterable[Artifact],
    destinations: Mapping[str, DestinationSettings],
    submit: Submit,
    *,
    reported: bool = False,
) -> None:
    """Write the delivery rows of a run and submit the first attempts, in the caller's transaction; repeating it adds nothing.

    The artifacts' rows are there already. Unsent deliveries of an earlier revision are cancelled: what is sent last must be the
    newest, since a FHIR report or an OBX is updated in place. ``reported``: the radiologist's final report is known.
    """
    chosen = {name: destinations[name] for name in run.destinations if name in destinations}
    for name in run.destinations:
        if name not in destinations:
            text = f'Destination "{name}" is not in the configuration any more: nothing is sent there.'
            tell_once(connection, run.study_key, ROOM, "delivery.skipped", text)
    late = repository.has_later(connection, run.study_key, run.pipeline, run.revision)
    ids = repository.artifact_ids(connection, run.run_key)
    now = time.time()
    withheld: dict[tuple[str, str], list[str]] = {}
    for item in plan(run, evidence, artifacts, places(chosen), reported=reported):
        state, detail = item.state, item.detail
        if late:
            state, detail = DeliveryState.CANCELLED, "A newer result replaced this one before it was sent."
        send = state is DeliveryState.QUEUED
        key = repository.delivery_id(ids[item.role], item.destination)
        row = {
            "delivery_id": key,
            "artifact_id": ids[item.role],
            "run_key": run.run_key,
            "study_key": run.study_key,
            "destination": item.destination,
            "state": str(state),
            "attempt": 1 if send else 0,
            "planned_utc": now,
            "detail": detail,
        }
        if not repository.insert(connection, row):
            continue
        if send:
            submit(connection, key, 1, item.destination, int(run.priority), 0.0)
        else:
            withheld.setdefault((item.destination, detail), []).append(item.role)
    for (name, detail), roles in withheld.items():
        tell(connection, run.study_key, ROOM, "delivery.withheld", f"{words(roles)} not sent to {name}: {detail}")
    for old in repository.open_before(connection, run.study_key, run.pipeline, run.revision):
        if old.role in withdrawal.ROLES:  # it goes out, unless the new result has updated what it takes back by then
            continue
        values = {"state": str(DeliveryState.CANCELLED), "next_attempt_utc": None}
        replaced = f"Replaced by result {run.revision} before it was sent."
        if not repository.update_if(connection, old.delivery_id, repository.OPEN, **values, detail=replaced):
            continue
        if old.state != DeliveryState.WITHHELD:
            tell(
                connection,
                run.study_key,
                ROOM,
                "delivery.cancelled",
                f"{words([old.role])} for {old.destination} replaced before it was sent.",
            )


def list_deliveries(
    connection: sa.Connection, *, study_key: str = "", states: Sequence[str] = (), destination: str = ""
) -> list[repository.Delivery]:
    """Return deliveries for the command line and the pages, oldest first."""
    return repository.listed(connection, study_key=study_key, states=states, destination=destination)


def count_deliveries(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """Return the number of deliveries by destination and state, for the metrics."""
    return repository.counted(connection)


def check_destination(settings: DestinationSettings, sop_class_uids: tuple[str, ...] = ()) -> list[str]:
    """Ask a destination whether it would take objects of these SOP classes; return the problems, empty when there are none."""
    problems: list[str] = _kind(settings).check(settings, sop_class_uids)
    return problems


def describe_destination(settings: DestinationSettings) -> str:
    """Say in one sentence where a destination is."""
    sentence: str = _kind(settings).describe(settings)
    return sentence


def _kind(settings: DestinationSettings) -> Any:
    return load_kind("destination", settings.kind)
