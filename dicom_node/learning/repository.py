"""What learning reads: answers as labels need them, results that stand, tasks; and its own table of golden cases.

The tables of answers, runs and tasks belong to other rooms and are only read here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.core.feedback import Context, ReferenceStandard, Strength, Verdict
from dicom_node.learning.labels import Read, value_of
from dicom_node.store.tables import golden_case, run, study, task, verdict

#: A newer run in one of these states has replaced what came before it.
_REPLACES = ("analysed", "not_analysed", "withdrawn")
_AT_ONCE = 500


def standing() -> sa.ColumnElement[bool]:
    """Return the condition that a run's result stands: analysed, replaced by none, about the study as it is now."""
    revision = run.c.request["study_revision"].as_integer()
    as_then = sa.exists().where(study.c.study_key == run.c.study_key, sa.or_(revision.is_(None), revision == study.c.revision))
    # coalesce: nearly every run is analysed, and SQLite would go by the index of states where a study or run is asked for
    return sa.and_(sa.func.coalesce(run.c.state, "") == "analysed", ~_replaced(), as_then.correlate(run))


def _replaced() -> sa.ColumnElement[bool]:
    newer = run.alias("newer")
    later = sa.exists().where(
        newer.c.study_key == run.c.study_key,
        newer.c.pipeline == run.c.pipeline,
        newer.c.revision > run.c.revision,
        newer.c.state.in_(_REPLACES),
    )
    return later.correlate(run)


def reads(connection: sa.Connection, run_keys: Iterable[str] | None = None, study_key: str = "") -> list[Read]:
    """Return the answers that may become labels, in order: of known radiologists, about results that stand.

    An answer to a whole result is one to its finding where it has one; where it has several, only "all of it is negative" says
    something of each.
    """
    query = sa.select(verdict, run.c.summary).join(run, run.c.run_key == verdict.c.run_key).where(standing())
    query = query.where(verdict.c.strength == Strength.STRONG.value, verdict.c.reader != "").order_by(verdict.c.number)
    if study_key:
        query = query.where(verdict.c.study_key == study_key)
    golden = _golden_tasks(connection)
    if run_keys is None:
        rows: list[Any] = list(connection.execute(query))
    else:
        rows = [row for keys in _batches(run_keys) for row in connection.execute(query.where(run.c.run_key.in_(keys)))]
    return [read for row in rows for read in _reads_of(row, golden)]


def answers_without_label(connection: sa.Connection) -> Counter[str]:
    """Return how many answers about results that stand are no labels because nobody vouches for their reader, by channel."""
    query = sa.select(verdict.c.channel, sa.func.count()).join(run, run.c.run_key == verdict.c.run_key)
    weak = query.where(standing(), sa.or_(verdict.c.strength != Strength.STRONG.value, verdict.c.reader == ""))
    return Counter({row[0]: row[1] for row in connection.execute(weak.group_by(verdict.c.channel))})


def results_since(connection: sa.Connection, finished_utc: float) -> list[Any]:
    """Return ``run_key``, ``study_key`` and ``finished_utc`` of results that stand and came since then, oldest first."""
    query = sa.select(run.c.run_key, run.c.study_key, run.c.finished_utc).where(standing(), run.c.finished_utc >= finished_utc)
    return list(connection.execute(query.order_by(run.c.finished_utc)))


def answered_since(connection: sa.Connection, number: int, finished_utc: float) -> list[Any]:
    """Return the results that stand, came since ``finished_utc`` and were answered in rows of the log above ``number``."""
    query = sa.select(run.c.run_key, run.c.study_key, run.c.finished_utc).join(verdict, verdict.c.run_key == run.c.run_key)
    query = query.where(standing(), verdict.c.number > number, run.c.finished_utc >= finished_utc).distinct()
    return list(connection.execute(query))


