"""The log's tables, and what it reads of other rooms'."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from dicom_node.core.artifact import DICOM
from dicom_node.core.feedback import tells_of_answer
from dicom_node.core.identifiers import accession_token, plain
from dicom_node.core.phi import Phi
from dicom_node.store.tables import artifact, instance, result_number, run, study, verdict, verdict_private

#: A newer run in one of these states has replaced what came before it.
_REPLACES = ("analysed", "not_analysed", "withdrawn")
#: Any number that stays the same: who holds this lock writes the next row of the chain.
_CHAIN_LOCK = 6_281_978


def lock_chain(connection: sa.Connection) -> None:
    """Let no other transaction add a row before this one ends. On SQLite BEGIN IMMEDIATE has done so."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})


def last_row(connection: sa.Connection) -> Any | None:
    """Return the row of the log with the highest number."""
    return connection.execute(sa.select(verdict).order_by(verdict.c.number.desc()).limit(1)).first()


def row_of_source(connection: sa.Connection, source: str) -> Any | None:
    """Return the row that a statement gave, if it was recorded before."""
    return connection.execute(sa.select(verdict).where(verdict.c.source == source)).first()


def private_row(connection: sa.Connection, feedback_id: str) -> Any | None:
    """Return what identifies somebody in a row of the log; ``None`` once it is erased."""
    return connection.execute(sa.select(verdict_private).where(verdict_private.c.feedback_id == feedback_id)).first()


def insert_private(connection: sa.Connection, feedback_id: str, study_key: str, salt: str, content: dict[str, Any]) -> None:
    """Add the erasable part of a row."""
    values = {"feedback_id": feedback_id, "study_key": study_key, "salt": salt, "content": content}
    connection.execute(sa.insert(verdict_private).values(**values))


def insert_row(connection: sa.Connection, values: dict[str, Any]) -> None:
    """Add a row to the log."""
    connection.execute(sa.insert(verdict).values(**values))


def rows_of_run(connection: sa.Connection, run_key: str) -> list[Any]:
    """Return the rows about one result, in order."""
    return list(connection.execute(sa.select(verdict).where(verdict.c.run_key == run_key).order_by(verdict.c.number)))


def newest_rows(connection: sa.Connection, study_key: str = "", limit: int | None = None) -> list[Any]:
    """Return rows of the log, of one study or of all, newest first."""
    query = sa.select(verdict).order_by(verdict.c.number.desc()).limit(limit)
    return list(connection.execute(query.where(verdict.c.study_key == study_key) if study_key else query))


def private_of_study(connection: sa.Connection, study_key: str) -> list[Any]:
    """Return the erasable parts of the answers, and the evidence, about one study."""
    return list(connection.execute(sa.select(verdict_private).where(verdict_private.c.study_key == study_key)))


def private_of_run(connection: sa.Connection, run_key: str) -> list[Any]:
    """Return ``feedback_id`` and ``content`` of the erasable parts of the answers about one result."""
    c = verdict_private.c
    query = sa.select(c.feedback_id, c.content).join(verdict, verdict.c.feedback_id == c.feedback_id)
    return list(connection.execute(query.where(verdict.c.run_key == run_key)))


# ---------------------------------------------------------------- other rooms' tables, read only


def run_rows(connection: sa.Connection, run_keys: Iterable[str]) -> list[Any]:
    """Return the rows of runs."""
    return list(connection.execute(sa.select(run).where(run.c.run_key.in_(sorted(run_keys)))))


def answered_rows(connection: sa.Connection, study_key: str = "") -> Iterable[Any]:
    """Return the runs that gave an answer, of one study or of all, newest first."""
    query = sa.select(run).where(run.c.state.in_(_REPLACES)).order_by(run.c.requested_utc.desc())
    return connection.execute(query.where(run.c.study_key == study_key) if study_key else query)


def has_newer_answer(connection: sa.Connection, row: Any) -> bool:
    """Say whether a later run of the same pipeline has answered the study."""
    c = run.c
    newer = sa.select(c.run_key).where(
        c.study_key == row.study_key, c.pipeline == row.pipeline, c.revision > row.revision, c.state.in_(_REPLACES)
    )
    return connection.execute(newer.limit(1)).first() is not None


def study_revision(connection: sa.Connection, study_key: str) -> int | None:
    """Return the revision that a study has now."""
    found: int | None = connection.execute(sa.select(study.c.revision).where(study.c.study_key == study_key)).scalar()
    return found


def runs_of_object(connection: sa.Connection, sop_instance_uid: str) -> set[str]:
    """Return the run of whose result a DICOM object is; empty: it is not ours, or tells of answers and cannot be answered."""
    c = artifact.c
    query = sa.select(c.run_key, c.role).where(c.identifier == sop_instance_uid, c.media_type == DICOM)
    return {row.run_key for row in connection.execute(query) if not tells_of_answer(row.role)}


def runs_of_identifier(connection: sa.Connection, value: str) -> set[str]:
    """Return the runs that a number of ours stands for: a run key, a SOP Instance UID, or what our messages are known by."""
    columns = ((artifact.c.run_key, artifact.c.identifier), (result_number.c.run_key, result_number.c.number), (run.c.run_key,) * 2)
    queries = [sa.select(key).where(number == value) for key, number in columns]
    return set(connection.execute(sa.union(*queries)).scalars())


def runs_of_accession(connection: sa.Connection, accession_number: Phi | str) -> list[Any]:
    """Return the answered runs on studies whose images, or requested procedures, have this accession number."""
    number = str.__str__(accession_number).strip()
    if not number:
        return []
    # results are written down by a hash of each of their numbers: to search the objects themselves takes seconds in a large node
    named = sa.select(run.c.study_key).join(result_number, result_number.c.run_key == run.c.run_key)
    studies = list(connection.execute(named.where(result_number.c.number == accession_token(number)).distinct()).scalars())
    query = sa.select(instance.c.study_key, instance.c.facts).where(
        instance.c.study_key.in_(studies), instance.c.state == "current"
    )
    keys = {row.study_key for row in connection.execute(query) if plain(number) in _accessions(row.facts)}
    return list(connection.execute(sa.select(run).where(run.c.study_key.in_(sorted(keys)), run.c.state.in_(_REPLACES))))


def _accessions(facts: dict[str, Any]) -> set[str]:
    numbers = (facts.get("accession_number") or "", *(facts.get("requested_accessions") or ()))
    return {plain(number) for number in numbers}
