"""Storage commitment at our own port: reports of archives that we asked, and requests of modalities (PS3.4, Annex J).

A modality may delete what we commit to. So a request is written down before it is answered, only what lies on this node's disk is
committed to, and such a study is not deleted by retention (``study.committed_utc``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_node import log
from dicom_node.core.errors import DimseFailure, NodeError, PeerError, PeerTimeout
from dicom_node.delivery import commitment, commitment_report
from dicom_node.delivery import commitment_repository as transactions
from dicom_node.delivery.repository import Submit
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.engine.retry import next_delay_seconds
from dicom_node.network.association import open_association
from dicom_node.network.tls_settings import ClientTls
from dicom_node.store.connect import reading

#: Connection and objects (SOP class, instance) -> Failure Reason by instance, 0 for what is kept. Writes down that it is promised.
Judge = Callable[[sa.Connection, Sequence[tuple[str, str]]], Mapping[str, int]]

SUCCESS, PROCESSING_FAILURE, NO_SUCH_INSTANCE, INVALID_ARGUMENT = 0x0000, 0x0110, 0x0112, 0x0115
NO_SUCH_ACTION, NO_SUCH_EVENT, NOT_AUTHORISED = 0x0123, 0x0113, 0x0124
#: A request may name many objects; one that names more than a large study has is a mistake.
MAX_OBJECTS = 50_000
#: After this the modality has surely been switched off or changed its address.
PATIENCE_SECONDS = 72 * 3600.0
#: A report on the same association leaves after the answer to the request has.
_AFTER_ANSWER_SECONDS = 0.5
#: Later it cannot be sent there any more.
_OTHERWISE_SECONDS = 60.0
_TIMEOUT_SECONDS = 30.0
_GONE = "The association of the request ended before the report."


@dataclass(frozen=True)
class Modality:
    """Where the report of a sender's request goes. ``port`` ``None``: back on the association of the request."""

    ae_title: str
    host: str
    port: int | None
    tls: ClientTls | None = None


def report_taker(database: sa.Engine, destinations: Mapping[str, DestinationSettings], submit: Submit) -> Callable[[Any], Dataset]:
    """Return what takes an N-EVENT-REPORT event and answers it; success only after it is written down."""

    def take(event: Any) -> Dataset:
        if int(event.event_type or 0) not in (commitment.ALL_COMMITTED, commitment.FAILURES_EXIST):
            return _answer(NO_SUCH_EVENT, "There is no such event type")
        try:
            report = commitment.read_report(event.event_information)
        except Exception as error:  # a data set of a stranger: whatever is wrong with it, it is answered
            log.event("commitment.refused", error=type(error).__name__)
            return _answer(INVALID_ARGUMENT, "The report cannot be read")
        try:
            with database.begin() as connection:
                ours = commitment_report.take_report(connection, report, destinations, submit)
        except sa.exc.SQLAlchemyError as error:
            log.event("commitment.not_recorded", error=type(error).__name__)
            return _answer(PROCESSING_FAILURE, "The report cannot be recorded now; report again")
        if not ours:
            log.event("commitment.refused", reason="unknown transaction")
            return _answer(INVALID_ARGUMENT, "This node did not ask under that Transaction UID")
        return _answer(SUCCESS, "")

    return take


def handlers(
    database: sa.Engine, modalities: Mapping[str, Modality], judge: Judge, take: Callable[[Any], Dataset]
) -> list[tuple[Any, Callable[[Any], tuple[Dataset, None]]]]:
    """Return pynetdicom's event handlers for our storage SCP.

    Parameters
    ----------
    modalities
        Who may ask us, by AE title.
    take
        Made by ``report_taker``.
    """

    def on_request(event: Any) -> tuple[Dataset, None]:
        request = event.assoc.requestor.primitive
        calling, called = str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()
        answer, transaction = _take_request(database, event, calling, called, modalities)
        if transaction and modalities[calling].port is None:
            arguments = (database, event.assoc, transaction, judge)
            threading.Thread(target=_report_here, args=arguments, name="commitment", daemon=True).start()
        return answer, None

    return [(evt.EVT_N_ACTION, on_request), (evt.EVT_N_EVENT_REPORT, lambda event: (take(event), None))]


