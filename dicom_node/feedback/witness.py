"""The head of the log, kept in a second place: ``HOME/verdicts.head``, and a line of the service's log.

The chain alone cannot show that rows were cut off at its end. Once a minute, number and hash of the last row are written down,
always after the commit: what is written down must be in the log for ever. So a missing end is found, up to the last minute, unless
whoever cut it off changed this file too; against that stand the lines in the service's log, and what a person noted down from
``dicom-node verdicts --verify``.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from typing import NamedTuple

import sqlalchemy as sa

from dicom_node import log
from dicom_node.feedback import repository
from dicom_node.home import Home
from dicom_node.store.connect import reading
from dicom_node.store.tables import verdict

_NAME = "verdicts.head"


class Head(NamedTuple):
    """A row of the log by number, and its hash."""

    number: int
    row_hash: str


def kept_head(home: Home) -> Head | None:
    """Return what was written down last; ``None`` when nothing was.

    Raises
    ------
    ValueError
        The file is there and cannot be read as one of ours.
    """
    try:
        found = json.loads((home.path / _NAME).read_text())
        return Head(int(found["number"]), str(found["row_hash"]))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{_NAME} is damaged") from error


def problem_with(connection: sa.Connection, head: Head) -> str:
    """Say what is wrong if the log does not hold this row; empty if it does."""
    c = verdict.c
    found = connection.execute(sa.select(c.row_hash).where(c.number == head.number)).scalar()
    if found is None:
        return (
            f"row {head.number} was there and is missing: the end of the log was cut off, or an older copy of the database restored"
        )
    return "" if found == head.row_hash else f"row {head.number} is another one than was there: the log was written anew"


def problem_with_kept(connection: sa.Connection, home: Home) -> str:
    """Say what is wrong with the log by what was written down of it; empty: nothing is."""
    try:
        head = kept_head(home)
    except ValueError as error:
        return str(error)
    return problem_with(connection, head) if head is not None else ""


def keep_head(database: sa.Engine, home: Home) -> bool:
    """Write down the last row, if the log still holds what was written down before; say whether it does.

    If it does not, the file stays as it is, and the alarm is repeated at each look until a person has found out why.
    """
    with reading(database) as connection:
        problem = problem_with_kept(connection, home)
        last = repository.last_row(connection)
    if problem:
        log.event("verdicts.broken", error=problem)
        return False
    if last is None or (head := Head(last.number, last.row_hash)) == kept_head(home):
        return True
    new = home.path / f".{_NAME}.{uuid.uuid4().hex}"
    try:
        with new.open("w") as handle:
            handle.write(json.dumps(head._asdict()) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        new.replace(home.path / _NAME)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
    log.event("verdicts.head", count=head.number, code=head.row_hash)
    return True
