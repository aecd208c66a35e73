"""The room's door: take one message and answer it; what is known of a patient, an order, a laboratory."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from dicom_node import log
from dicom_node.core.identifiers import patient_key
from dicom_node.core.phi import Phi
from dicom_node.core.result_message import ReportText, ResultMessage
from dicom_node.orders import laboratory, repository
from dicom_node.orders.acknowledgement import acknowledge
from dicom_node.orders.laboratory import Changed
from dicom_node.orders.messages import HANDLERS
from dicom_node.orders.messages.contract import Context, Merge, Taken, ignored
from dicom_node.orders.reading import Hl7Message, Refused, read_message
from dicom_node.orders.settings import OrdersSettings
from dicom_node.store.connect import reading

_AGAIN = "The message cannot be kept for now; send it again."


@dataclass(frozen=True)
class Inbox:
    """Where messages go.

    ``merged`` is called with each merge, in the transaction that keeps it: what it means for studies is not this room's to know.
    ``answered`` likewise with what somebody else says of this node's results, and with the message's SHA-256; it returns whether
    anything was kept, and in a sentence without identifiers what became of it. ``values_changed`` likewise with what it changed
    of the laboratory values that are known.
    """

    database: sa.Engine
    settings: OrdersSettings
    timezone: dt.tzinfo
    own_application: str
    merged: Callable[[sa.Connection, Merge], None]
    answered: Callable[[sa.Connection, tuple[ResultMessage | ReportText, ...], str], tuple[bool, str]] = lambda *_: (False, "")
    values_changed: Callable[[sa.Connection, Changed], None] = lambda *_: None


def take(inbox: Inbox, data: bytes) -> bytes | None:
    """Take one message and return its acknowledgement (``None``: the sender wants none). Never raises.

    ``AA`` is returned after the commit of all that the message changes; the same message again changes nothing and is ``AA``.
    ``AE``: not now (database), ``AR``: not ever, with the reason in words.
    """
    started = time.monotonic()
    message: Hl7Message | None = None
    try:
        message = read_message(data, inbox.settings.listener.character_set if inbox.settings.listener else "")
        taken = _keep(inbox, message, hashlib.sha256(data).hexdigest())
        code, words, error = "AA", "", ""
        state = taken.state
    except Refused as refusal:
        code, words, error, state = "AR", refusal.words, refusal.error, "refused"
        _keep_refusal(inbox, message, data, refusal.words)
    except SQLAlchemyError as failure:
        code, words, error, state = "AE", _AGAIN, "207", "put_off"
        log.event("orders.put_off", error=type(failure).__name__)
    except Exception as defect:  # a handler's defect: told to the sender, who keeps the message; the text could quote it
        code, words, error, state = "AE", "The message cannot be taken for a technical reason.", "207", "failed"
        log.event("orders.failed", error=type(defect).__name__)
    kind = message.type if message and message.type in HANDLERS else "other"
    log.event("orders.message", kind=kind, state=state, outcome=code, seconds=round(time.monotonic() - started, 3))
    return acknowledge(message, code, words, error)


def _keep(inbox: Inbox, message: Hl7Message, sha256: str) -> Taken:
    """Apply the message and write its row, in one transaction."""
    if not message.control_id:
        raise Refused("MSH-10 (message control ID) is missing.", "101")
    if message.header.value(11) not in ("", "P"):
        raise Refused("MSH-11 says that this is no production message.", "202")
    identity = message.sender, message.control_id, sha256
    now = time.time()
    context = Context(inbox.settings, inbox.timezone, now, inbox.own_application)
    handler = HANDLERS.get(message.type)
    try:
        with inbox.database.begin() as connection:
            if repository.message_state(connection, *identity) in ("applied", "ignored"):
                return ignored("The message came before.")
            taken = handler(connection, message, context) if handler else ignored("A kind of message that changes nothing here.")
            if taken.told:
                kept, words = inbox.answered(connection, taken.told, sha256)
                text = " ".join(one for one in (taken.text, words) if one)
                taken = dataclasses.replace(taken, text=text, state="applied" if kept else taken.state)
            values: dict[str, Any] = {"received_utc": now, "type": message.type, "state": taken.state, "text": taken.text}
            repository.keep_message(connection, *identity, **values)
            for merge in taken.merges:
                inbox.merged(connection, merge)
            for changed in taken.values:
                inbox.values_changed(connection, changed)
    except IntegrityError:
        with reading(inbox.database) as connection:
            if repository.message_state(connection, *identity) not in ("applied", "ignored"):
                raise
        return ignored("The message came over another connection at the same moment.")
    return taken


def _keep_refusal(inbox: Inbox, message: Hl7Message | None, data: bytes, words: str) -> None:
    """Write that a message was refused; its sender is told in any case."""
    identity = (message.sender, message.control_id) if message else ("", "")
    values: dict[str, Any] = {
        "received_utc": time.time(),
        "type": message.type if message else "",
        "state": "refused",
        "text": words,
    }
    with contextlib.suppress(SQLAlchemyError), inbox.database.begin() as connection:
        repository.keep_message(connection, *identity, hashlib.sha256(data).hexdigest(), **values)


class PatientNow(NamedTuple):
    """What the hospital's messages say of a patient. Empty: not said."""

    merged_into: Phi  # key of the surviving patient (``core.identifiers.patient_key``)
    birth_date: Phi  # DA
    sex: str
    merged_utc: float  # when the merge was told; 0: no merge


