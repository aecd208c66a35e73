"""The room's door: plan deliveries, make one attempt, settle it, list and mend.

Rows and the work that acts on them are written in one transaction: a power cut leaves both or neither. One attempt is one
workflow, so a destination that is down holds nobody else's place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core import withdrawal
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.delivery import DELIVERED, DeliveryState, Outcome, Proof, Receipt
from dicom_node.core.errors import AssociationRejected, DimseFailure, Hl7Nack, HttpFailure, NodeError, PeerError, PeerUnreachable
from dicom_node.core.run import RunRequest
from dicom_node.delivery import repository, withdraw
from dicom_node.delivery.plan import Destination, plan, roles_wanted, too_late
from dicom_node.delivery.proof import first_question_seconds, wanted_proof
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.engine.retry import next_delay_seconds
from dicom_node.plugins import load_kind
from dicom_node.store.connect import reading
from dicom_node.store.standing import objection
from dicom_node.store.story import read_story, tell

#: Puts one attempt into the queue of its destination: connection, delivery id, attempt, destination, priority, delay in seconds.
Submit = Callable[[sa.Connection, str, int, str, int, float], None]

#: Asked with a study's key before anything of it is sent: it holds the study when it is another patient's by now, and raises
#: ``PeerError`` when that cannot be told yet.
Guard = Callable[[str], object]

#: One semaphore a destination. The engine's limit is one number for all of them, so the smaller ones are kept here.
Turns = Mapping[str, AbstractContextManager[object]]

#: Says whether the radiologist's final report for a study is known.
Reported = Callable[[sa.Connection, str], bool]

ROOM = "delivery"
GRACE_SECONDS = 5.0
_SENDABLE = (DeliveryState.QUEUED, DeliveryState.WAITING)


def _places(destinations: Mapping[str, DestinationSettings]) -> dict[str, Destination]:
    return {name: Destination(s, tuple(load_kind("destination", s.kind).MEDIA_TYPES)) for name, s in destinations.items()}


def wanted_roles(rule_outputs: Sequence[str], destinations: Mapping[str, DestinationSettings]) -> tuple[str, ...]:
    """Return the roles that results must build for these destinations, narrowed by the rule's outputs."""
    return roles_wanted(rule_outputs, _places(destinations).values())


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
            _tell_once(
                connection,
                run.study_key,
                "delivery.skipped",
                f'Destination "{name}" is not in the configuration any more: nothing is sent there.',
            )
    late = repository.has_later(connection, run.study_key, run.pipeline, run.revision)
    ids = repository.artifact_ids(connection, run.run_key)
    now = time.time()
    withheld: dict[tuple[str, str], list[str]] = {}
    for item in plan(run, evidence, artifacts, _places(chosen), reported=reported):
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
        tell(connection, run.study_key, ROOM, "delivery.withheld", f"{_words(roles)} not sent to {name}: {detail}")
    of_study = repository.study_revision(connection, run.run_key)
    for old in repository.open_before(connection, run.study_key, run.pipeline, run.revision):
        # a withdrawal goes out, unless the new result updates the very message that it would take back
        if old.role in withdrawal.ROLES and (old.media_type == DICOM or old.study_revision != of_study):
            continue
        repository.update(
            connection,
            old.delivery_id,
            state=str(DeliveryState.CANCELLED),
            next_attempt_utc=None,
            detail=f"Replaced by result {run.revision} before it was sent.",
        )
        if old.state != DeliveryState.WITHHELD:
            tell(
                connection,
                run.study_key,
                ROOM,
                "delivery.cancelled",
                f"{_words([old.role])} for {old.destination} replaced before it was sent.",
            )


def make_turns(destinations: Mapping[str, DestinationSettings]) -> Turns:
    """Return what keeps attempts at once within each destination's own ``max_concurrent``, in this process."""
    return {name: threading.BoundedSemaphore(settings.max_concurrent) for name, settings in destinations.items()}


