"""orders -> studies: two records of a patient became one; what that means for the studies of the one that is gone."""

from __future__ import annotations

import time

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.abstentions import PERSON_DECIDES, WAITS_FOR_CORRECTION, sentence
from dicom_node.core.delivery import DeliveryState
from dicom_node.orders import step as orders
from dicom_node.orders.messages.contract import Merge
from dicom_node.store.story import tell
from dicom_node.store.tables import delivery, run, study
from dicom_node.studies.patients import hold_for_correction, studies_of

REASON = "patient_merged"
ENDS = "It waits for images with a corrected header, or for a person to release it."
#: Studies heard of in this time are looked for; an older one is held by the guard if anything of it is still to be sent.
LOOK_BACK_DAYS = 30
_OPEN_RUNS = ("waiting", "queued", "running")
_OPEN = (DeliveryState.WITHHELD, DeliveryState.QUEUED, DeliveryState.WAITING, DeliveryState.DEAD)
_GONE = (DeliveryState.SENT, DeliveryState.DONE, DeliveryState.WARNED)


def patient_merged(connection: sa.Connection, merge: Merge) -> None:
    """Hold the studies of the prior patient that wait or whose results were not sent, in the transaction that keeps the merge.

    What was delivered stays: the archive moves our objects with the study that they belong to. Its story says that it happened.
    """
    held = told = 0
    number = merge.prior.partition("|")[0]
    for key, issuer in studies_of(connection, number, time.time() - LOOK_BACK_DAYS * 86400):
        now = orders.patient_now(connection, number, issuer)
        if now is None or not now.merged_into:  # the same number of another hospital
            continue
        row = connection.execute(sa.select(study).where(study.c.study_key == key).with_for_update()).one()
        if row.state == "held" and row.hold_reason in PERSON_DECIDES | WAITS_FOR_CORRECTION:
            continue
        if row.state == "receiving" or _has(connection, run, key, _OPEN_RUNS) or _has(connection, delivery, key, _OPEN):
            hold_for_correction(connection, row, REASON, sentence(REASON, ENDS))
            held += 1
        elif _has(connection, delivery, key, _GONE):
            text = "The hospital merged this patient with another after results were sent; the archive moves them with the study."
            tell(connection, key, "orders", "patient.merged", text)
            told += 1
    log.event("patient.merged", count=held + told, state=f"{held} held, {told} delivered before")


def _has(connection: sa.Connection, table: sa.Table, study_key: str, states: tuple[str, ...]) -> bool:
    query = sa.select(table.c.study_key).where(table.c.study_key == study_key, table.c.state.in_([str(state) for state in states]))
    return connection.execute(query.limit(1)).first() is not None