def last_number(connection: sa.Connection) -> int:
    """Return the number of the newest row of the log; 0 when it is empty."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(verdict.c.number), 0))).scalar_one())


def answered_runs(connection: sa.Connection, run_keys: Iterable[str]) -> set[str]:
    """Return those of the runs that an authenticated radiologist has said something of."""
    query = sa.select(verdict.c.run_key).where(verdict.c.strength == Strength.STRONG.value).distinct()
    return {key for keys in _batches(run_keys) for key in connection.execute(query.where(verdict.c.run_key.in_(keys))).scalars()}


def readers_of(connection: sa.Connection, run_keys: Iterable[str]) -> dict[str, set[str]]:
    """Return by run who has said something of it."""
    found: dict[str, set[str]] = {}
    query = sa.select(verdict.c.run_key, verdict.c.reader).where(verdict.c.reader != "").distinct()
    for keys in _batches(run_keys):
        for row in connection.execute(query.where(verdict.c.run_key.in_(keys))):
            found.setdefault(row.run_key, set()).add(row.reader)
    return found


def open_tasks(connection: sa.Connection, kind: str = "") -> list[Any]:
    """Return the open tasks on results that stand, the most urgent first."""
    query = sa.select(task).join(run, run.c.run_key == task.c.run_key).where(task.c.closed_utc.is_(None), _answered_or_refused())
    query = query.where(task.c.kind == kind) if kind else query
    return sorted(connection.execute(query), key=lambda row: (row.due_utc or float("inf"), row.opened_utc, row.task_id))


def void_tasks(connection: sa.Connection) -> list[str]:
    """Return the runs whose results stand no more and that something is still asked about."""
    query = sa.select(task.c.run_key).join(run, run.c.run_key == task.c.run_key).where(task.c.closed_utc.is_(None))
    return list(connection.execute(query.where(~_answered_or_refused()).distinct()).scalars())


def add_golden(connection: sa.Connection, study_key: str, finding: str, label: str) -> None:
    """Add a golden case, or change its answer."""
    where = (golden_case.c.study_key == study_key, golden_case.c.finding == finding)
    connection.execute(sa.delete(golden_case).where(*where))
    connection.execute(sa.insert(golden_case).values(study_key=study_key, finding=finding, label=label, added_utc=time.time()))


def remove_golden(connection: sa.Connection, study_key: str) -> int:
    """Remove the golden case of a study; return how many findings it had."""
    return connection.execute(sa.delete(golden_case).where(golden_case.c.study_key == study_key)).rowcount


def golden_cases(connection: sa.Connection) -> list[Any]:
    """Return ``study_key, finding, label, run_key`` of golden cases; ``run_key`` is of the result that stands, if there is one."""
    both = golden_case.outerjoin(run, sa.and_(run.c.study_key == golden_case.c.study_key, standing()))
    query = sa.select(golden_case, run.c.run_key).select_from(both)
    return list(connection.execute(query.order_by(golden_case.c.study_key, golden_case.c.finding)))


def golden_given(connection: sa.Connection) -> dict[str, set[str]]:
    """Return by reader the runs of golden cases that they were ever given."""
    found: dict[str, set[str]] = {}
    for reader, run_key in _golden_tasks(connection):
        found.setdefault(reader, set()).add(run_key)
    return found


def results_answered(connection: sa.Connection) -> dict[str, int]:
    """Return how many results each reader has answered."""
    query = sa.select(verdict.c.reader, sa.func.count(verdict.c.run_key.distinct())).where(
        verdict.c.strength == Strength.STRONG.value, verdict.c.reader != ""
    )
    return {row[0]: row[1] for row in connection.execute(query.group_by(verdict.c.reader))}


def findings_of(connection: sa.Connection, study_key: str) -> tuple[str, ...]:
    """Return the findings that the standing results of a study assess."""
    query = sa.select(run.c.summary).where(run.c.study_key == study_key, standing())
    return tuple(dict.fromkeys(key for row in connection.execute(query) for key in _assessed(row.summary)))


def _answered_or_refused() -> sa.ColumnElement[bool]:
    """Return the condition that something may be asked about a run: of refusals too a person may want to say something."""
    return sa.and_(run.c.state.in_(("analysed", "not_analysed")), ~_replaced())


def _golden_tasks(connection: sa.Connection) -> dict[tuple[str, str], float]:
    """Return since when a golden case was put before a reader, by (reader, run)."""
    query = sa.select(task.c.reader, task.c.run_key, task.c.opened_utc).where(task.c.kind == Context.GOLDEN_CASE.value)
    return {(row.reader, row.run_key): row.opened_utc for row in connection.execute(query)}


def _assessed(summary: dict[str, Any] | None) -> Sequence[str]:
    return tuple((summary or {}).get("probabilities", {}))


def _reads_of(row: Any, golden: dict[tuple[str, str], float]) -> Iterator[Read]:
    said, context = Verdict(row.verdict), Context(row.context)
    if row.at_utc >= golden.get((row.reader, row.run_key), float("inf")):
        context = Context.GOLDEN_CASE  # the reader did not know, so neither does the answer
    assessed = _assessed(row.summary)
    value = value_of(said, row.label_before, row.label_after, row.assessment)
    reference = {"positive": True, "negative": False}.get(row.reference_value)
    if row.reference_standard == ReferenceStandard.NONE.value:
        reference = None
    if not row.finding and len(assessed) > 1 and said is not Verdict.WITHDRAWN:
        reference = None
        if not (said is Verdict.ACCEPTED and row.label_before == "negative"):
            value = None
    if not row.finding and said is Verdict.WITHDRAWN:
        assessed = (*assessed, *(row.summary or {}).get("not_assessed", ()))  # a reader may have said something of these as well
    for finding in (row.finding,) if row.finding else assessed:
        yield Read(
            number=row.number,
            feedback_id=row.feedback_id,
            run_key=row.run_key,
            study_key=row.study_key,
            finding=finding,
            reader=row.reader,
            verdict=said,
            context=context,
            value=value,
            plain_accept=said is Verdict.ACCEPTED and row.assessment is None and not row.label_after,
            ai_shown=bool(row.ai_shown),
            reference_standard=ReferenceStandard(row.reference_standard),
            reference_positive=reference,
            of_whole=not row.finding,
        )


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """SQLite takes only so many values in one query."""
    ordered = sorted(set(keys))
    return (ordered[start : start + _AT_ONCE] for start in range(0, len(ordered), _AT_ONCE))