def attempt_delivery(
    database: sa.Engine,
    delivery_id: str,
    attempt: int,
    destinations: Mapping[str, DestinationSettings],
    results_root: Path,
    turns: Turns | None = None,
    guard: Guard | None = None,
    reported: Reported | None = None,
) -> Receipt:
    """Make one attempt; whatever goes wrong becomes a receipt. It waits for its turn at the destination (``max_concurrent``).

    A delivery that is settled or cancelled, or an attempt that is not the current one, sends nothing. One whose study was
    corrected, or is held for a person, since it was planned is cancelled here; ``guard`` holds it when the patient is in doubt. One
    that comes after the radiologist's final report (``reported``) is withheld as its rule says.
    """
    unasked = _ask_guard(database, delivery_id, attempt, guard) if guard else None
    if unasked is not None:
        return unasked
    with database.begin() as connection:
        row = repository.load(connection, delivery_id)
        if row.state not in _SENDABLE or row.attempt != attempt:
            done = row.state in (*DELIVERED, DeliveryState.SENT)
            return Receipt(Outcome.DELIVERED if done else Outcome.REJECT, row.detail)
        against = _objection(connection, row)
        if against:
            repository.update(connection, delivery_id, state=str(DeliveryState.CANCELLED), next_attempt_utc=None, detail=against)
            text = f"Not sent: {_words([row.role])} to {row.destination}. {against}"
            tell(connection, row.study_key, ROOM, "delivery.cancelled", text)
            return Receipt(Outcome.REJECT, against)
        late = _too_late(connection, row, reported)
        if late:
            repository.update(connection, delivery_id, state=str(DeliveryState.WITHHELD), next_attempt_utc=None, detail=late)
            text = f"{_words([row.role])} not sent to {row.destination}: {late}"
            tell(connection, row.study_key, ROOM, "delivery.withheld", text)
            return Receipt(Outcome.REJECT, late)
        if not repository.begin(connection, delivery_id, attempt, time.time()):
            return Receipt(Outcome.REJECT, "Cancelled in this moment.")
    settings = destinations.get(row.destination)
    if settings is None:
        gone = f'Destination "{row.destination}" is not in the configuration any more.'
        return Receipt(Outcome.REJECT, gone, in_doubt=row.begun_utc is not None)
    started = time.monotonic()
    with (turns or {}).get(row.destination) or contextlib.nullcontext():
        receipt = _attempt(row, settings, results_root)
    if row.begun_utc is not None:  # an earlier attempt may have reached the peer, whatever this one came to
        receipt = dataclasses.replace(receipt, in_doubt=True)
    log.event(
        "delivery.attempted",
        study=row.study_key,
        run=row.run_key,
        delivery=delivery_id,
        destination=row.destination,
        kind=row.kind,
        attempt=attempt,
        outcome=str(receipt.outcome),
        seconds=round(time.monotonic() - started, 3),
    )
    return receipt


def _ask_guard(database: sa.Engine, delivery_id: str, attempt: int, guard: Guard) -> Receipt | None:
    """Let the guard look at the study; a receipt when it cannot say yet whose it is. Withdrawals are not asked about."""
    with reading(database) as connection:
        row = repository.load(connection, delivery_id)
    if row.state not in _SENDABLE or row.attempt != attempt or row.role in withdrawal.ROLES:
        return None
    try:
        guard(row.study_key)
    except PeerError as error:
        return Receipt(Outcome.RETRY, str(error), in_doubt=row.begun_utc is not None)
    return None


def _objection(connection: sa.Connection, row: repository.Delivery) -> str:
    """Say why a result must not go out; against taking one back there is never anything."""
    if row.role in withdrawal.ROLES:
        return ""
    if row.run_state == "withdrawn":
        return "The result was withdrawn."
    return objection(connection, row.study_key, row.study_revision)


def _too_late(connection: sa.Connection, row: repository.Delivery, reported: Reported | None) -> str:
    if reported is None or row.role in withdrawal.ROLES or not reported(connection, row.study_key):
        return ""
    return too_late(row.after_report, row.kind, row.media_type)


