"""feedback -> orders, studies: an answer that names a patient must name the one whose study was read.

Who matches a result by its number and names somebody else has mixed up two patients: nobody knows which of the two was meant.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from dicom_node.core.identifiers import patient_key
from dicom_node.core.phi import Phi
from dicom_node.feedback.reports.kinds import DOCUMENTS
from dicom_node.orders import step as orders
from dicom_node.store.tables import instance
from dicom_node.studies.arrivals import InstanceState


def names_another_patient(connection: sa.Connection, study_key: str, patient_ids: Iterable[Phi | str]) -> bool:
    """Say whether the numbers that a message gives its patient are all others than those of the study's; merges are followed.

    No number on either side is no contradiction. Who issued a number is not compared: messages and images name the same issuer
    by different names.
    """
    named = {_number(one) for one in patient_ids} - {""}
    whose = _patients_of(connection, study_key) if named else set()
    mine = {number for patient_id, issuer in whose for number in orders.numbers_of(connection, patient_id, issuer)}
    return bool(mine) and named.isdisjoint(mine)


def _patients_of(connection: sa.Connection, study_key: str) -> set[tuple[str, str]]:
    """Return (Patient ID, issuer) of the study's images; a document that came later cannot say whose study it is."""
    c, f = instance.c, instance.c.facts
    query = sa.select(f["patient_id"].as_string(), f["issuer_of_patient_id"].as_string()).distinct()
    images = query.where(
        c.study_key == study_key, c.state == InstanceState.CURRENT.value, c.sop_class_uid.not_in(sorted(DOCUMENTS))
    )
    return {(number, issuer or "") for number, issuer in connection.execute(images) if number and number.strip()}


def _number(patient_id: Phi | str) -> str:
    return patient_key(str.__str__(patient_id)).partition("|")[0]
