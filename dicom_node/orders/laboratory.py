"""Laboratory values of a patient, from whatever door: what is said is kept, and what holds of it follows (``standing_values``).

Nothing that was said is overwritten: a row of a FHIR resource says which row replaced it. So a run that begins again after a kill
reads what it read before, also where the laboratory corrected a value meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from dicom_node.core.identifiers import patient_key
from dicom_node.orders import repository
from dicom_node.orders.standing_values import WITHDRAWN, Statement, Version, is_newer, standing


class Value(NamedTuple):
    """One coded value as a message or a resource says it."""

    code: str  # code^scheme
    value: str
    unit: str
    status: str  # OBX-11: F final, C corrected, D or W taken back
    observed_utc: float | None


class Gone(NamedTuple):
    """A value that held and holds no more."""

    code: str
    observed_utc: float | None
    value: str
    corrected: bool  # another one holds in its place; else it was taken back


class Changed(NamedTuple):
    """What a statement changed of what is known of a patient. Empty: nothing; it was known, or is older than what is known."""

    patient: str  # key (``core.identifiers.patient_key``)
    came: frozenset[str] = frozenset()  # codes of values that were not known before, corrections apart
    gone: tuple[Gone, ...] = ()


def keep_values(
    connection: sa.Connection,
    patient: str,
    values: Sequence[Value],
    *,
    now_utc: float,
    stated_utc: float | None = None,
    source: str = "hl7",
    resource: str = "",
    version_utc: float | None = None,
) -> tuple[Changed, ...]:
    """Write what one message or resource says of one patient, in the caller's transaction; return what that changed, and of whom.

    Parameters
    ----------
    patient
        Key; empty: nobody knows whom the resource is about (any more).
    values
        Never empty; those of a resource have one status. Of a resource that holds no value (any more): one without a code.
    stated_utc, version_utc
        When it was said, and which version of the resource it is: ``standing_values`` says what of.
    resource
        Of FHIR: under which name the server has it. A newer version of it replaces what it said before, whoever that was about.
    """
    if patient:
        repository.keep_patient(connection, patient, now_utc)  # first: it holds the patient for this transaction
    known = repository.resource_rows(connection, resource) if resource else []
    if not patient and not known:
        return ()
    shared = {"patient": patient, "source": source, "resource": resource, "stated_utc": stated_utc, "version_utc": version_utc}
    rows = [shared | _kept(one, patient)._asdict() for one in values]
    if known and (_same(known, rows) or not is_newer(Version(values[0].status, stated_utc, version_utc), _version(known[0]))):
        return ()
    whose = sorted({patient, *(row.patient for row in known)} - {""})
    before = {one: _held(connection, one) for one in whose}
    written = [number for row in rows if (number := repository.keep_lab(connection, {**row, "received_utc": now_utc}))]
    if known and written:
        repository.replace_labs(connection, [row.lab_result_id for row in known], written[0])
    found = (_changed(one, before[one], _held(connection, one)) for one in whose)
    return tuple(one for one in found if one.came or one.gone)


def _kept(one: Value, patient: str) -> Value:
    """Return what is written: of what is taken back no value; of nobody's not even the test, so that only the version is known."""
    if not patient:
        return Value("", "", "", one.status, None)
    return one._replace(value="", unit="") if one.status in WITHDRAWN else one


def _version(row: sa.Row[Any]) -> Version:
    return Version(row.status, row.stated_utc, row.version_utc)


def labs_standing(connection: sa.Connection, keys: set[str], until: int | None = None) -> list[Statement]:
    """Return the values that hold of the person with these keys, oldest first; ``until``: as it was at the row of this number."""
    rows = repository.lab_rows(connection, keys, until) if keys else []
    return standing(Statement(row.lab_result_id, *(getattr(row, name) for name in Statement._fields[1:])) for row in rows)


def lab_keys(connection: sa.Connection, patient_id: str, issuer: str = "") -> set[str]:
    """Return the keys of all records whose laboratory values are this patient's, merges followed; nobody's when that is uncertain.

    The number alone may be of several people: where the header names no issuer that the messages know, and these know the number of
    several issuers that were not merged, nobody can tell which of them it is.
    """
    if not str.__str__(patient_id).strip():
        return set()
    known = [row.patient for row in repository.patient_rows(connection, patient_id, issuer)]
    left = {repository.survivor(connection, key) for key in known}
    if len({key.partition("|")[2] for key in left} - {""}) > 1:
        return set()
    return repository.merged_keys(connection, [*known, patient_key(patient_id, issuer), patient_key(patient_id)])


_What = tuple[str, float | None, str]  # code, when it was observed, value


def _held(connection: sa.Connection, patient: str) -> dict[_What, None]:
    """Return what holds of a patient, oldest first."""
    number, _, issuer = patient.partition("|")
    found = labs_standing(connection, lab_keys(connection, number, issuer))
    return {(one.code, one.observed_utc, one.value): None for one in found}


def _changed(patient: str, before: dict[_What, None], after: dict[_What, None]) -> Changed:
    gone = [what for what in before if what not in after]
    known, lost = {what[:2] for what in after}, {what[:2] for what in gone}
    came = frozenset(what[0] for what in after if what not in before and what[:2] not in lost)
    return Changed(patient, came, tuple(Gone(*what, corrected=what[:2] in known) for what in gone))


def _same(known: Sequence[sa.Row[Any]], rows: Sequence[dict[str, Any]]) -> bool:
    """Say whether a version is the one that is known."""
    names = ("patient", "code", "value", "unit", "status", "observed_utc", "stated_utc", "version_utc")
    return {tuple(getattr(row, name) for name in names) for row in known} == {tuple(row[name] for name in names) for row in rows}