def _attempt(row: repository.Delivery, settings: DestinationSettings, results_root: Path) -> Receipt:
    try:
        data = (results_root / row.storage_key).read_bytes()
    except OSError as error:
        return Receipt(Outcome.RETRY, f"The stored result cannot be read ({type(error).__name__}).", in_doubt=False)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        return Receipt(
            Outcome.REJECT,
            "The stored result is damaged: its checksum is not the one recorded when it was made. Run the study again.",
            in_doubt=False,
        )
    artifact = Artifact(row.run_key, row.role, row.media_type, row.identifier, data, row.sop_class_uid, row.refusal)
    try:
        receipt: Receipt = load_kind("destination", settings.kind).send(artifact, settings)
        return receipt
    except PeerError as error:
        return Receipt(Outcome.RETRY if error.temporary else Outcome.REJECT, str(error), in_doubt=_in_doubt(error))
    except NodeError as error:
        return Receipt(Outcome.RETRY if error.temporary else Outcome.REJECT, f"{type(error).__name__}: {error}")
    except (
        Exception
    ) as error:  # the worker's own boundary: a defect of one kind must not end the queue; the text could name a patient
        return Receipt(Outcome.RETRY, f"Unexpected {type(error).__name__} in this node; it is tried again.")


def _in_doubt(error: PeerError) -> bool:
    """Say whether the peer may have the object although the attempt failed: it neither refused it nor was out of reach."""
    if isinstance(error, HttpFailure):
        return error.status >= 500
    return not isinstance(error, (AssociationRejected, DimseFailure, Hl7Nack, PeerUnreachable))


def settle_delivery(
    database: sa.Engine,
    delivery_id: str,
    attempt: int,
    receipt: Receipt,
    destinations: Mapping[str, DestinationSettings],
    submit: Submit,
) -> None:
    """Write what an attempt came to: state, story and, where it failed for now, the next attempt, all in one transaction.

    Settling again changes nothing. A delivery that was cancelled while it was being sent is told as delivered, because it was.
    """
    now = time.time()
    with database.begin() as connection:
        row = repository.load(connection, delivery_id)
        delivered = receipt.outcome in (Outcome.DELIVERED, Outcome.WARNING)
        current = row.attempt == attempt and row.state in _SENDABLE
        overtaken = row.attempt == attempt and row.state == DeliveryState.CANCELLED and delivered
        if not current and not overtaken:
            return
        what = f"{_words([row.role])} to {row.destination}"
        if delivered:
            _settle_taken(connection, row, receipt, destinations.get(row.destination), now, overtaken=overtaken)
            if overtaken and row.run_state == "withdrawn":  # what takes it back may have been there first
                withdraw.send_again(connection, row, submit)
            return
        if not receipt.in_doubt:
            repository.update(connection, delivery_id, begun_utc=None)
        settings = destinations.get(row.destination)
        patience = settings.patience_hours * 3600 if settings else 0.0
        if receipt.outcome is Outcome.REJECT or now - row.planned_utc >= patience:
            why = "" if receipt.outcome is Outcome.REJECT else " (out of patience)"
            repository.update(
                connection, delivery_id, state=str(DeliveryState.DEAD), next_attempt_utc=None, detail=receipt.detail + why
            )
            tell(connection, row.study_key, ROOM, "delivery.parked", f"Not delivered: {what}{why}. {receipt.detail}")
            return
        delay = next_delay_seconds(attempt, delivery_id)
        repository.update(
            connection,
            delivery_id,
            state=str(DeliveryState.WAITING),
            attempt=attempt + 1,
            next_attempt_utc=now + delay,
            detail=receipt.detail,
        )
        if receipt.detail != row.detail:  # a destination that is down for days makes one line, not hundreds
            tell(connection, row.study_key, ROOM, "delivery.waiting", f"Not delivered yet: {what}; tried again. {receipt.detail}")
        submit(connection, delivery_id, attempt + 1, row.destination, row.priority, delay)


