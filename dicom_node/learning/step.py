"""The room's door: labels made of answers, and what readers are asked, as pages and commands show it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.learning import labels as labels_
from dicom_node.learning import repository
from dicom_node.learning.labels import Label, ReaderWeight, aggregate
from dicom_node.learning.worklists import DRAWN, Worklist


@dataclass(frozen=True)
class WorklistItem:
    """One thing a person is asked. ``kind``: a worklist or "amend". ``why``: one sentence without identifiers."""

    task_id: str
    kind: str
    run_key: str
    study_key: str
    why: str
    opened_utc: float
    due_utc: float | None
    reader: str  # pseudonym it is meant for; empty: anybody

    @property
    def overdue(self) -> bool:
        """Whether its time has passed."""
        return self.due_utc is not None and self.due_utc < time.time()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "task_id": self.task_id,
            "kind": self.kind,
            "run_key": self.run_key,
            "study_key": self.study_key,
            "why": self.why,
            "opened_utc": self.opened_utc,
            "due_utc": self.due_utc,
            "overdue": self.overdue,
            "reader": self.reader,
        }


def items(connection: sa.Connection, reader: str | None = None, kind: str = "") -> list[WorklistItem]:
    """Return what is asked, the most urgent first: of one reader (pseudonym), or of everybody.

    A reader sees what is meant for them or for anybody, nothing that needs another reader than those who read it, and a golden case
    as what it pretends to be. ``reader=None`` is for whoever runs the node and sees all as it is.
    """
    rows = repository.open_tasks(connection, kind if reader is None else "")
    if reader is None:
        return [_item(row) for row in rows]
    mine = [row for row in rows if row.reader in ("", reader)]
    asked_again = {row.run_key for row in mine if row.kind == Worklist.LOW_CONSENSUS}
    read_by = repository.readers_of(connection, asked_again)
    mine = [row for row in mine if row.kind != Worklist.LOW_CONSENSUS or reader not in read_by.get(row.run_key, ())]
    golden = {row.run_key for row in mine if row.kind == Worklist.GOLDEN_CASE}
    shown = [_item(row) for row in mine if not (row.kind == Worklist.RANDOM_AUDIT and row.run_key in golden)]
    shown = [_disguised(item) if item.kind == Worklist.GOLDEN_CASE else item for item in shown]
    return [item for item in shown if kind in ("", item.kind)]


def labels(
    connection: sa.Connection, run_keys: Iterable[str] | None = None, study_key: str = ""
) -> tuple[list[Label], dict[tuple[str, str], ReaderWeight]]:
    """Return the labels of results that stand (all, some, or of one study), and how each (reader, finding) counts.

    Readers are always weighed by all that they have said.
    """
    made, weights = aggregate(repository.reads(connection))
    wanted = None if run_keys is None else set(run_keys)
    made = [one for one in made if (wanted is None or one.run_key in wanted) and study_key in ("", one.study_key)]
    return made, weights


def golden_accuracy(connection: sa.Connection) -> dict[str, tuple[int, int]]:
    """Return by reader how many findings of golden cases they got right, and how many they answered."""
    known = {(row.study_key, row.finding): row.label == "present" for row in repository.golden_cases(connection)}
    return labels_.golden_accuracy(repository.reads(connection), known) if known else {}


def unlabelled(connection: sa.Connection) -> Counter[str]:
    """Return how many answers about standing results make no label because nobody vouches for their reader, by channel."""
    return repository.answers_without_label(connection)


def _item(row: Any) -> WorklistItem:
    return WorklistItem(row.task_id, row.kind, row.run_key, row.study_key, row.why, row.opened_utc, row.due_utc, row.reader)


def _disguised(item: WorklistItem) -> WorklistItem:
    """A golden case looks like any case drawn at random: also in that it is meant for anybody."""
    kind = Worklist.RANDOM_AUDIT.value
    return WorklistItem(item.task_id, kind, item.run_key, item.study_key, DRAWN, item.opened_utc, item.due_utc, "")
