"""What an export is made of: answered results with their labels, images and answers, as the rows have them. Read only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.age import age_years
from dicom_node.core.study import HeaderFacts
from dicom_node.learning import step
from dicom_node.learning.labels import Label
from dicom_node.store.tables import instance, opt_out, run, study, verdict, verdict_private

_AT_ONCE = 500
_SEXES = ("M", "F", "O")


@dataclass(frozen=True)
class Filter:
    """What is wanted. Empty: everything."""

    since_utc: float | None = None  # answered, or answered again, since then
    pipeline: str = ""
    statuses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Privacy:
    """What other rooms know of a person, asked with a Patient ID and its issuer."""

    person: Callable[[sa.Connection, str, str], str]  # one and the same Patient ID for all records of a person; empty: unknown
    opted_out: Callable[[sa.Connection, str, str], bool]  # of learning


@dataclass(frozen=True)
class Image:
    """An image that a result was made from."""

    sop_instance_uid: str
    sop_class_uid: str
    storage_key: str  # empty: deleted by retention
    facts: HeaderFacts


@dataclass(frozen=True)
class Case:
    """One answered result. ``answers``: rows of the log by feedback id."""

    run_key: str
    study_key: str
    study_instance_uid: str
    pipeline: str
    summary: Mapping[str, Any]
    labels: tuple[Label, ...]
    answers: Mapping[str, Any]
    images: tuple[Image, ...]
    regions: tuple[tuple[str, Mapping[str, Any]], ...]  # (feedback id, region as JSON)
    person: str  # empty: nobody knows whose images these are
    opted_out: bool

    @property
    def years(self) -> float | None:
        """Age at the study."""
        ages = (age_years(f.birth_date.reveal(), f.patient_age, f.study_date) for f in self._facts)
        return next((years for years in ages if years is not None), None)

    @property
    def sex(self) -> str:
        """M, F, O or ``unknown``."""
        return next((f.patient_sex for f in self._facts if f.patient_sex in _SEXES), "unknown")

    @property
    def device(self) -> str:
        """Manufacturer and model, as the header names them."""
        return next((f"{f.manufacturer}|{f.manufacturer_model}" for f in self._facts if f.manufacturer or f.manufacturer_model), "")

    @property
    def _facts(self) -> Iterable[HeaderFacts]:
        return (image.facts for image in self.images)


def cases(connection: sa.Connection, wanted: Filter, privacy: Privacy) -> list[Case]:
    """Return the answered results that are wanted, in order of their keys."""
    made, _ = step.labels(connection)
    by_run: dict[str, list[Label]] = {}
    for label in made:
        if not wanted.statuses or label.status.value in wanted.statuses:
            by_run.setdefault(label.run_key, []).append(label)
    answers = _answers(connection, by_run)
    found = []
    for row in _in_batches(connection, sa.select(run, study.c.study_instance_uid).join(study), run.c.run_key, by_run):
        said = answers.get(row.run_key, {})
        if wanted.pipeline not in ("", row.pipeline):
            continue
        if wanted.since_utc is not None and all(one.at_utc < wanted.since_utc for one in said.values()):
            continue
        found.append(_case(connection, row, tuple(by_run[row.run_key]), said, privacy))
    return sorted(found, key=lambda case: case.run_key)


def changed(connection: sa.Connection, exported: Iterable[Case], privacy: Privacy) -> bool:
    """Say whether, since the rows were read, one of these patients was erased or opted out."""
    there = {case.run_key: case for case in exported}
    query = sa.select(run.c.run_key, study.c.study_instance_uid).join(study)
    now = {row.run_key: row.study_instance_uid for row in _in_batches(connection, query, run.c.run_key, there)}
    if any(now.get(key) != case.study_instance_uid for key, case in there.items()):
        return True
    whose = {
        (image.facts.patient_id.reveal(), image.facts.issuer_of_patient_id.reveal())
        for case in there.values()
        for image in case.images
    }
    return any(privacy.opted_out(connection, *who) for who in whose)


def count_opt_outs(connection: sa.Connection) -> int:
    """Return how many opt-outs of learning the node knows."""
    return int(connection.execute(sa.select(sa.func.count()).where(opt_out.c.scope == "learning")).scalar_one())


def _case(connection: sa.Connection, row: Any, labels: tuple[Label, ...], answers: Mapping[str, Any], privacy: Privacy) -> Case:
    images = _images(connection, row.study_key, row.request.get("read", ()))
    whose = {(i.facts.patient_id.reveal(), i.facts.issuer_of_patient_id.reveal()) for i in images}
    persons = {privacy.person(connection, *who) for who in whose}
    return Case(
        run_key=row.run_key,
        study_key=row.study_key,
        study_instance_uid=row.study_instance_uid,
        pipeline=row.pipeline,
        summary=row.summary or {},
        labels=labels,
        answers=answers,
        images=images,
        regions=_regions(connection, row.study_key, row.run_key, answers),
        person=persons.pop() if len(persons) == 1 else "",
        opted_out=any(privacy.opted_out(connection, *who) for who in whose),
    )


def _images(connection: sa.Connection, study_key: str, read: Iterable[str]) -> tuple[Image, ...]:
    c = instance.c
    query = sa.select(instance).where(c.study_key == study_key, c.state == "current", c.sop_instance_uid.in_(list(read)))
    return tuple(
        Image(r.sop_instance_uid, r.sop_class_uid, "" if r.deleted_utc else r.storage_key, HeaderFacts.from_json(r.facts))
        for r in connection.execute(query.order_by(c.sop_instance_uid))
    )


def _answers(connection: sa.Connection, run_keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in _in_batches(connection, sa.select(verdict), verdict.c.run_key, run_keys):
        found.setdefault(row.run_key, {})[row.feedback_id] = row
    return found


def _regions(
    connection: sa.Connection, study_key: str, run_key: str, answers: Mapping[str, Any]
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Return the regions that came with answers to the result, or as evidence beside them."""
    c = verdict_private.c
    query = sa.select(c.feedback_id, c.content).where(c.study_key == study_key).order_by(c.feedback_id)
    rows = (row for row in connection.execute(query) if row.feedback_id in answers or row.content.get("run_key") == run_key)
    return tuple((row.feedback_id, region) for row in rows for region in row.content.get("regions", ()))


def _in_batches(connection: sa.Connection, query: sa.Select[Any], column: sa.Column[Any], keys: Iterable[str]) -> list[Any]:
    ordered = sorted(set(keys))
    parts = (ordered[start : start + _AT_ONCE] for start in range(0, len(ordered), _AT_ONCE))
    return [row for part in parts for row in connection.execute(query.where(column.in_(part)))]
