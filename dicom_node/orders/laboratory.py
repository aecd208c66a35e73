"""Laboratory values of a patient, from whatever door: final ones are kept, a correction replaces, what is taken back goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from dicom_node.orders import repository

FINAL = ("F", "C")
WITHDRAWN = ("D", "W")


class Value(NamedTuple):
    """One coded value as a message or a resource says it."""

    code: str  # code^scheme
    value: str
    unit: str
    status: str  # OBX-11: F final, C corrected, D or W taken back
    observed_utc: float | None


class NewValues(NamedTuple):
    """Whose values were written, and of which codes; what was known before is not among them."""

    patient: str  # key (``core.identifiers.patient_key``)
    codes: frozenset[str]


def keep_values(
    connection: sa.Connection, patient: str, values: Sequence[Value], *, now_utc: float, source: str = "hl7", resource: str = ""
) -> NewValues:
    """Write what is said of one patient, in the caller's transaction.

    Parameters
    ----------
    resource
        Of FHIR: under which name the server has it. What it said before goes, whoever it was about.
    """
    wanted = {(patient, one.code, one.value, one.observed_utc) for one in values if one.status in FINAL}
    if resource and wanted and wanted == set(repository.lab_resources(connection, resource)):
        return NewValues(patient, frozenset())
    if resource:
        repository.drop_resource(connection, resource)
    if not values:
        return NewValues(patient, frozenset())
    repository.keep_patient(connection, patient, now_utc)
    for code, observed in {(one.code, one.observed_utc) for one in values if one.status != "F"}:
        repository.drop_labs(connection, patient, code, observed)
    new = set()
    for one in values:
        shared = {"patient": patient, "received_utc": now_utc, "source": source, "resource": resource}
        if one.status in FINAL and repository.keep_lab(connection, **shared, **one._asdict()):
            new.add(one.code)
    return NewValues(patient, frozenset(new))


def forget_resource(connection: sa.Connection, resource: str) -> None:
    """Forget what a FHIR resource said, whoever it was about: it was taken back."""
    repository.drop_resource(connection, resource)
