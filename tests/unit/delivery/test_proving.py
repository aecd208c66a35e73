"""From sent to delivered: commitment and query against a PACS on loopback, with every way it can go wrong."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.core.delivery import DeliveryState, Outcome, Proof, Receipt
from dicom_node.core.errors import PeerTimeout
from dicom_node.delivery import commitment, proving, step
from dicom_node.delivery.commitment_scp import report_taker
from dicom_node.delivery.destinations import dicom_store
from dicom_node.results.repository import record_artifacts
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from dicom_node.store.story import read_story
from tests.factories.committing_pacs import CommittingPacs, committing_pacs, report_on
from tests.factories.deliverables import artifact, record_run, request

SR_UID, SC_UID = "1.2.826.0.1.1", "1.2.826.0.1.2"


class Node:
    """Two results of one study that were sent to ``pacs``, and a clock that can be put forward."""

    def __init__(self, home: Path, port: int, **settings: Any) -> None:
        home.mkdir(exist_ok=True)
        self.database = open_database(default_url(home))
        self.again: list[tuple[Any, ...]] = []
        self.archive: set[str] | Exception | None = None
        self.queries = 0
        values = {"proof": "commitment", "proof_after_seconds": 0, "commitment_wait_seconds": 1.0, "timeout_seconds": 5, **settings}
        self.settings = dicom_store.Settings(
            kind="dicom_store", ae_title="PACS", host="127.0.0.1", port=port, allow_unvalidated=True, **values
        )
        self.take = report_taker(self.database, {"pacs": self.settings}, self._submit)
        items = [artifact(), dataclasses.replace(artifact("secondary_capture"), identifier=SC_UID)]
        with self.database.begin() as connection:
            record_run(connection, request())
            record_artifacts(connection, items)
            step.plan_deliveries(connection, request(), "external", items, {"pacs": self.settings}, lambda *_: None)
        for row in self.rows():
            self.sent(row.delivery_id, row.attempt)

    def _submit(self, connection: sa.Connection, *job: Any) -> None:
        self.again.append(job)

    def sent(self, delivery_id: str, attempt: int, receipt: Receipt | None = None) -> None:
        step.settle_delivery(
            self.database, delivery_id, attempt, receipt or Receipt(Outcome.DELIVERED), {"pacs": self.settings}, self._submit
        )

    def _has(self, study_uid: str, uids: Collection[str]) -> set[str]:
        assert study_uid == "1.2"
        self.queries += 1
        if isinstance(self.archive, Exception):
            raise self.archive
        return set(uids) & (self.archive or set())

    def prove(self) -> int:
        has = None if self.archive is None else self._has
        return proving.prove_destination(
            self.database, "pacs", self.settings, has_instances=has, take_report=self.take, submit=self._submit
        )

    def later(self) -> None:
        """Let every pause pass."""
        with self.database.begin() as connection:
            waiting = tables.delivery.c.next_attempt_utc.is_not(None)
            connection.execute(sa.update(tables.delivery).where(waiting).values(next_attempt_utc=time.time() - 1))

    def rows(self) -> list[Any]:
        with self.database.begin() as connection:
            return step.list_deliveries(connection)

    def states(self) -> dict[str, tuple[str, str]]:
        return {row.identifier: (row.state, row.proof) for row in self.rows()}

    def transactions(self) -> list[Any]:
        with self.database.begin() as connection:
            return list(connection.execute(sa.select(tables.commitment).order_by(tables.commitment.c.requested_utc)))

    def story(self) -> list[str]:
        with self.database.begin() as connection:
            return [line.text for line in read_story(connection, request().study_key)]


@pytest.fixture
def pacs() -> Iterator[CommittingPacs]:
    with committing_pacs() as made:
        yield made


def made(home: Path, port: int, **settings: Any) -> Node:
    return Node(home, port, **settings)


COMMITTED = (DeliveryState.DONE, Proof.COMMITMENT)
SENT = (DeliveryState.SENT, Proof.NONE)


def test_sent_is_not_delivered_until_the_archive_commits(tmp_path: Path, pacs: CommittingPacs) -> None:
    """One transaction for both objects, in implicit VR, reported on the same association."""
    node = made(tmp_path, pacs.port)
    assert node.states() == {SR_UID: SENT, SC_UID: SENT}
    assert not any("Delivered" in line for line in node.story())
    assert node.prove() == 2
    assert node.states() == {SR_UID: COMMITTED, SC_UID: COMMITTED}
    assert (len(pacs.asked), pacs.syntaxes, pacs.answers) == (1, ["1.2.840.10008.1.2"], [0x0000])
    assert any(line.startswith("Delivered: ") and "the archive has committed to it" in line for line in node.story())
    assert all(row.proved_utc for row in node.rows())
    assert node.prove() == 0, "nothing is asked for twice"


def test_a_peer_that_speaks_implicit_vr_only_is_understood(tmp_path: Path) -> None:
    with committing_pacs(syntaxes=["1.2.840.10008.1.2"]) as pacs:
        node = made(tmp_path, pacs.port)
        node.prove()
        assert node.states()[SR_UID] == COMMITTED


def test_a_warning_stays_a_warning(tmp_path: Path, pacs: CommittingPacs) -> None:
    node = made(tmp_path, pacs.port)
    with node.database.begin() as connection:
        connection.execute(sa.update(tables.delivery).values(state="queued"))
    for row in node.rows():
        node.sent(row.delivery_id, row.attempt, Receipt(Outcome.WARNING, "Status 0xB000: coerced."))
    node.prove()
    assert set(node.states().values()) == {(DeliveryState.WARNED, Proof.COMMITMENT)}
    assert {row.detail for row in node.rows()} == {"Status 0xB000: coerced."}


def test_a_report_that_comes_later_is_taken_and_the_same_once_more_changes_nothing(tmp_path: Path, pacs: CommittingPacs) -> None:
    pacs.report = "never"
    node = made(tmp_path, pacs.port, commitment_wait_seconds=0)
    node.prove()
    assert node.states() == {SR_UID: SENT, SC_UID: SENT}
    assert report(node, pacs.asked[0], {}) == 0x0000
    assert node.states() == {SR_UID: COMMITTED, SC_UID: COMMITTED}
    story = node.story()
    assert report(node, pacs.asked[0], {SR_UID: 0x0112}) == 0x0000, "a repeated report is answered, and means nothing"
    assert (node.story(), node.again) == (story, [])


def test_a_report_on_a_transaction_that_nobody_asked_for_is_refused(tmp_path: Path, pacs: CommittingPacs) -> None:
    node = made(tmp_path, pacs.port)
    data = commitment.request_dataset("1.2.3.4.5", [("1.2.840.10008.5.1.4.1.1.88.11", SR_UID)])
    assert report(node, data, {}) == 0x0115
    assert node.states()[SR_UID] == SENT


def test_an_object_that_the_archive_lost_is_sent_again_and_parked_at_last(tmp_path: Path, pacs: CommittingPacs) -> None:
    """Reason 0112: sent again, the other object is delivered; after ``proof_tries`` a person must look."""
    pacs.failures = {SR_UID: commitment.NO_SUCH_INSTANCE}
    node = made(tmp_path, pacs.port, proof_tries=2)
    node.prove()
    assert node.states() == {SR_UID: (DeliveryState.QUEUED, Proof.NONE), SC_UID: COMMITTED}
    delivery_id, attempt = node.again[0][0], node.again[0][1]
    assert attempt == 2
    node.sent(delivery_id, attempt)
    assert node.states()[SR_UID] == SENT
    node.later()
    node.prove()
    assert node.states()[SR_UID] == (DeliveryState.DEAD, Proof.NONE)
    assert len(node.again) == 1
    assert any("does not have the object any more" in line and "Not delivered" in line for line in node.story())
    assert len({row.transaction_uid for row in node.transactions()}) == 2, "each question has a Transaction UID of its own"


def test_a_conflict_is_for_a_person_at_once(tmp_path: Path, pacs: CommittingPacs) -> None:
    pacs.failures = {SR_UID: commitment.CONFLICT}
    node = made(tmp_path, pacs.port)
    node.prove()
    assert node.states()[SR_UID] == (DeliveryState.DEAD, Proof.NONE)
    assert node.again == []


def test_an_object_committed_under_another_class_is_a_conflict(tmp_path: Path, pacs: CommittingPacs) -> None:
    pacs.report = "never"
    node = made(tmp_path, pacs.port, commitment_wait_seconds=0)
    node.prove()
    data = commitment.request_dataset(pacs.asked[0].TransactionUID, [("1.2.840.10008.5.1.4.1.1.2", SR_UID)])
    assert report(node, data, {}) == 0x0000
    assert node.states()[SR_UID] == (DeliveryState.DEAD, Proof.NONE)
    assert node.states()[SC_UID] == SENT, "what a report does not mention is asked about again"


def test_silence_is_asked_again_under_a_new_uid_and_never_becomes_delivered(tmp_path: Path, pacs: CommittingPacs) -> None:
    """After the tries it is told, once, and asked on daily; a late report still counts."""
    pacs.report = "never"
    node = made(tmp_path, pacs.port, proof_tries=2, commitment_wait_seconds=0)
    for _ in range(4):
        node.prove()
        node.later()
    assert node.states() == {SR_UID: SENT, SC_UID: SENT}
    assert [row.state for row in node.transactions()] == ["expired", "expired", "expired", "open"]
    assert sum("Sent, but not proven" in line for line in node.story()) == 1
    assert "asked on once a day" in node.rows()[0].proof_detail
    assert report(node, pacs.asked[0], {SR_UID: 0x0112}) == 0x0000
    assert node.states() == {SR_UID: SENT, SC_UID: COMMITTED}, "of a question given up only the good news counts"
    assert node.again == []


def test_silence_ends_in_the_archive_that_can_be_asked(tmp_path: Path, pacs: CommittingPacs) -> None:
    pacs.report = "never"
    node = made(tmp_path, pacs.port, proof_tries=2, archive="main", commitment_wait_seconds=0)
    node.archive = {SR_UID}
    for _ in range(3):
        node.prove()
        node.later()
    assert len(pacs.asked) == 2
    assert node.states() == {SR_UID: (DeliveryState.DONE, Proof.QUERY), SC_UID: (DeliveryState.QUEUED, Proof.NONE)}


@pytest.mark.parametrize(
    ("settings", "archive", "state"),
    [
        ({}, None, SENT),
        ({"proof_otherwise": "answer"}, None, (DeliveryState.DONE, Proof.ANSWER)),
        ({"archive": "main"}, {SR_UID, SC_UID}, (DeliveryState.DONE, Proof.QUERY)),
    ],
)
@pytest.mark.parametrize("how", ["class", "status"])
def test_a_pacs_without_commitment_falls_to_the_second_choice(
    tmp_path: Path, settings: dict[str, Any], archive: set[str] | None, state: tuple[str, str], how: str
) -> None:
    """Refused class or refused action: told in words, once, and delivered only where another proof is allowed."""
    with committing_pacs(offers=how == "status") as pacs:
        pacs.action_status = 0x0122
        node = made(tmp_path, pacs.port, **settings)
        node.archive = archive
        node.prove()
        node.later()
        node.prove()
    assert set(node.states().values()) == {state}
    assert sum("No commitment" in line for line in node.story()) == 1


def test_a_class_that_is_never_committed_to_is_looked_for_instead(tmp_path: Path, pacs: CommittingPacs) -> None:
    pacs.failures = {SR_UID: commitment.CLASS_NOT_SUPPORTED}
    node = made(tmp_path, pacs.port, archive="main")
    node.archive = {SR_UID}
    node.prove()
    assert node.states() == {SR_UID: SENT, SC_UID: COMMITTED}
    node.later()
    node.prove()
    assert node.states()[SR_UID] == (DeliveryState.DONE, Proof.QUERY)
    assert len(pacs.asked) == 1


def test_a_pacs_that_is_down_costs_no_try(tmp_path: Path) -> None:
    with committing_pacs() as pacs:
        port = pacs.port
    node = made(tmp_path, port, proof_tries=1, timeout_seconds=0.5)
    for _ in range(3):
        node.prove()
        node.later()
    assert [(row.state, row.proof_attempt) for row in node.rows()] == [("sent", 0), ("sent", 0)]
    assert "cannot be asked for now" in node.rows()[0].proof_detail
    assert {row.state for row in node.transactions()} == {"undeliverable"}
    assert sum("cannot be asked for now" in line for line in node.story()) == 1, "told once"


def test_out_of_patience_the_second_choice_is_taken(tmp_path: Path) -> None:
    """A PACS that never answers the request is not waited for until the end of days."""
    with committing_pacs() as pacs:
        port = pacs.port
    node = made(tmp_path, port, archive="main", timeout_seconds=0.5)
    node.archive = {SR_UID, SC_UID}
    node.prove()
    assert set(node.states().values()) == {SENT}
    with node.database.begin() as connection:
        connection.execute(sa.update(tables.delivery).values(done_utc=time.time() - 73 * 3600))
    node.later()
    node.prove()
    assert set(node.states().values()) == {(DeliveryState.DONE, Proof.QUERY)}


def test_proof_by_query_finds_it_or_sends_it_again_and_parks_at_last(tmp_path: Path) -> None:
    node = made(tmp_path, 9, proof="query", archive="main", proof_tries=2)
    node.archive = {SC_UID}
    node.prove()
    assert node.states() == {SR_UID: (DeliveryState.QUEUED, Proof.NONE), SC_UID: (DeliveryState.DONE, Proof.QUERY)}
    node.sent(*node.again[0][:2])
    node.later()
    node.prove()
    assert node.states()[SR_UID] == (DeliveryState.DEAD, Proof.NONE)
    assert any("was sent 2 times" in line for line in node.story())


def test_an_archive_that_cannot_be_asked_proves_nothing_and_loses_nothing(tmp_path: Path) -> None:
    node = made(tmp_path, 9, proof="query", archive="main", proof_tries=1)
    node.archive = PeerTimeout("The archive did not answer in time.")
    for _ in range(3):
        node.prove()
        node.later()
    assert node.states() == {SR_UID: SENT, SC_UID: SENT}
    assert node.queries == 3
    node.archive = {SR_UID, SC_UID}
    node.prove()
    assert set(node.states().values()) == {(DeliveryState.DONE, Proof.QUERY)}


def test_a_report_on_an_earlier_sending_proves_nothing(tmp_path: Path, pacs: CommittingPacs) -> None:
    """Committed to, then lost by the archive, and sent again: the report on the first question comes late, the second counts."""
    pacs.report = "never"
    node = made(tmp_path, pacs.port, commitment_wait_seconds=0)
    node.prove()
    now = time.time()
    again, d = id_of(node, SR_UID), tables.delivery.c
    with node.database.begin() as connection:
        connection.execute(sa.update(tables.commitment).values(requested_utc=now - 3600))
        connection.execute(sa.update(tables.delivery).values(done_utc=now - 7200))
        connection.execute(sa.update(tables.delivery).where(d.delivery_id == again).values(done_utc=now - 60))
    assert report(node, pacs.asked[0], {}) == 0x0000
    assert node.states() == {SR_UID: SENT, SC_UID: COMMITTED}
    node.later()
    node.prove()
    assert report(node, pacs.asked[1], {}) == 0x0000
    assert node.states() == {SR_UID: COMMITTED, SC_UID: COMMITTED}


def id_of(node: Node, identifier: str) -> str:
    return next(row.delivery_id for row in node.rows() if row.identifier == identifier)


def test_a_study_that_cannot_be_asked_about_does_not_leave_the_others_unproven(tmp_path: Path) -> None:
    """A defect, no answer of the archive: told, asked again later, and the next study is asked for all the same."""
    node = made(tmp_path, 9, proof="query", archive="main")
    other = request(run_key="rn_" + "3" * 32, study_key="st_bbbbbbbbbb", study_instance_uid="1.3")
    with node.database.begin() as connection:
        record_run(connection, other)
        item = dataclasses.replace(artifact(run_key=other.run_key), identifier="1.2.826.0.1.3")
        record_artifacts(connection, [item])
        step.plan_deliveries(connection, other, "external", [item], {"pacs": node.settings}, lambda *_: None)
    node.sent(id_of(node, "1.2.826.0.1.3"), 1)

    def has(study_uid: str, uids: Collection[str]) -> set[str]:
        if study_uid == "1.2":
            raise KeyError("Doe^Jane")
        return set(uids)

    proving.prove_destination(node.database, "pacs", node.settings, has_instances=has, take_report=node.take, submit=node._submit)
    assert node.states() == {SR_UID: SENT, SC_UID: SENT, "1.2.826.0.1.3": (DeliveryState.DONE, Proof.QUERY)}
    assert any("cannot be asked for now" in line for line in node.story())
    assert "Doe" not in str(node.rows())


def test_a_proof_waits_no_longer_because_the_clock_was_set_back(tmp_path: Path) -> None:
    """A year back: asked for now; a pause that is as long as one may be is left alone."""
    node = made(tmp_path, 9, proof="query", archive="main")
    node.archive = {SR_UID, SC_UID}
    for ahead, asked in ((86400.0, 0), (365 * 86400.0, 2)):
        with node.database.begin() as connection:
            connection.execute(sa.update(tables.delivery).values(next_attempt_utc=time.time() + ahead))
        assert node.prove() == asked
    assert set(node.states().values()) == {(DeliveryState.DONE, Proof.QUERY)}


def test_what_is_not_proven_can_be_sent_again_by_name(tmp_path: Path, pacs: CommittingPacs) -> None:
    pacs.report = "never"
    node = made(tmp_path, pacs.port, commitment_wait_seconds=0)
    node.prove()
    named = node.rows()[0].delivery_id
    with node.database.begin() as connection:
        assert step.retry_dead(connection, None, node._submit) == []
        assert step.retry_dead(connection, [named], node._submit) == [named]
    assert {row.delivery_id: row.proof_attempt for row in node.rows()}[named] == 0


def test_check_says_what_a_pacs_offers_and_what_is_not_used(tmp_path: Path, pacs: CommittingPacs) -> None:
    asks = made(tmp_path, pacs.port).settings
    assert (dicom_store.check(asks, ()), dicom_store.notes(asks)) == ([], [])
    content = asks.model_copy(update={"proof": "answer"})
    assert "offers storage commitment" in dicom_store.notes(content)[0]
    with committing_pacs(offers=False) as other:
        here = asks.model_copy(update={"port": other.port})
        assert "nothing would count as delivered" in dicom_store.check(here, ())[0]
        fallback = here.model_copy(update={"proof_otherwise": "answer"})
        assert dicom_store.check(fallback, ()) == []
        assert "second choice" in dicom_store.notes(fallback)[0]


def test_what_was_withdrawn_or_whose_destination_is_gone_is_not_sent_again(tmp_path: Path, pacs: CommittingPacs) -> None:
    """A PACS that removes a withdrawn result says "no such instance": right so."""
    pacs.failures = {SR_UID: commitment.NO_SUCH_INSTANCE}
    node = made(tmp_path, pacs.port)
    with node.database.begin() as connection:
        connection.execute(sa.update(tables.run).values(state="withdrawn"))
    node.prove()
    assert node.states() == {SR_UID: (DeliveryState.CANCELLED, Proof.NONE), SC_UID: COMMITTED}
    assert node.again == []


def test_a_setting_that_was_changed_or_removed_leaves_nothing_open(tmp_path: Path, pacs: CommittingPacs) -> None:
    node = made(tmp_path, pacs.port)
    assert proving.close_gone(node.database, {"pacs"}) == 0
    node.settings = node.settings.model_copy(update={"proof": "answer"})
    node.prove()
    assert set(node.states().values()) == {(DeliveryState.DONE, Proof.ANSWER)}
    other = made(tmp_path / "other", pacs.port)
    assert proving.close_gone(other.database, ()) == 2
    assert set(other.states().values()) == {(DeliveryState.DEAD, Proof.NONE)}


class _Event:
    """An N-EVENT-REPORT as pynetdicom hands it on."""

    def __init__(self, event_type: int, data: Any) -> None:
        self.event_type = event_type
        self.event_information = data


def report(node: Node, asked: Any, failures: dict[str, int]) -> int:
    return int(node.take(_Event(*report_on(asked, failures))).Status)


def test_reports_that_cannot_be_read_are_answered(tmp_path: Path, pacs: CommittingPacs) -> None:
    node = made(tmp_path, pacs.port)
    assert int(node.take(_Event(3, None)).Status) == 0x0113
    assert int(node.take(_Event(1, None)).Status) == 0x0115