def _take_request(
    database: sa.Engine, event: Any, calling: str, called: str, modalities: Mapping[str, Modality]
) -> tuple[Dataset, str]:
    """Write a request down; return the answer, and the Transaction UID if it was taken."""
    if str(event.request.RequestedSOPInstanceUID) != commitment.SOP_INSTANCE:
        return _answer(NO_SUCH_INSTANCE, "Not the storage commitment SOP instance"), ""
    if int(event.action_type or 0) != commitment.REQUEST_ACTION:
        return _answer(NO_SUCH_ACTION, "There is no such action"), ""
    if calling not in modalities:
        log.event("commitment.refused", calling_ae=calling, reason="not allowed by reception.peers")
        return _answer(NOT_AUTHORISED, "This node commits to nothing for this AE title"), ""
    try:
        request = commitment.read_request(event.action_information)
    except Exception as error:  # as above
        log.event("commitment.refused", calling_ae=calling, error=type(error).__name__)
        return _answer(INVALID_ARGUMENT, "The request cannot be read, or names no object"), ""
    if len(request.objects) > MAX_OBJECTS:
        return _answer(INVALID_ARGUMENT, f"More than {MAX_OBJECTS} objects in one request"), ""
    items = {"called_ae": called, "objects": [list(pair) for pair in request.objects]}
    try:
        with database.begin() as connection:
            due = time.time() + (_OTHERWISE_SECONDS if modalities[calling].port is None else 0.0)
            if not _written_down(connection, request.transaction_uid, calling, items, due):
                return _answer(PROCESSING_FAILURE, "The Transaction UID is in use by another system"), ""
    except sa.exc.SQLAlchemyError as error:
        log.event("commitment.not_recorded", calling_ae=calling, error=type(error).__name__)
        return _answer(PROCESSING_FAILURE, "The request cannot be recorded now; ask again"), ""
    log.event("commitment.requested", calling_ae=calling, count=len(request.objects))
    return _answer(SUCCESS, ""), request.transaction_uid


def _written_down(connection: sa.Connection, transaction: str, calling: str, items: Mapping[str, Any], due_utc: float) -> bool:
    """Insert the request. One that uses its Transaction UID again, as some modalities do, is reported on anew."""
    now = time.time()
    if transactions.insert(connection, transaction, transactions.ANSWERED, calling, items, now, due_utc):
        return True
    known = transactions.locked(connection, transaction, transactions.ANSWERED)
    if known is None or known.peer != calling:
        return False
    values = {"state": transactions.OPEN, "items": items, "requested_utc": now, "next_attempt_utc": due_utc, "attempt": 0}
    transactions.update(connection, transaction, **values, reported_utc=None, detail="")
    return True


def send_reports(database: sa.Engine, modalities: Mapping[str, Modality], judge: Judge) -> int:
    """Report what is due to the modalities that asked, each on an association of its own; return how many were told."""
    now = time.time()
    with reading(database) as connection:
        due = transactions.due_answers(connection, now)
    told, down = 0, set()
    for row in due:
        modality = modalities.get(row.peer)
        if row.peer in down:
            continue
        if modality is None or modality.port is None:
            why = _GONE if modality else "The system may not ask any more: see reception.peers."
            _close(database, row, transactions.UNDELIVERABLE, why)
            continue
        try:
            with _associated(modality, str(row._mapping["items"]["called_ae"])) as association:
                _report(database, row, association, judge)
        except Exception as error:  # broad on purpose: a system that behaves oddly must not keep the others from their reports
            down.add(row.peer)
            _later(database, row, str(error) if isinstance(error, NodeError) else f"Unexpected {type(error).__name__}.", now)
        else:
            told += 1
    return told


