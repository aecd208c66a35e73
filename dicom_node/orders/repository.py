"""The tables ``message``, ``patient``, ``imaging_order`` and ``lab_result``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dicom_node.core.artifact import HL7
from dicom_node.core.identifiers import patient_key
from dicom_node.store.tables import artifact, lab_result, message, order, patient, result_number

# --- messages ----------------------------------------------------------------------------------------------------------


def message_state(connection: sa.Connection, sender: str, control_id: str, sha256: str) -> str:
    """Return what became of this very message before, ``""`` when it is new."""
    return str(connection.execute(sa.select(message.c.state).where(_this(sender, control_id, sha256))).scalar() or "")


def keep_message(connection: sa.Connection, sender: str, control_id: str, sha256: str, **values: object) -> None:
    """Write what became of a message; one that was refused before may be taken now.

    Raises
    ------
    IntegrityError
        Another receiver is just taking the same message.
    """
    if connection.execute(sa.update(message).where(_this(sender, control_id, sha256)).values(**values)).rowcount == 0:
        connection.execute(sa.insert(message).values(sender=sender, control_id=control_id, sha256=sha256, **values))


def _this(sender: str, control_id: str, sha256: str) -> sa.ColumnElement[bool]:
    c = message.c
    return (c.sender == sender) & (c.control_id == control_id) & (c.sha256 == sha256)


def recent_messages(connection: sa.Connection, limit: int, states: Collection[str] = ()) -> list[sa.Row[Any]]:
    """Return the messages that came last, newest first."""
    query = sa.select(message).order_by(message.c.message_id.desc()).limit(limit)
    return list(connection.execute(query.where(message.c.state.in_(list(states))) if states else query))


def is_our_message(connection: sa.Connection, control_id: str) -> bool:
    """Say whether this node made a message under this MSH-10."""
    query = sa.select(artifact.c.artifact_id).where(artifact.c.identifier == control_id, artifact.c.media_type == HL7).limit(1)
    return connection.execute(query).first() is not None


def is_our_number(connection: sa.Connection, number: str) -> bool:
    """Say whether receivers know a result of this node under this number (OBR-3)."""
    query = sa.select(result_number.c.run_key).where(result_number.c.number == number).limit(1)
    return connection.execute(query).first() is not None


# --- patients ----------------------------------------------------------------------------------------------------------


def patient_rows(connection: sa.Connection, patient_id: str, issuer: str) -> list[sa.Row[Any]]:
    """Return what is known of a patient. An issuer that is not known, on either side, fits any.

    An issuer that no message ever named cannot be compared with their authorities (images and messages often spell the same
    hospital in two ways): it counts as unknown, so that no merge is missed.
    """
    c = patient.c
    if issuer:
        named = c.patient.in_([patient_key(patient_id, issuer), patient_key(patient_id)])
        found = list(connection.execute(sa.select(patient).where(named).order_by(c.patient)))
        if found or _is_authority(connection, issuer):
            return found
    anyone = c.patient.startswith(patient_key(patient_id), autoescape=True)  # ends with the bar
    return list(connection.execute(sa.select(patient).where(anyone).order_by(c.patient)))


def _is_authority(connection: sa.Connection, issuer: str) -> bool:
    named = patient.c.patient.endswith(patient_key("", issuer), autoescape=True)
    return connection.execute(sa.select(patient.c.patient).where(named).limit(1)).first() is not None


def survivor(connection: sa.Connection, key: str) -> str:
    """Follow the merges of a patient to the one that is left; the key itself when there was none."""
    seen = {key}
    while True:
        after = connection.execute(sa.select(patient.c.merged_into).where(patient.c.patient == key)).scalar()
        if not after or after in seen:
            return key
        seen.add(after)
        key = after


def keep_patient(connection: sa.Connection, key: str, now_utc: float, **values: object) -> bool:
    """Write what is known of a patient; says whether anything changed.

    Of a patient that was merged, ``changed_utc`` stays the time of the merge.
    """
    row = connection.execute(sa.select(patient).where(patient.c.patient == key).with_for_update()).first()
    if row is None:
        _insert_or_update(connection, patient, patient.c.patient, key, {**values, "changed_utc": now_utc})
        return True
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return False
    moment = {} if row.merged_into and "merged_into" not in changed else {"changed_utc": now_utc}
    connection.execute(sa.update(patient).where(patient.c.patient == key).values(**changed, **moment))
    return True


def merged_keys(connection: sa.Connection, keys: Iterable[str]) -> set[str]:
    """Return every key that is, or was merged into, one of these patients."""
    found = {survivor(connection, key) for key in keys}
    fresh = set(found)
    while fresh:
        query = sa.select(patient.c.patient).where(patient.c.merged_into.in_(sorted(fresh)))
        fresh = set(connection.execute(query).scalars()) - found
        found |= fresh
    return found


def is_known(connection: sa.Connection, keys: Collection[str]) -> bool:
    """Say whether any row is about one of these patients."""
    columns = (patient.c.patient, order.c.patient, lab_result.c.patient)
    queries = [sa.select(column).where(column.in_(sorted(keys))).limit(1) for column in columns]
    return any(connection.execute(query).first() is not None for query in queries)


def forget(connection: sa.Connection, keys: Collection[str]) -> int:
    """Remove the rows of these patients: demographics, orders, laboratory."""
    named = sorted(keys)
    c = lab_result.c
    theirs = sa.select(c.resource).where(c.patient.in_(named), c.resource != "")
    statements = [
        sa.delete(lab_result).where(c.patient == "", c.resource.in_(theirs)),  # of what was theirs, and is nobody's now
        sa.delete(lab_result).where(c.patient.in_(named)),
        sa.delete(order).where(order.c.patient.in_(named)),
        sa.delete(patient).where(sa.or_(patient.c.patient.in_(named), patient.c.merged_into.in_(named))),
    ]
    return sum(int(connection.execute(statement).rowcount) for statement in statements)


def forget_order(connection: sa.Connection, accession_number: str, numbers: Collection[str]) -> int:
    """Remove one order, unless it is known to be of a patient with another number."""
    row = order_row(connection, accession_number)
    if row is None or (row.patient and row.patient.partition("|")[0] not in numbers):
        return 0
    return int(connection.execute(sa.delete(order).where(order.c.accession_number == accession_number)).rowcount)


# --- orders ------------------------------------------------------------------------------------------------------------


def order_row(connection: sa.Connection, accession_number: str) -> sa.Row[Any] | None:
    """Return what is known of an order."""
    return connection.execute(sa.select(order).where(order.c.accession_number == accession_number)).first()


def keep_order(connection: sa.Connection, accession_number: str, now_utc: float, **values: object) -> None:
    """Write what is known of an order; what is not given stays."""
    values = {**values, "changed_utc": now_utc}
    if connection.execute(sa.update(order).where(order.c.accession_number == accession_number).values(**values)).rowcount == 0:
        _insert_or_update(connection, order, order.c.accession_number, accession_number, values)


# --- laboratory --------------------------------------------------------------------------------------------------------


def resource_rows(connection: sa.Connection, resource: str) -> list[sa.Row[Any]]:
    """Return the rows of the newest version of a FHIR resource, whoever it is about."""
    c = lab_result.c
    query = sa.select(lab_result).where(c.resource == resource, c.replaced_by.is_(None)).order_by(c.lab_result_id)
    return list(connection.execute(query))


def replace_labs(connection: sa.Connection, numbers: Collection[int], by: int) -> None:
    """Write that these rows hold no more since the row ``by`` was written."""
    query = sa.update(lab_result).where(lab_result.c.lab_result_id.in_(list(numbers)))
    connection.execute(query.values(replaced_by=by))


def keep_lab(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    """Write one row and return its number; 0: a message said the very same before."""
    c = lab_result.c
    if not values["resource"]:
        names = ("patient", "code", "value", "unit", "status", "observed_utc", "stated_utc", "source", "resource")
        same = [c[name] == values[name] for name in names]
        if connection.execute(sa.select(c.lab_result_id).where(*same).limit(1)).first():
            return 0
    return int(connection.execute(sa.insert(lab_result).values(**values).returning(c.lab_result_id)).scalar_one())


def newest_lab(connection: sa.Connection) -> int:
    """Return the number of the row that was written last; 0: there is none."""
    return int(connection.execute(sa.select(sa.func.max(lab_result.c.lab_result_id))).scalar() or 0)


def lab_rows(connection: sa.Connection, keys: Collection[str], until: int | None = None) -> list[sa.Row[Any]]:
    """Return what was said of these patients, by FHIR in its newest version; ``until``: as it was at the row of this number."""
    c = lab_result.c
    query = sa.select(lab_result).where(c.patient.in_(sorted(keys)), c.code != "")
    if until is None:
        query = query.where(c.replaced_by.is_(None))
    else:
        query = query.where(c.lab_result_id <= until, sa.or_(c.replaced_by.is_(None), c.replaced_by > until))
    return list(connection.execute(query.order_by(c.lab_result_id)))


def _insert_or_update(
    connection: sa.Connection, table: sa.Table, column: sa.Column[Any], key: str, values: dict[str, object]
) -> None:
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(table).values({column.name: key, **values}))
    except IntegrityError:  # PostgreSQL: another receiver wrote it a moment ago
        connection.execute(sa.update(table).where(column == key).values(**values))
