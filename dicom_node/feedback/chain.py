"""The chain: each row of the log carries the hash of the one before it, so that what was said cannot be changed unseen.

What ``verify`` finds: a row that was changed, left out, put in or reordered, and an erasable part that is not the one recorded.
What it cannot find by itself: rows cut off at the end, and a chain written anew from some row on. Against that stands the head,
number and hash of the last row, kept elsewhere (``witness.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.store import append_only
from dicom_node.store.tables import verdict, verdict_private

#: What stands before the first row.
FIRST = hashlib.sha256(b"dicom-node: the log of answers begins here").hexdigest()
#: Feedback ids of what is kept beside the log: regions and reports that are evidence and no answer. No row stands for them.
EVIDENCE = "ev_"
_HASHED = tuple(column.name for column in verdict.columns if column.name != "row_hash")
_AT_A_TIME = 1000


@dataclass(frozen=True)
class Verified:
    """What one look at the whole log gave. ``head``: hash of the last row."""

    rows: int
    problems: tuple[str, ...]
    head: str


def canonical(value: Any) -> str:
    """Return JSON as it is hashed: keys sorted, no blanks, ASCII; a float as Python writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def row_hash(values: Mapping[str, Any]) -> str:
    """Return the hash of a row: SHA-256 over all its columns but the hash itself, the previous row's hash among them."""
    return hashlib.sha256(canonical({name: values[name] for name in _HASHED}).encode()).hexdigest()


def private_hash(feedback_id: str, study_key: str, salt: str, content: Any) -> str:
    """Return the hash by which a row holds on to its erasable part. Once the salt has gone with it, nothing can be guessed."""
    return hashlib.sha256(canonical([feedback_id, study_key, salt, content]).encode()).hexdigest()


def verify(connection: sa.Connection) -> Verified:
    """Go through the whole log, and say what does not hold; rows are named by their number.

    Returns
    -------
    Verified
        ``problems``: sentences, empty if the log is sound.
    """
    unguarded = append_only.missing(connection, verdict)
    problems = [f"trigger {name} is missing: the database would let rows be changed" for name in unguarded]
    previous, expected, count = FIRST, 1, 0
    last: int | None = None
    while True:
        query = sa.select(verdict).order_by(verdict.c.number).limit(_AT_A_TIME)
        rows = connection.execute(query if last is None else query.where(verdict.c.number > last)).mappings().all()
        if not rows:
            break
        last = rows[-1]["number"]
        private = _private_of(connection, [row["feedback_id"] for row in rows])
        for row in rows:
            problems += _problems_of(row, expected, previous, private.get(row["feedback_id"]))
            previous, expected, count = row["row_hash"], row["number"] + 1, count + 1
    problems += _without_row(connection)
    return Verified(count, tuple(problems), previous)


def _problems_of(row: Mapping[Any, Any], expected: int, previous: str, private: Any) -> list[str]:
    number = row["number"]
    found = []
    if number != expected:
        missing = f"row {expected} is" if number == expected + 1 else f"rows {expected} to {number - 1} are"
        found.append(f"{missing} missing")
    try:
        actual = row_hash(row)
    except (TypeError, ValueError):  # a value of a kind that nobody recorded
        actual = ""
    if actual != row["row_hash"]:
        found.append(f"row {number} was changed")
    if number == expected and row["previous_hash"] != previous:
        found.append(f"row {number} does not follow from the row before it")
    if private is not None:
        try:
            kept = private_hash(private.feedback_id, private.study_key, private.salt, private.content)
        except (TypeError, ValueError):
            kept = ""
        if kept != row["private_hash"]:
            found.append(f"row {number}: what belongs to it in verdict_private was changed")
    return found


def _private_of(connection: sa.Connection, feedback_ids: list[str]) -> dict[str, Any]:
    query = sa.select(verdict_private).where(verdict_private.c.feedback_id.in_(feedback_ids))
    return {row.feedback_id: row for row in connection.execute(query)}


def _without_row(connection: sa.Connection) -> list[str]:
    known = sa.select(verdict.c.number).where(verdict.c.feedback_id == verdict_private.c.feedback_id).exists()
    evidence = verdict_private.c.feedback_id.startswith(EVIDENCE, autoescape=True)
    query = sa.select(verdict_private.c.feedback_id).where(~known, ~evidence)
    return [f"verdict_private {row.feedback_id} belongs to no row" for row in connection.execute(query)]