def _settle_taken(
    connection: sa.Connection,
    row: repository.Delivery,
    receipt: Receipt,
    settings: DestinationSettings | None,
    now: float,
    *,
    overtaken: bool,
) -> None:
    """The peer took it: delivered, where its answer is the proof; else sent, until the proof is there."""
    warned = receipt.outcome is Outcome.WARNING
    warning = f", with a warning: {receipt.detail}" if warned else "."
    late = " It had been replaced while it was on its way." if overtaken else ""
    what = f"{_words([row.role])} to {row.destination}{warning}{late}"
    values: dict[str, Any] = {"done_utc": now, "detail": receipt.detail}
    wanted = wanted_proof(settings)
    if wanted is Proof.ANSWER:
        values |= {"state": str(DeliveryState.WARNED if warned else DeliveryState.DONE), "next_attempt_utc": None}
        values |= {"proof": str(Proof.ANSWER), "proved_utc": now, "proof_detail": ""}
        tell(connection, row.study_key, ROOM, "delivery.done", f"Delivered: {what}")
    else:
        values |= {"state": str(DeliveryState.SENT), "next_attempt_utc": now + first_question_seconds(settings, row.proof_attempt)}
        values |= {"detail": receipt.detail if warned else "", "proof": "", "proved_utc": None}
        if not row.proof_attempt:  # what is sent again was told already
            tell(connection, row.study_key, ROOM, "delivery.sent", f"Sent, not proven yet: {what}")
    repository.update(connection, row.delivery_id, **values)


def retry_dead(connection: sa.Connection, delivery_ids: Iterable[str] | None, submit: Submit) -> list[str]:
    """Send given-up deliveries again, all or those named, in the caller's transaction; return the ids that were.

    Patience starts anew. One that was sent and is not proven is sent again only when it is named.
    """
    wanted = None if delivery_ids is None else set(delivery_ids)
    again = []
    states = (DeliveryState.DEAD,) if wanted is None else (DeliveryState.DEAD, DeliveryState.SENT)
    for row in repository.listed(connection, states=states):
        if wanted is not None and row.delivery_id not in wanted:
            continue
        attempt = row.attempt + 1
        repository.update(
            connection,
            row.delivery_id,
            state=str(DeliveryState.QUEUED),
            attempt=attempt,
            planned_utc=time.time(),
            next_attempt_utc=None,
            proof_attempt=0,
            proof_detail="",
        )
        tell(
            connection,
            row.study_key,
            ROOM,
            "delivery.retried",
            f"{_words([row.role])} to {row.destination}: a person asked to send it again.",
        )
        submit(connection, row.delivery_id, attempt, row.destination, row.priority, 0.0)
        again.append(row.delivery_id)
    return again


def unfinished(connection: sa.Connection) -> list[repository.Delivery]:
    """Return the deliveries that an attempt must exist for: what a sweep submits again if the engine has lost it."""
    return repository.listed(connection, states=_SENDABLE)


def resubmit_lost(connection: sa.Connection, alive: Collection[str], submit: Submit) -> int:
    """Submit again what is due but has no living workflow (ids in ``alive`` have one); return how many.

    The attempt gets a new number, because the engine runs an id once. A grace of a few seconds leaves alone what is just starting.
    An attempt that is further away than its delay ever was waits for a clock that was set back: it is made now.
    """
    now = time.time()

    def lost(row: repository.Delivery) -> bool:
        due = row.next_attempt_utc or 0.0
        if due > now + next_delay_seconds(max(1, row.attempt - 1), row.delivery_id) + GRACE_SECONDS:
            return True
        return row.delivery_id not in alive and max(row.planned_utc, due) < now - GRACE_SECONDS

    found = [row for row in unfinished(connection) if lost(row)]
    for row in found:
        attempt = row.attempt + 1
        repository.update(connection, row.delivery_id, state=str(DeliveryState.QUEUED), attempt=attempt, next_attempt_utc=None)
        submit(connection, row.delivery_id, attempt, row.destination, row.priority, 0.0)
    return len(found)


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


def _tell_once(connection: sa.Connection, study_key: str, event: str, text: str) -> None:
    if all(line.text != text for line in read_story(connection, study_key)):
        tell(connection, study_key, ROOM, event, text)


def _words(roles: Sequence[str]) -> str:
    return ", ".join(role.replace("_", " ") for role in roles)
