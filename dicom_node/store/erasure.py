"""Which rows go when a study is erased: of every table that names a study or a run, all of them, but for those named here.

A table that somebody adds is therefore erased from the first day. What stays is a shell without identifiers: the study's row, so
that its place is known; its runs, so that a later run gets another name and no old answer is taken for one to it; the log of
answers, which holds keys and hashes; one line of the story. Rows of files stay, marked, until the files are gone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa

from dicom_node.store import tables
from dicom_node.store.story import tell
from dicom_node.store.tables import answer_object, artifact, commitment, delivery, instance, run, study

#: State of a study, a run, an instance and an answer's object of which nothing but its key is left.
ERASED = "erased"
#: Tables with a study or run in them that are not simply emptied.
_KEPT = frozenset(("study", "run", "verdict", "instance", "answer_object"))


class Rows(NamedTuple):
    """What the rows of a study name."""

    run_keys: frozenset[str]
    delivery_ids: frozenset[str]
    objects: int
    answers: int


def erase_study(connection: sa.Connection, study_key: str, now_utc: float) -> Rows:
    """Erase the rows of one study, in the caller's transaction. Once more, it changes nothing that matters.

    The study's row is locked by the caller.
    """
    runs = frozenset(connection.execute(sa.select(run.c.run_key).where(run.c.study_key == study_key)).scalars())
    of_runs = artifact.c.run_key.in_(sorted(runs))
    deliveries = frozenset(connection.execute(sa.select(delivery.c.delivery_id).where(delivery.c.study_key == study_key)).scalars())
    uids = set(connection.execute(sa.select(instance.c.sop_instance_uid).where(instance.c.study_key == study_key)).scalars())
    ours = set(connection.execute(sa.select(artifact.c.identifier).where(of_runs)).scalars())
    answers = _count(connection, tables.verdict_private, tables.verdict_private.c.study_key == study_key)
    _forget_commitments(connection, (uids | ours) - {""}, deliveries)
    objects = _mark_files(connection, study_key, runs, ours, now_utc)
    for table in reversed(tables.metadata.sorted_tables):
        if table.name not in _KEPT:
            names = [table.c[name].in_(keys) for name, keys in (("study_key", [study_key]), ("run_key", runs)) if name in table.c]
            if names:
                connection.execute(sa.delete(table).where(sa.or_(*names)))
    for one in connection.execute(sa.select(run.c.run_key, run.c.request).where(run.c.study_key == study_key)).all():
        empty = {"study_instance_uid": _place(study_key), "read": [], "not_read": [], "detail": "", "predecessor": ""}
        values: dict[str, Any] = {"state": ERASED, "summary": sa.null(), "finished_utc": now_utc}
        connection.execute(sa.update(run).where(run.c.run_key == one.run_key).values(**values, request={**one.request, **empty}))
    values = {"study_instance_uid": _place(study_key), "state": ERASED, "hold_reason": "", "deadline_utc": None}
    values |= {"first_received_utc": now_utc, "last_received_utc": now_utc, "ceiling_utc": now_utc}
    values |= {"pixels_deleted_utc": None, "committed_utc": None, "revision": study.c.revision + 1}
    connection.execute(sa.update(study).where(study.c.study_key == study_key).values(**values))
    tell(connection, study_key, "studies", "study.erased", "Erased by a person: objects, results, messages and texts are gone.")
    return Rows(runs, deliveries, objects, answers)


def facts_of(connection: sa.Connection, study_key: str) -> list[dict[str, Any]]:
    """Return the header facts of every object of a study, each different one once."""
    query = sa.select(instance.c.facts).where(instance.c.study_key == study_key, instance.c.state != ERASED)
    return list({str(facts): facts for facts in connection.execute(query).scalars()}.values())


def marked_files(connection: sa.Connection) -> list[tuple[sa.Table, int, str]]:
    """Return table, row and storage key of every file of what was erased."""
    found: list[tuple[sa.Table, int, str]] = []
    for table, number in ((instance, instance.c.instance_id), (answer_object, answer_object.c.object_id)):
        rows = connection.execute(sa.select(number, table.c.storage_key).where(table.c.state == ERASED).order_by(number))
        found += [(table, row[0], row[1]) for row in rows]
    return found


def files_of_answers(connection: sa.Connection) -> set[str]:
    """Return the storage keys of objects that carry answers."""
    return set(connection.execute(sa.select(answer_object.c.storage_key)).scalars())


def forget_files(connection: sa.Connection, gone: Collection[tuple[sa.Table, int, str]]) -> None:
    """Remove the marked rows of files that are gone."""
    for table, number, _ in gone:
        connection.execute(sa.delete(table).where(next(iter(table.primary_key.columns)) == number, table.c.state == ERASED))


def erased_runs(connection: sa.Connection) -> list[str]:
    """Return the runs of what was erased."""
    return list(connection.execute(sa.select(run.c.run_key).where(run.c.state == ERASED).order_by(run.c.run_key)).scalars())


def forget_late(connection: sa.Connection, run_keys: Collection[str]) -> int:
    """Remove what a step that was under way wrote of erased runs after their rows were gone; return how many rows."""
    late = 0
    for table in reversed(tables.metadata.sorted_tables):
        if table.name not in _KEPT and "run_key" in table.c:
            late += connection.execute(sa.delete(table).where(table.c.run_key.in_(sorted(run_keys)))).rowcount
    return late


def _place(study_key: str) -> str:
    """What stands where the Study Instance UID was: no UID, and no two alike."""
    return f"erased:{study_key}"


def _mark_files(connection: sa.Connection, study_key: str, runs: Collection[str], ours: Collection[str], now_utc: float) -> int:
    """Leave of objects nothing but where their file lies; it is removed after the commit (``marked_files``)."""
    nothing: dict[str, Any] = {"sop_instance_uid": "", "sop_class_uid": "", "digest": "", "state": ERASED}
    c, a = instance.c, answer_object.c
    objects = _count(connection, instance, (c.study_key == study_key) & (c.state != ERASED))
    files = {**nothing, "series_instance_uid": "", "transfer_syntax_uid": "", "facts": {}, "deleted_utc": now_utc}
    connection.execute(sa.update(instance).where(c.study_key == study_key).values(**files))
    about = sa.or_(a.study_key == study_key, a.run_key.in_(sorted(runs)), a.sop_instance_uid.in_(sorted(ours)))
    answers = {**nothing, "association": "", "text": "", "run_key": ""}
    connection.execute(sa.update(answer_object).where(about).values(**answers))
    return objects


def _forget_commitments(connection: sa.Connection, uids: Collection[str], deliveries: Collection[str]) -> None:
    """Take objects out of transactions of storage commitment; one that is about nothing else goes."""
    c = commitment.c
    for row in connection.execute(sa.select(c.transaction_uid, c["items"].label("about"))).all():
        about = row.about
        left: Any
        if "objects" in about:  # a modality asked us
            left = {**about, "objects": [one for one in about["objects"] if one[1] not in uids]}
            count, before = len(left["objects"]), len(about["objects"])
        else:
            left = {uid: one for uid, one in about.items() if uid not in uids and one not in deliveries}
            count, before = len(left), len(about)
        this = c.transaction_uid == row.transaction_uid
        if count == before:
            continue
        if count:
            connection.execute(sa.update(commitment).where(this).values(items=left))
        else:
            connection.execute(sa.delete(commitment).where(this))


def _count(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(which)).scalar_one())
