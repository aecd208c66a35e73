"""Planning, attempting and settling deliveries in the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.core import withdrawal
from dicom_node.core.artifact import Artifact
from dicom_node.core.delivery import DeliveryState, Outcome, Receipt
from dicom_node.core.errors import DimseFailure, HttpFailure
from dicom_node.core.run import Priority, RunRequest
from dicom_node.delivery import step
from dicom_node.delivery.destinations import folder
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.results.repository import record_artifacts, write_artifacts
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from dicom_node.store.story import read_story
from tests.factories.deliverables import artifact, record_run, request

LATER = "rn_" + "2" * 32


class Node:
    """A database, a results folder, one folder destination, and the queue that ``submit`` fills."""

    def __init__(self, home: Path) -> None:
        self.database = open_database(default_url(home))
        self.root = home / "results"
        self.out = home / "out"
        self.out.mkdir()
        self.destinations: dict[str, DestinationSettings] = {
            "pacs": folder.Settings(kind="folder", path=self.out, outputs=("text_report",), allow_unvalidated=True)
        }
        self.queue: list[tuple[str, int, str, int, float]] = []

    def submit(self, connection: sa.Connection, *job: Any) -> None:
        self.queue.append(job)

    def plan(self, run: RunRequest | None = None, *artifacts: Artifact) -> None:
        run = run or request()
        items = artifacts or (artifact(run_key=run.run_key),)
        write_artifacts(self.root, items)
        with self.database.begin() as connection:
            if not connection.execute(sa.select(tables.run).where(tables.run.c.run_key == run.run_key)).first():
                record_run(connection, run)
            record_artifacts(connection, items)
            step.plan_deliveries(connection, run, "external", items, self.destinations, self.submit)

    def rows(self) -> list[Any]:
        with self.database.begin() as connection:
            return step.list_deliveries(connection)

    def attempt(self) -> Receipt:
        delivery_id, attempt, *_ = self.queue[-1]
        return step.attempt_delivery(self.database, delivery_id, attempt, self.destinations, self.root)

    def settle(self, receipt: Receipt) -> None:
        delivery_id, attempt, *_ = self.queue[-1]
        step.settle_delivery(self.database, delivery_id, attempt, receipt, self.destinations, self.submit)

    def story(self) -> list[str]:
        with self.database.begin() as connection:
            return [line.text for line in read_story(connection, "st_aaaaaaaaaa")]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.database.dispose()


def test_planning_again_adds_nothing(node: Node) -> None:
    """A step that runs twice makes one row and one attempt."""
    node.plan()
    node.plan()
    assert [row.state for row in node.rows()] == [DeliveryState.QUEUED]
    assert [(job[1], job[2], job[3], job[4]) for job in node.queue] == [(1, "pacs", Priority.ROUTINE, 0.0)]


def test_a_withheld_delivery_is_told_and_never_submitted(node: Node) -> None:
    """What does not leave the node leaves a sentence in the story."""
    node.destinations["pacs"] = node.destinations["pacs"].model_copy(update={"allow_unvalidated": False})
    with node.database.begin() as connection:
        record_run(connection, request())
        record_artifacts(connection, [artifact()])
        step.plan_deliveries(connection, request(), "demo", [artifact()], node.destinations, node.submit)
    assert [row.state for row in node.rows()] == [DeliveryState.WITHHELD]
    assert node.queue == []
    assert any("not sent to pacs" in line and "demo" in line for line in node.story())


def test_a_delivery_is_done_when_the_peer_says_so(node: Node) -> None:
    """An attempt that succeeds is settled as done, and settling it again changes nothing."""
    node.plan()
    receipt = node.attempt()
    assert receipt.outcome is Outcome.DELIVERED
    assert (node.out / request().run_key / "text_report.dcm").read_bytes() == artifact().data
    node.settle(receipt)
    story = node.story()
    node.settle(receipt)
    (row,) = node.rows()
    assert row.state == DeliveryState.DONE
    assert row.done_utc is not None
    assert node.story() == story == ["Delivered, accepted by the peer: text report to pacs."]


def test_a_warning_is_never_shown_as_plain_success(node: Node) -> None:
    """A peer's warning stands in state, detail and story."""
    node.plan()
    node.settle(Receipt(Outcome.WARNING, "Status 0xB000: coerced."))
    (row,) = node.rows()
    assert (row.state, row.detail) == (DeliveryState.WARNED, "Status 0xB000: coerced.")
    assert "with a warning" in node.story()[-1]