class Order(NamedTuple):
    """What they say of an order. Empty: not said."""

    patient: Phi  # key of the patient
    priority: str  # stat | urgent | routine
    indication: Phi
    procedure: str
    report_status: str  # OBR-25 of the RIS

    @property
    def report_final(self) -> bool:
        """Whether the radiologist's report is there: final, or corrected after it."""
        return self.report_status in ("F", "C")


class LabResult(NamedTuple):
    """One final laboratory value."""

    code: str  # code^scheme, e.g. 543-9^LN
    value: str
    unit: str
    status: str  # F | C
    observed_utc: float | None
    source: str = "hl7"  # hl7 | fhir
    number: int = 0  # of its row: later ones are higher


def patient_now(connection: sa.Connection, patient_id: str, issuer: str = "") -> PatientNow | None:
    """Return what is known of the patient that a header names; ``None`` for nothing.

    An issuer that is not known on either side fits any. What several records contradict each other in is not said; a merge of
    any of them counts.
    """
    if not str.__str__(patient_id).strip():
        return None
    rows = repository.patient_rows(connection, patient_id, issuer)
    if not rows:
        return None
    merged = [(row.changed_utc, repository.survivor(connection, row.patient)) for row in rows if row.merged_into]
    moved = max((one for one in merged if one[1].partition("|")[0] != rows[0].patient.partition("|")[0]), default=(0.0, ""))
    return PatientNow(Phi(moved[1]), Phi(_agreed(rows, "birth_date")), _agreed(rows, "sex"), moved[0])


def _agreed(rows: list[Any], name: str) -> str:
    said = {getattr(row, name) for row in rows} - {""}
    return str(said.pop()) if len(said) == 1 else ""


def numbers_of(connection: sa.Connection, patient_id: str, issuer: str = "") -> set[str]:
    """Return the Patient IDs, as compared, that the hospital's messages make one person with this one; always the ID itself.

    Records that were merged into it, and those that it was merged into, are the same person.
    """
    return {key.partition("|")[0] for key in keys_of(connection, patient_id, issuer)}


