"""One attempt: who is asked before it, what is against it, what comes of it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core import withdrawal
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.delivery import DeliveryState, Outcome, Receipt
from dicom_node.core.errors import AssociationRejected, DimseFailure, Hl7Nack, HttpFailure, NodeError, PeerError, PeerUnreachable
from dicom_node.core.feedback import tells_of_answer
from dicom_node.delivery import repository
from dicom_node.delivery.plan import too_late, words
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.plugins import load_kind
from dicom_node.store.connect import reading
from dicom_node.store.standing import objection
from dicom_node.store.story import tell

#: Asked with a study's key before anything of it is sent: it holds the study when it is another patient's by now, and raises
#: ``PeerError`` when that cannot be told yet.
Guard = Callable[[str], object]

#: One semaphore a destination. The engine's limit is one number for all of them, so the smaller ones are kept here.
Turns = Mapping[str, AbstractContextManager[object]]

#: Says whether the radiologist's final report for a study is known.
Reported = Callable[[sa.Connection, str], bool]

ROOM = "delivery"
SENDABLE = (DeliveryState.QUEUED, DeliveryState.WAITING)


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
    with reading(database) as connection:
        row = repository.load(connection, delivery_id)
    with (turns or {}).get(row.destination) or contextlib.nullcontext():  # first: nothing may change between asking and sending
        unasked = _ask_guard(row, attempt, guard)
        if unasked is not None:
            return unasked
        with database.begin() as connection:
            row = repository.load(connection, delivery_id, lock=True)
            unsent = _unsent(connection, row, attempt, reported)
        if unsent is not None:
            return unsent
        return _sent(row, attempt, destinations.get(row.destination), results_root)


def _unsent(connection: sa.Connection, row: repository.Delivery, attempt: int, reported: Reported | None) -> Receipt | None:
    """Return the receipt of what must not go out, after writing why; ``None`` when it goes: the peer may have it from now on."""
    if row.state not in SENDABLE or row.attempt != attempt:
        return Receipt(Outcome.DELIVERED if row.state in repository.TAKEN else Outcome.REJECT, row.detail)
    may_have_it = row.begun_utc is not None
    if row.role in withdrawal.ROLES and row.media_type != DICOM and (later := repository.updates_of(connection, row)):
        if all(one.state not in repository.TAKEN for one in later):
            return Receipt(Outcome.RETRY, "A later result is on its way there.", in_doubt=may_have_it)
        return _stopped(connection, row, DeliveryState.CANCELLED, "A later result has updated it there.")
    against = _objection(connection, row)
    if against:
        return _stopped(connection, row, DeliveryState.CANCELLED, against)
    late = _too_late(connection, row, reported)
    if late:
        return _stopped(connection, row, DeliveryState.WITHHELD, late)
    if tells_of_answer(row.role) and (too_early := _without_result(connection, row)) is not None:
        return too_early
    if not repository.begin(connection, row.delivery_id, attempt, time.time()):
        return Receipt(Outcome.REJECT, "Cancelled in this moment.")
    return None


def _without_result(connection: sa.Connection, row: repository.Delivery) -> Receipt | None:
    """Return the receipt of an answer whose result is not there, or not there any more; ``None`` when it is there."""
    in_doubt = row.begun_utc is not None
    if row.media_type != DICOM and repository.updates_of(connection, row):
        return _stopped(connection, row, DeliveryState.CANCELLED, "A later result has updated it there.")
    states = {one.state for one in repository.result_at(connection, row)}
    if states.intersection(repository.TAKEN):
        return None
    if states.intersection(SENDABLE):
        return Receipt(Outcome.RETRY, "The result that it is about is on its way there.", in_doubt=in_doubt)
    return Receipt(Outcome.REJECT, "The result that it is about is not there: send that first.", in_doubt=in_doubt)


def _stopped(connection: sa.Connection, row: repository.Delivery, state: DeliveryState, why: str) -> Receipt:
    repository.update(connection, row.delivery_id, state=str(state), next_attempt_utc=None, detail=why)
    text = f"Not sent: {words([row.role])} to {row.destination}. {why}"
    tell(connection, row.study_key, ROOM, f"delivery.{state.value}", text)
    return Receipt(Outcome.REJECT, why)


def _sent(row: repository.Delivery, attempt: int, settings: DestinationSettings | None, results_root: Path) -> Receipt:
    """Send it; ``row`` is as it was before this attempt began."""
    earlier = row.begun_utc is not None  # an earlier attempt may have reached the peer, whatever this one comes to
    if settings is None:
        gone = f'Destination "{row.destination}" is not in the configuration any more.'
        return Receipt(Outcome.REJECT, gone, in_doubt=earlier)
    started = time.monotonic()
    receipt = _attempt(row, settings, results_root)
    if earlier:
        receipt = dataclasses.replace(receipt, in_doubt=True)
    log.event(
        "delivery.attempted",
        study=row.study_key,
        run=row.run_key,
        delivery=row.delivery_id,
        destination=row.destination,
        kind=row.kind,
        attempt=attempt,
        outcome=str(receipt.outcome),
        seconds=round(time.monotonic() - started, 3),
    )
    return receipt


def _ask_guard(row: repository.Delivery, attempt: int, guard: Guard | None) -> Receipt | None:
    """Let the guard look at the study; a receipt when it cannot say yet whose it is. Withdrawals are not asked about."""
    if guard is None or row.state not in SENDABLE or row.attempt != attempt or row.role in withdrawal.ROLES:
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
    if tells_of_answer(row.role):  # a radiologist answers while or after reporting; it adds to what the receiver has of us
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
        return not 400 <= error.status < 500
    return not isinstance(error, (AssociationRejected, DimseFailure, Hl7Nack, PeerUnreachable))