def test_a_temporary_failure_is_tried_again_later(node: Node) -> None:
    """The next attempt is submitted in the transaction that records the failure, with a delay."""
    node.plan()
    node.settle(Receipt(Outcome.RETRY, "Down."))
    (row,) = node.rows()
    assert (row.state, row.attempt) == (DeliveryState.WAITING, 2)
    assert row.next_attempt_utc is not None
    assert row.next_attempt_utc > time.time()
    assert node.queue[-1][1] == 2
    assert 4 <= node.queue[-1][4] <= 5


def test_an_attempt_waits_no_longer_because_the_clock_was_set_back(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour back: the attempt is made now, not in an hour; a wait that is as long as it should be is left alone."""
    node.plan()
    node.settle(Receipt(Outcome.RETRY, "Down."))
    waiting = node.rows()[0].delivery_id

    def sweep() -> int:
        with node.database.begin() as connection:
            return step.resubmit_lost(connection, {waiting}, node.submit)

    assert sweep() == 0
    real = time.time
    monkeypatch.setattr(step.time, "time", lambda: real() - 3600)
    assert sweep() == 1
    assert node.queue[-1][1:] == (3, "pacs", node.queue[0][3], 0.0)
    assert sweep() == 0


def test_a_destination_that_is_down_for_days_makes_one_line_in_the_story(node: Node) -> None:
    """Equal failures are told once; another failure is told anew."""
    node.plan()
    for _ in range(5):
        node.settle(Receipt(Outcome.RETRY, "Down."))
    node.settle(Receipt(Outcome.RETRY, "Full."))
    assert len(node.story()) == 2


def test_a_stale_attempt_neither_sends_nor_settles(node: Node) -> None:
    """An attempt that was overtaken by a later one changes nothing."""
    node.plan()
    first = node.queue[0]
    node.settle(Receipt(Outcome.RETRY, "Down."))
    receipt = step.attempt_delivery(node.database, first[0], 1, node.destinations, node.root)
    assert receipt.outcome is Outcome.REJECT
    step.settle_delivery(node.database, first[0], 1, receipt, node.destinations, node.submit)
    assert not list(node.out.iterdir())
    assert [row.state for row in node.rows()] == [DeliveryState.WAITING]


def test_a_delivery_out_of_patience_is_parked_and_one_command_sends_it_again(node: Node) -> None:
    """Dead letters keep their reason, and retrying submits the next attempt with new patience."""
    node.plan()
    with node.database.begin() as connection:
        connection.execute(sa.update(tables.delivery).values(planned_utc=time.time() - 73 * 3600))
    node.settle(Receipt(Outcome.RETRY, "Down."))
    (row,) = node.rows()
    assert row.state == DeliveryState.DEAD
    assert "out of patience" in row.detail
    with node.database.begin() as connection:
        assert step.retry_dead(connection, ["dl_unknown"], node.submit) == []
        assert step.retry_dead(connection, None, node.submit) == [row.delivery_id]
    assert node.queue[-1][1] == 2
    node.settle(Receipt(Outcome.RETRY, "Down."))
    assert [row.state for row in node.rows()] == [DeliveryState.WAITING]


def test_what_takes_a_result_back_is_never_out_of_patience(node: Node) -> None:
    """A PACS that is away over the holidays would else show the wrong result for ever after."""
    node.plan(None, artifact(withdrawal.NOTE))
    with node.database.begin() as connection:
        item = connection.execute(sa.select(tables.artifact.c.artifact_id)).scalar_one()
        connection.execute(
            sa.insert(tables.delivery).values(
                delivery_id="dl_note",
                artifact_id=item,
                run_key=request().run_key,
                study_key=request().study_key,
                destination="pacs",
                state="queued",
                attempt=1,
                planned_utc=time.time() - 365 * 86400,
            )
        )
    node.queue.append(("dl_note", 1, "pacs", 0, 0.0))
    node.settle(Receipt(Outcome.RETRY, "Down."))
    assert [row.state for row in node.rows()] == [DeliveryState.WAITING]


def test_a_permanent_failure_is_parked_at_once(node: Node) -> None:
    """What trying again cannot mend waits for a person."""
    node.plan()
    node.settle(Receipt(Outcome.REJECT, "The peer does not know us."))
    assert [row.state for row in node.rows()] == [DeliveryState.DEAD]
    assert len(node.queue) == 1
    assert "The peer does not know us." in node.story()[-1]


@pytest.mark.parametrize("temporary", [True, False])
def test_a_peer_error_says_whether_trying_again_helps(node: Node, monkeypatch: pytest.MonkeyPatch, temporary: bool) -> None:
    """The queue asks an error one thing only: temporary or not."""

    def fail(item: Artifact, settings: Any) -> Receipt:
        raise DimseFailure("Status.", status=0xA700, temporary=temporary)

    monkeypatch.setattr(folder, "send", fail)
    node.plan()
    assert node.attempt() == Receipt(Outcome.RETRY if temporary else Outcome.REJECT, "Status.", in_doubt=False)


@pytest.mark.parametrize(("status", "in_doubt"), [(200, True), (202, True), (301, True), (409, False), (422, False), (503, True)])
def test_only_a_refusal_says_that_the_server_has_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch, status: int, in_doubt: bool
) -> None:
    """An archive that answers success and names another object may have stored ours."""

    def fail(item: Artifact, settings: Any) -> Receipt:
        raise HttpFailure("Status.", status=status, temporary=True)

    monkeypatch.setattr(folder, "send", fail)
    node.plan()
    assert node.attempt().in_doubt is in_doubt


def test_what_changes_while_an_attempt_waits_for_its_turn_is_seen(node: Node) -> None:
    """The destination is busy; meanwhile the study is corrected: nothing is sent."""
    node.plan()
    turns = step.make_turns(node.destinations)
    asked: list[str] = []
    delivery_id, attempt, *_ = node.queue[-1]
    receipts: list[Receipt] = []

    def make() -> None:
        receipts.append(
            step.attempt_delivery(node.database, delivery_id, attempt, node.destinations, node.root, turns, asked.append)
        )

    with turns["pacs"], turns["pacs"]:
        thread = threading.Thread(target=make)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert asked == [], "the guard is asked when it can be sent, not before"
        with node.database.begin() as connection:
            connection.execute(sa.update(tables.study).values(revision=2))
    thread.join(10)
    assert [receipt.outcome for receipt in receipts] == [Outcome.REJECT]
    assert [row.state for row in node.rows()] == [DeliveryState.CANCELLED]
    assert not list(node.out.iterdir())


@pytest.mark.parametrize("delivered", [True, False])
def test_a_message_that_overtook_what_replaced_it_is_followed_by_it(node: Node, delivered: bool) -> None:
    """The older version is on its way while the newer is delivered: the newer is sent once more, it may have been overwritten."""
    node.destinations["pacs"] = node.destinations["pacs"].model_copy(update={"outputs": ("diagnostic_report",)})
    node.plan(None, artifact("diagnostic_report"))
    old = node.queue[-1]
    receipt = node.attempt()
    node.plan(request(run_key=LATER, revision=2), artifact("diagnostic_report", run_key=LATER))
    node.settle(node.attempt())
    assert len(node.queue) == 2
    if not delivered:
        receipt = Receipt(Outcome.RETRY, "No answer.", in_doubt=True)
    step.settle_delivery(node.database, old[0], old[1], receipt, node.destinations, node.submit)
    states = {row.run_key: row.state for row in node.rows()}
    assert states == {
        request().run_key: DeliveryState.DONE if delivered else DeliveryState.CANCELLED,
        LATER: DeliveryState.QUEUED,
    }
    assert node.queue[-1][1] == 2
    node.settle(node.attempt())
    assert {row.run_key: row.state for row in node.rows()}[LATER] == DeliveryState.DONE


def test_an_unexpected_error_is_tried_again_and_told_without_its_text(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of one kind ends no queue, and its message, which could name a patient, is not repeated."""

    def fail(item: Artifact, settings: Any) -> Receipt:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr(folder, "send", fail)
    node.plan()
    receipt = node.attempt()
    assert receipt.outcome is Outcome.RETRY
    assert "RuntimeError" in receipt.detail
    assert "Doe" not in receipt.detail


def test_a_damaged_file_is_never_sent(node: Node) -> None:
    """Bytes that are not those recorded are refused before any connection."""
    node.plan()
    stored = next(node.root.rglob("*.dcm"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"X")
    assert node.attempt().outcome is Outcome.REJECT
    stored.unlink()
    assert node.attempt().outcome is Outcome.RETRY
    assert not list(node.out.iterdir())


def test_a_newer_result_cancels_what_was_not_sent_of_the_older(node: Node) -> None:
    """After a correction the older result is not sent any more, in whatever order the queue runs."""
    node.plan()
    old = node.queue[0]
    node.plan(request(run_key=LATER, revision=2))
    states = {row.run_key: row.state for row in node.rows()}
    assert states == {request().run_key: DeliveryState.CANCELLED, LATER: DeliveryState.QUEUED}
    step.attempt_delivery(node.database, old[0], old[1], node.destinations, node.root)
    assert not list(node.out.iterdir())
    with node.database.begin() as connection:
        assert step.retry_dead(connection, None, node.submit) == []


def test_an_older_result_planned_late_is_not_sent_after_the_newer(node: Node) -> None:
    """A run that was recovered after its successor plans nothing but a cancelled row."""
    node.plan(request(run_key=LATER, revision=2))
    node.plan()
    states = {row.run_key: row.state for row in node.rows()}
    assert states == {request().run_key: DeliveryState.CANCELLED, LATER: DeliveryState.QUEUED}


def test_a_result_that_was_replaced_on_its_way_is_told_as_delivered(node: Node) -> None:
    """What the peer has taken is never shown as cancelled."""
    node.plan()
    receipt = node.attempt()
    node.queue, first = [], node.queue
    node.plan(request(run_key=LATER, revision=2))
    node.queue = first
    node.settle(receipt)
    assert {row.run_key: row.state for row in node.rows()}[request().run_key] == DeliveryState.DONE
    assert "replaced while it was on its way" in node.story()[-1]


def test_a_destination_taken_out_of_the_configuration_is_told_once(node: Node) -> None:
    """A run that names a destination that is gone says so in the story."""
    for _ in range(2):
        node.plan(request(destinations=("gone",)))
    assert len([line for line in node.story() if "not in the configuration" in line]) == 1
    assert node.rows() == []


def test_story_and_log_lines_name_no_identifier(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither UIDs nor patients appear in what the room tells."""
    node.plan()
    node.settle(node.attempt())
    told = "\n".join(node.story()) + capsys.readouterr().out
    for hidden in ("PID-0042", "Doe", "1.2.826", artifact().identifier):
        assert hidden not in told
    assert '"event": "delivery.attempted"' in told


def test_each_destination_has_its_own_number_of_turns() -> None:
    """A destination of one attempt at once gives one turn, whatever others allow."""
    turns = step.make_turns(
        {"slow": DestinationSettings(kind="folder", max_concurrent=1), "fast": DestinationSettings(kind="folder")}
    )
    with turns["slow"], turns["fast"], turns["fast"]:
        slow, fast = turns["slow"], turns["fast"]
        assert isinstance(slow, threading.BoundedSemaphore)
        assert isinstance(fast, threading.BoundedSemaphore)
        assert not slow.acquire(blocking=False)
        assert not fast.acquire(blocking=False)
