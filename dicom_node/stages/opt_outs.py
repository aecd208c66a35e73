"""opt-outs -> studies: a patient who opted out is not analysed, and nothing that is unsent leaves the node.

Level-triggered: asked when a study starts, before it is analysed and before each attempt to send. So an opt-out counts from the
moment it is written, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from dicom_node.core.identifiers import plain
from dicom_node.core.study import Study
from dicom_node.home import Home
from dicom_node.orders import step as orders
from dicom_node.store.connect import reading
from dicom_node.studies import opt_outs
from dicom_node.studies import step as studies

REASON = "opted_out"
TEXT = "The patient opted out of analysis. Nothing that is unsent leaves the node; what was delivered before stays where it is."


def has_opted_out(
    connection: sa.Connection, home: Home, identities: Iterable[tuple[str, str]], scope: str = opt_outs.ANALYSIS
) -> bool:
    """Say whether one of these (Patient ID, issuer), or a record that the hospital merged with it, opted out."""
    if not opt_outs.anybody(connection, scope):
        return False
    numbers = {number for patient_id, issuer in set(identities) for number in orders.numbers_of(connection, patient_id, issuer)}
    return opt_outs.opted_out(connection, home, numbers, scope)


def person_of(connection: sa.Connection, patient_id: str, issuer: str = "") -> str:
    """Return one and the same Patient ID, as compared, for all records that the hospital merged; empty: nobody is named."""
    return min(orders.numbers_of(connection, patient_id, issuer), default="")


def held_as_opted_out(database: sa.Engine, home: Home, study: Study, now: float) -> bool:
    """Hold a study that is about to start when its patient opted out; says whether it did.

    Parameters
    ----------
    now
        The time given to ``settle_arrivals``: what came after that is looked at anew.
    """
    identities = {
        (one.facts.patient_id.reveal(), one.facts.issuer_of_patient_id.reveal())
        for one in study.instances
        if plain(one.facts.patient_id)
    }
    with reading(database) as connection:
        if not has_opted_out(connection, home, identities):
            return False
    with database.begin() as connection:
        if studies.mark_routed(connection, study.study_key, now):
            studies.hold(connection, study.study_key, REASON, TEXT)
    return True
