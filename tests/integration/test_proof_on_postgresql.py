"""What proof and retention ask of the database holds on PostgreSQL too: locks, JSON, and two reports at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.delivery import repository, withdraw
from dicom_node.store import connect, tables
from dicom_node.studies import safekeeping
from tests.factories.committing_pacs import committing_pacs
from tests.factories.postgresql import running_postgresql
from tests.factories.received_objects import radiograph
from tests.unit.delivery import test_proving as proving_cases
from tests.unit.studies import test_retention as retention_cases
from tests.unit.studies.conftest import Home


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One PostgreSQL for all cases of this file."""
    with running_postgresql() as made:
        yield made.url


def emptied(url: str) -> sa.Engine:
    """Return an engine on the server with our tables, all of them empty."""
    engine = connect.open_database(url)
    with engine.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            if table is not tables.schema:
                connection.execute(sa.delete(table))
    return engine


PROVING: list[Callable[..., None]] = [
    proving_cases.test_a_report_that_comes_later_is_taken_and_the_same_once_more_changes_nothing,
    proving_cases.test_an_object_that_the_archive_lost_is_sent_again_and_parked_at_last,
    proving_cases.test_silence_is_asked_again_under_a_new_uid_and_never_becomes_delivered,
]
RETENTION: list[Callable[..., None]] = [
    retention_cases.test_what_is_delivered_and_old_goes_and_its_story_stays,
    retention_cases.test_the_same_object_again_is_stored_anew_and_nothing_runs,
    retention_cases.test_results_go_after_their_own_time,
    retention_cases.test_a_promise_to_a_modality_keeps_the_study,
]


@pytest.mark.parametrize("case", PROVING, ids=lambda case: case.__name__)
def test_proving(case: Callable[..., None], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = emptied(server)
    monkeypatch.setattr(proving_cases, "open_database", lambda _url: engine)
    with committing_pacs() as pacs:
        case(tmp_path, pacs)
    engine.dispose()


@pytest.mark.parametrize("case", RETENTION, ids=lambda case: case.__name__)
def test_retention(case: Callable[..., None], server: str, tmp_path: Path) -> None:
    engine = emptied(server)
    case(Home(tmp_path, engine))
    engine.dispose()


def test_the_same_report_twice_at_once_counts_once(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that sends everything twice, on two associations in the same moment."""
    engine = emptied(server)
    monkeypatch.setattr(proving_cases, "open_database", lambda _url: engine)
    with committing_pacs() as pacs:
        pacs.report = "never"
        node = proving_cases.made(tmp_path, pacs.port, commitment_wait_seconds=0)
        node.prove()
        answers: list[int] = []
        gate = threading.Barrier(2)

        def report() -> None:
            gate.wait()
            answers.append(proving_cases.report(node, pacs.asked[0], {proving_cases.SR_UID: 0x0112}))

        threads = [threading.Thread(target=report) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [0x0000, 0x0000]
    assert len(node.again) == 1, "sent again once"
    engine.dispose()


def test_a_promise_and_retention_at_once_never_both_win(server: str, tmp_path: Path) -> None:
    """Whoever comes second sees what the first has done."""
    engine = emptied(server)
    home = Home(tmp_path, engine)
    key = retention_cases.received(home)
    retention_cases.delivered(home, key)
    image: Any = radiograph()
    kept: list[int] = []
    gate = threading.Barrier(2)

    def promise() -> None:
        gate.wait()
        with engine.begin() as connection:
            pair = (image.SOPClassUID, image.SOPInstanceUID)
            kept.extend(safekeeping.promise(connection, [pair], home.path).values())

    thread = threading.Thread(target=promise)
    thread.start()
    gate.wait()
    done = retention_cases.pass_by(home)
    thread.join()
    assert (kept == [0]) is (done.studies == 0)
    assert (kept == [0]) is bool(retention_cases.files(home))
    engine.dispose()


def test_what_arrived_while_it_was_being_cancelled_stays_delivered(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's answer is being written when the result is withdrawn: the row says that it was delivered, and it is taken back."""
    engine = emptied(server)
    monkeypatch.setattr(proving_cases, "open_database", lambda _url: engine)
    node = proving_cases.made(tmp_path, 9)
    row = node.rows()[0]
    with engine.begin() as connection:
        connection.execute(sa.update(tables.delivery).values(state="queued", begun_utc=1.0))
    cancelled: list[int] = []

    def withdrawal() -> None:
        with engine.begin() as connection:
            cancelled.append(withdraw.cancel_unsent(connection, row.run_key, "Withdrawn."))

    thread = threading.Thread(target=withdrawal)
    with engine.begin() as connection:
        repository.load(connection, row.delivery_id, lock=True)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "it waits for the answer to be written"
        repository.update(connection, row.delivery_id, state="done")
    thread.join(10)
    assert cancelled == [1]
    assert {one.delivery_id == row.delivery_id: one.state for one in node.rows()} == {True: "done", False: "cancelled"}
    engine.dispose()