def keys_of(connection: sa.Connection, patient_id: str, issuer: str = "") -> set[str]:
    """Return the keys (``core.identifiers.patient_key``) of all records that are one person with this one."""
    if not str.__str__(patient_id).strip():
        return set()
    known = [row.patient for row in repository.patient_rows(connection, patient_id, issuer)]
    mine = patient_key(patient_id, issuer)
    return repository.merged_keys(connection, [*known, mine, patient_key(patient_id)]) | {mine}


def keys_of_issuer(connection: sa.Connection, patient_id: str, issuer: str) -> set[str]:
    """As ``keys_of``, but where another issuer is named it is another person: what is erased must surely be theirs."""
    mine = {patient_key(patient_id, issuer), patient_key(patient_id)}
    return repository.merged_keys(connection, mine) | mine


def knows(connection: sa.Connection, keys: Collection[str]) -> bool:
    """Say whether the messages told anything of a person with one of these keys."""
    return repository.is_known(connection, keys)


def forget_person(connection: sa.Connection, keys: Collection[str]) -> int:
    """Remove what the messages told of a person, under all of these keys; return how many rows."""
    return repository.forget(connection, keys)


def forget_order(connection: sa.Connection, accession_number: str, keys: Collection[str]) -> int:
    """Remove what they told of an order, as far as it is of one of these patients, or of nobody named; return how many rows."""
    return repository.forget_order(connection, accession_number.strip(), {key.partition("|")[0] for key in keys})


def order_of(connection: sa.Connection, accession_number: str, patient_id: str = "", issuer: str = "") -> Order | None:
    """Return what is known of the order with this accession number; ``None`` for nothing.

    Parameters
    ----------
    patient_id, issuer
        Where given: an order of another patient (two RIS use the same number) is none.
    """
    number = str.__str__(accession_number).strip()
    row = repository.order_row(connection, number) if number else None
    if row is None or (row.patient and str.__str__(patient_id).strip() and not _same(connection, row.patient, patient_id, issuer)):
        return None
    return Order(Phi(row.patient), row.priority, Phi(row.indication), row.procedure, row.report_status)


def _same(connection: sa.Connection, key: str, patient_id: str, issuer: str) -> bool:
    """Say whether a key and a header may mean the same patient, merges followed; an unknown issuer fits any."""
    known = (row.patient for row in repository.patient_rows(connection, patient_id, issuer))
    mine = {repository.survivor(connection, one) for one in (patient_key(patient_id, issuer), *known)}
    number, _, authority = repository.survivor(connection, key).partition("|")
    return any(n == number and (not a or not authority or a == authority) for n, _, a in (one.partition("|") for one in mine))


def labs_of(connection: sa.Connection, patient_id: str, issuer: str = "", until: int | None = None) -> list[LabResult]:
    """Return the laboratory values of a patient that hold, those of records merged with it too, oldest first.

    Parameters
    ----------
    until
        Where given: as it was when the row of this number was the newest.
    """
    found = laboratory.labs_standing(connection, lab_keys(connection, patient_id, issuer), until)
    return [LabResult(r.code, r.value, r.unit, r.status, r.observed_utc, r.source, r.number) for r in found]


def lab_keys(connection: sa.Connection, patient_id: str, issuer: str = "") -> set[str]:
    """Return the keys of the records whose laboratory values are this patient's, merges followed; none where that is uncertain."""
    return laboratory.lab_keys(connection, patient_id, issuer)


def one_person(connection: sa.Connection, key: str) -> set[str]:
    """Return the keys of all records that the hospital made one with this one, and its own."""
    return repository.merged_keys(connection, [key]) | {key}


def newest_lab(connection: sa.Connection) -> int:
    """Return the number of the laboratory value that was written last; 0: there is none."""
    return repository.newest_lab(connection)


def list_messages(connection: sa.Connection, limit: int, states: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the messages that came last, newest first: when, from whom, which kind, what became of each. No identifiers."""
    names = ("received_utc", "sender", "control_id", "type", "state", "text")
    return [{name: getattr(row, name) for name in names} for row in repository.recent_messages(connection, limit, states)]