def _report_here(database: sa.Engine, association: Any, transaction: str, judge: Judge) -> None:
    """Report on the association that brought the request, once its answer has left."""
    time.sleep(_AFTER_ANSWER_SECONDS)
    try:
        with reading(database) as connection:
            row = transactions.read(connection, transaction)
        if not association.is_established:
            raise PeerTimeout(_GONE)
        _report(database, row, association, judge)
    except Exception as error:  # a thread of its own, and nobody to tell: the row stays, ``send_reports`` closes it
        log.event("commitment.not_reported", error=type(error).__name__)


def _associated(modality: Modality, our_ae: str) -> Any:
    return open_association(
        host=modality.host,
        port=modality.port or 0,
        called_ae=modality.ae_title,
        calling_ae=our_ae,
        contexts=[(commitment.SOP_CLASS, commitment.TRANSFER_SYNTAXES)],
        roles=[(commitment.SOP_CLASS, False, True)],
        timeout_seconds=_TIMEOUT_SECONDS,
        tls=modality.tls,
    )


def _report(database: sa.Engine, row: Any, association: Any, judge: Judge) -> None:
    """Say what is kept and what is not; the promise is written down first.

    Raises
    ------
    PeerError
        The modality did not take the report.
    """
    objects = [(str(sop_class), str(instance)) for sop_class, instance in row._mapping["items"]["objects"]]
    if not any(context.abstract_syntax == commitment.SOP_CLASS for context in association.accepted_contexts):
        raise PeerError("The system does not take reports of storage commitment.")
    with database.begin() as connection:
        verdicts = judge(connection, objects)
    classes = {instance: sop_class for sop_class, instance in objects}
    kept = {instance: sop_class for instance, sop_class in classes.items() if verdicts[instance] == 0}
    failed = {instance: reason for instance, reason in verdicts.items() if reason}
    report = commitment.Report(row.transaction_uid, kept, failed)
    event_type, data = commitment.report_dataset(report, classes)
    try:
        answer, _ = association.send_n_event_report(data, event_type, commitment.SOP_CLASS, commitment.SOP_INSTANCE)
    except ValueError as error:  # the context was accepted for the other role
        raise PeerError("The system does not take reports of storage commitment.") from error
    if "Status" not in answer:
        raise PeerTimeout("The system did not answer the report.")
    if int(answer.Status) != SUCCESS:
        raise DimseFailure(
            f"The system refused the report (0x{int(answer.Status):04X}).", status=int(answer.Status), temporary=True
        )
    _close(database, row, transactions.REPORTED, f"{len(kept)} committed, {len(failed)} not")
    log.event("commitment.answered", peer=row.peer, count=len(kept), outcome=f"{len(failed)} not kept")


def _close(database: sa.Engine, row: Any, state: str, detail: str) -> None:
    values = {"state": state, "next_attempt_utc": None, "detail": detail, "reported_utc": time.time()}
    with database.begin() as connection:
        transactions.update(connection, row.transaction_uid, **values)


def _later(database: sa.Engine, row: Any, why: str, now: float) -> None:
    """Report again later, at last give up: the modality has nothing in its hands and will ask again."""
    attempt = row.attempt + 1
    log.event("commitment.not_reported", peer=row.peer, attempt=attempt, reason=why)
    if now - row.requested_utc > PATIENCE_SECONDS:
        _close(database, row, transactions.UNDELIVERABLE, f"{why} Given up after {attempt} attempts.")
        return
    later = now + next_delay_seconds(attempt, row.transaction_uid)
    with database.begin() as connection:
        transactions.update(connection, row.transaction_uid, attempt=attempt, next_attempt_utc=later, detail=why)


def _answer(status: int, comment: str) -> Dataset:
    made = Dataset()
    made.Status = status
    if comment:
        made.ErrorComment = comment
    return made
