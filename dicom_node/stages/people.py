"""orders -> studies: what the hospital's messages told of the patient: birth date where the header has none, laboratory values."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from dicom_node.core.age import age_years
from dicom_node.core.study import HeaderFacts, LabValue, Study
from dicom_node.orders import step as orders
from dicom_node.orders.step import PatientNow

#: Two ages this close are one: one of them may be in whole years.
_SAME_YEARS = 1.0
_TAKEN = "The age is taken from the hospital's messages: the header has none."
_DIFFER = "The header and the hospital's messages give different ages; the header counts. Please have it looked at."


def with_known_age(connection: sa.Connection, study: Study) -> tuple[Study, tuple[str, ...]]:
    """Return the study as pipelines and rules see it, and what to tell of it.

    The header wins where it says an age that can be; results stay addressed by the header as it is. A header that the messages
    contradict is told, and nothing is changed.
    """
    known: dict[tuple[str, str], PatientNow | None] = {}
    notes: dict[str, None] = {}
    instances = []
    for instance in study.instances:
        facts = instance.facts
        who = facts.patient_id.reveal(), facts.issuer_of_patient_id.reveal()
        if who not in known:
            known[who] = orders.patient_now(connection, *who)
        told = known[who]
        if told is not None and told.birth_date:
            better, note = _judge(facts, told)
            notes |= {note: None} if note else {}
            instance = dataclasses.replace(instance, facts=better)
        instances.append(instance)
    return dataclasses.replace(study, instances=tuple(instances)), tuple(notes)


def with_known_labs(connection: sa.Connection, study: Study) -> Study:
    """Return the study with the final laboratory values of its patient, oldest first; images of several patients get none."""
    whose = {(i.facts.patient_id.reveal(), i.facts.issuer_of_patient_id.reveal()) for i in study.instances}
    if len(whose) != 1:
        return study
    values = orders.labs_of(connection, *whose.pop())
    return dataclasses.replace(study, labs=tuple(LabValue(v.code, v.value, v.observed_utc) for v in values))


def _judge(facts: HeaderFacts, told: PatientNow) -> tuple[HeaderFacts, str]:
    by_header = age_years(facts.birth_date.reveal(), facts.patient_age, facts.study_date)
    by_message = age_years(told.birth_date.reveal(), "", facts.study_date)
    if by_message is None:
        return facts, ""
    if by_header is None:
        return dataclasses.replace(facts, birth_date=told.birth_date), _TAKEN
    if abs(by_header - by_message) > _SAME_YEARS:
        return facts, _DIFFER
    return facts, ""
