"""orders -> studies: what the hospital's messages told of the patient.

Birth date and sex where the header has none; laboratory values, and beside them what a person said of the study.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from dicom_node.core.age import age_years
from dicom_node.core.study import HeaderFacts, LabValue, Study
from dicom_node.inference.waiting import Mark
from dicom_node.orders import step as orders
from dicom_node.orders.step import PatientNow
from dicom_node.studies import lab_answers
from dicom_node.studies.patients import one_patient

#: Two ages this close are one: one of them may be in whole years.
_SAME_YEARS = 1.0
_TAKEN = "The age is taken from the hospital's messages: the header has none."
_SEX_TAKEN = "The sex is taken from the hospital's messages: the header has none."
_DIFFER = "The header and the hospital's messages give different ages; the header counts. Please have it looked at."


def with_known_age(connection: sa.Connection, study: Study) -> tuple[Study, tuple[str, ...]]:
    """Return the study as pipelines and rules see it, with the age and sex that are known, and what to tell of it.

    The header wins where it says an age that can be; results stay addressed by the header as it is. A header that the messages
    contradict is told, and nothing is changed.
    """
    known: dict[tuple[str, str], PatientNow | None] = {}
    notes: dict[str, None] = {}
    taken: set[str] = set()
    nobody_says_sex = not any(instance.facts.patient_sex for instance in study.instances)
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
            taken |= {"birth_date"} if better is not facts and facts.has_pixel_data else set()
            instance = dataclasses.replace(instance, facts=better)
        if told is not None and told.sex and nobody_says_sex:
            taken.add("patient_sex")
            notes |= {_SEX_TAKEN: None}
            instance = dataclasses.replace(instance, facts=dataclasses.replace(instance.facts, patient_sex=told.sex))
        instances.append(instance)
    return dataclasses.replace(study, instances=tuple(instances), told=tuple(sorted(taken))), tuple(notes)


def with_known_labs(connection: sa.Connection, study: Study, until: Mark | None = None) -> Study:
    """Return the study with the laboratory values of its patient, as far as they had been written at ``until`` (default: all)."""
    patient = one_patient(connection, study.study_key)
    return dataclasses.replace(study, labs=known_labs(connection, study.study_key, patient, until))


def known_labs(
    connection: sa.Connection, study_key: str, patient: tuple[str, str] | None, until: Mark | None = None
) -> tuple[LabValue, ...]:
    """Return the laboratory values of a study's patient, oldest first, and last what a person said of the study.

    Parameters
    ----------
    patient
        Patient ID and issuer; ``None``: the images are of several patients, who get none.
    """
    if patient is None:
        return ()
    values = orders.labs_of(connection, *patient, until.lab_result_id if until else None)
    said = lab_answers.said_of(connection, study_key, until.lab_answer_id if until else None)
    return (
        *(LabValue(one.code, one.value, one.observed_utc, one.source) for one in values),
        *(LabValue(one.code, one.value, None, "form") for one in said),
    )


def newest_values(connection: sa.Connection) -> Mark:
    """Return how far the tables of laboratory values are written."""
    return Mark(orders.newest_lab(connection), lab_answers.newest(connection))


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
