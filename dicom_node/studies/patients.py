"""Whose study it is, as its headers say now; and which studies are of one patient."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa

from dicom_node.core.abstentions import WAITS_FOR_CORRECTION
from dicom_node.core.identifiers import plain
from dicom_node.core.phi import Phi
from dicom_node.store.story import read_story
from dicom_node.store.tables import instance, study
from dicom_node.studies import repository, step
from dicom_node.studies.arrivals import InstanceState

_CURRENT = instance.c.state == InstanceState.CURRENT.value


class Addressed(NamedTuple):
    """Patient and orders that a study's current objects name. Empty: not said."""

    study_instance_uid: str
    revision: int
    patient_id: Phi
    issuer: Phi
    accession_numbers: tuple[Phi, ...]  # of the study and of its requested procedures, each once
    released_utc: float  # when a person released the study last although its patient or order was in doubt; 0: never


def addressed(connection: sa.Connection, study_key: str) -> Addressed | None:
    """Return whom results of the study are addressed to; ``None`` when the node has not heard of it."""
    row = connection.execute(sa.select(study.c.study_instance_uid, study.c.revision).where(study.c.study_key == study_key)).first()
    if row is None:
        return None
    f = instance.c.facts
    names = ("patient_id", "issuer_of_patient_id", "accession_number")
    columns = [*(f[name].as_string() for name in names), f["requested_accessions"].as_json()]
    found = list(connection.execute(sa.select(*columns).where(instance.c.study_key == study_key, _CURRENT)))
    patient_id, issuer = (next((one[n] for one in found if one[n] and one[n].strip()), "") for n in (0, 1))
    numbers = [number for one in found for number in (one[2], *(one[3] or ())) if number and number.strip()]
    story = read_story(connection, study_key)
    released = [line.at_utc for line in story if line.event == "study.released" and line.reason in WAITS_FOR_CORRECTION]
    return Addressed(
        *(row.study_instance_uid, row.revision, Phi(patient_id), Phi(issuer)),
        *(tuple(Phi(number) for number in dict.fromkeys(numbers)), max(released, default=0.0)),
    )


def one_patient(connection: sa.Connection, study_key: str) -> tuple[Phi, Phi] | None:
    """Return Patient ID and issuer of a study whose objects all name one patient; ``None``: several, or nobody.

    What is empty contradicts nothing: an issuer that some of the objects name is that of all.
    """
    f = instance.c.facts
    query = sa.select(f["patient_id"].as_string(), f["issuer_of_patient_id"].as_string()).distinct()
    named = list(connection.execute(query.where(instance.c.study_key == study_key, _CURRENT)))
    numbers = {plain(number): number for number, _ in named if number and number.strip()}
    issuers = {plain(issuer): issuer for _, issuer in named if issuer and issuer.strip()}
    if len(numbers) != 1 or len(issuers) > 1:
        return None
    return Phi(*numbers.values()), Phi(next(iter(issuers.values()), ""))


def studies_of(connection: sa.Connection, patient_id: str, since_utc: float) -> list[tuple[str, Phi]]:
    """Return the studies, heard of since then, whose patient has this number, each with the issuer that its header names.

    One row a study is looked at, by index, so that a merge does not make reception wait.
    """
    facts, c = instance.c.facts, instance.alias("one").c
    first = (
        sa.select(sa.func.min(c.instance_id))
        .where(c.study_key == study.c.study_key, c.state == InstanceState.CURRENT.value)
        .correlate(study)
        .scalar_subquery()
    )
    query = (
        sa.select(study.c.study_key, facts["patient_id"].as_string(), facts["issuer_of_patient_id"].as_string())
        .select_from(study)
        .join(instance, instance.c.instance_id == first)
        .where(study.c.last_received_utc >= since_utc)
        .order_by(study.c.study_key)
    )
    wanted = plain(patient_id)
    return [(key, Phi(issuer or "")) for key, number, issuer in connection.execute(query) if plain(number or "") == wanted]


def hold_for_correction(connection: sa.Connection, row: sa.Row[Any], reason: str, text: str) -> None:
    """Hold a study whose patient or order is in doubt. What came already and waits to be compared, perhaps the corrected header, is
    still looked at when its time comes.

    Parameters
    ----------
    row
        The study's row, locked.
    reason, text
        Key of ``core/abstentions.py``, and the sentence for its story.
    """
    step.hold(connection, row.study_key, reason, text)
    if row.deadline_utc is not None:
        repository.update_study(connection, row.study_key, deadline_utc=row.deadline_utc)


def same_patient(one_id: str, one_issuer: str, other_id: str, other_issuer: str) -> bool:
    """Say whether two may be the same patient: nothing that both name differs."""
    pairs = ((plain(one_id), plain(other_id)), (plain(one_issuer), plain(other_issuer)))
    return all(not a or not b or a == b for a, b in pairs)


def same_order(numbers: Collection[str], number: str) -> bool:
    """Say whether a study with these accession numbers may be the one with this: unknown on either side is no contradiction."""
    mine = {plain(one) for one in numbers} - {""}
    return not mine or not plain(number) or plain(number) in mine
