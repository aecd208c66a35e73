"""Commits shared by those who wait at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from dicom_node.reception.group_commit import GroupCommit
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database


@pytest.fixture
def database(tmp_path: Path) -> sa.Engine:
    return open_database(default_url(tmp_path))


def note(name: str) -> Callable[[sa.Connection], str]:
    """Return work that adds a row; a name that begins with "bad" fails in the database, "odd" in Python."""

    def work(connection: sa.Connection) -> str:
        text = None if name.startswith("bad") else name
        row = {"at_utc": 0.0, "calling_ae": "A", "called_ae": "B", "status": 1, "text": text}
        connection.execute(sa.insert(tables.refused_object), row)
        if name.startswith("odd"):
            raise ZeroDivisionError(name)
        return name

    return work


def kept(database: sa.Engine) -> list[str]:
    with database.connect() as connection:
        return sorted(connection.execute(sa.select(tables.refused_object.c.text)).scalars())


def at_once(group: GroupCommit, names: list[str]) -> dict[str, Any]:
    """Let one work hold the turn until all others wait, and return what each got: its result or its error."""
    got: dict[str, Any] = {}
    holding, waiting = threading.Event(), threading.Event()

    def hold(connection: sa.Connection) -> None:
        holding.set()
        waiting.wait(10)

    def ask(name: str) -> None:
        try:
            got[name] = group.write(note(name), name)
        except Exception as error:  # what the caller would see
            got[name] = error

    first = threading.Thread(target=group.write, args=(hold,))
    first.start()
    assert holding.wait(10)
    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    while len(group._waiting) < len(names):
        pass
    waiting.set()
    for thread in (first, *threads):
        thread.join(10)
    return got


def test_work_alone_is_committed_before_it_returns(database: sa.Engine) -> None:
    assert GroupCommit(database).write(note("one")) == "one"
    assert kept(database) == ["one"]


def test_those_who_wait_share_one_commit(database: sa.Engine) -> None:
    commits: list[int] = []
    event.listen(database, "commit", lambda _connection: commits.append(1))
    names = [f"n{number}" for number in range(8)]
    assert at_once(GroupCommit(database), names) == {name: name for name in names}
    assert kept(database) == names
    assert len(commits) == 2  # who held the turn, and all the others together


@pytest.mark.parametrize("culprit", ["bad", "odd"])
def test_an_error_is_its_own_works_and_the_neighbours_are_kept(database: sa.Engine, culprit: str) -> None:
    names = ["a", "b", f"{culprit}1", "c"]
    got = at_once(GroupCommit(database), names)
    assert isinstance(got.pop(f"{culprit}1"), (sa.exc.IntegrityError, ZeroDivisionError))
    assert got == {"a": "a", "b": "b", "c": "c"}
    assert kept(database) == ["a", "b", "c"]


def test_a_commit_that_fails_is_told_to_all_and_not_tried_again(database: sa.Engine) -> None:
    """Nobody knows whether it took place: a second try would take its own rows for somebody else's."""
    group, calls = GroupCommit(database), 0

    def broken(_connection: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise sa.exc.OperationalError("COMMIT", {}, Exception("disk I/O error"))

    event.listen(database, "commit", broken)
    got = at_once(group, ["a", "b"])
    event.remove(database, "commit", broken)
    assert {type(error) for error in got.values()} == {sa.exc.OperationalError}
    assert calls == 2
    assert kept(database) == []
    assert group.write(note("later")) == "later"  # and the next one is welcome
    assert kept(database) == ["later"]


def test_a_transaction_that_could_not_begin_is_begun_once_more(database: sa.Engine) -> None:
    """Under load SQLite may give no turn in time; nothing was done then, and the sender need not hear of it."""
    refused: list[int] = []

    def busy(_connection: Any) -> None:
        refused.append(1)
        if len(refused) == 1:
            raise sa.exc.OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))

    event.listen(database, "begin", busy)
    assert GroupCommit(database).write(note("one")) == "one"
    event.remove(database, "begin", busy)
    assert kept(database) == ["one"]


def test_a_connection_that_died_between_two_objects_is_replaced(database: sa.Engine) -> None:
    group = GroupCommit(database)
    group.write(note("before"))
    assert group._connection is not None
    group._connection.invalidate()
    assert group.write(note("after")) == "after"
    assert kept(database) == ["after", "before"]
