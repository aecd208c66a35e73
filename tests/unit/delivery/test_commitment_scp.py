"""Modalities that ask us to commit: every request is answered, every promise is written down first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from dicom_node.delivery import commitment, commitment_scp
from dicom_node.delivery import commitment_repository as transactions
from dicom_node.delivery.commitment_scp import Modality
from dicom_node.reception import scp
from dicom_node.reception.service import Service
from dicom_node.reception.settings import PeerSettings, ReceptionSettings
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from tests.factories.committing_pacs import SYNTAXES

CR = "1.2.840.10008.5.1.4.1.1.1"
KEPT, LOST = "1.2.3.1", "1.2.3.2"


def fake_judge(connection: sa.Connection, objects: Sequence[tuple[str, str]]) -> dict[str, int]:
    return {uid: 0 if uid == KEPT else 0x0112 for _, uid in objects}


class Node:
    """Our port, with one modality that is told on an association of its own, one on the same, and one that may not ask."""

    def __init__(self, home: Path, port: int, path: Literal["fast", "plain"]) -> None:
        self.database = open_database(default_url(home))
        self.modalities = {"CT1": Modality("CT1", "127.0.0.1", port), "CT2": Modality("CT2", "", None)}
        take = commitment_scp.report_taker(self.database, {}, lambda *_: None)
        handlers = commitment_scp.handlers(self.database, self.modalities, fake_judge, take)
        peers = tuple(PeerSettings(ae_title=title) for title in ("CT1", "CT2", "CT3"))
        self.receiver = scp.start(
            ReceptionSettings(host="127.0.0.1", port=0, peers=peers, path=path),
            home=home,
            database=self.database,
            record=lambda *_, **__: True,
            services=(Service((commitment.SOP_CLASS,), list(handlers)),),
        )

    def rows(self) -> list[Any]:
        with self.database.begin() as connection:
            return list(connection.execute(sa.select(tables.commitment)))

    def send_reports(self) -> int:
        return commitment_scp.send_reports(self.database, self.modalities, fake_judge)

    def later(self) -> None:
        with self.database.begin() as connection:
            connection.execute(sa.update(tables.commitment).values(next_attempt_utc=time.time() - 1))

    def close(self) -> None:
        self.receiver.stop(1)
        self.database.dispose()


class Reports:
    """What a modality was told; ``status`` is how it answers."""

    def __init__(self) -> None:
        self.status = 0x0000
        self.told: list[tuple[int, commitment.Report]] = []
        self.came = threading.Event()
        self.port = 0

    def take(self, event: Any) -> tuple[int, None]:
        self.told.append((event.event_type, commitment.read_report(event.event_information)))
        self.came.set()
        return self.status, None


@contextmanager
def listening(reports: Reports) -> Iterator[Reports]:
    """Let the modality listen for reports."""
    entity = AE(ae_title="CT1")
    entity.add_supported_context(commitment.SOP_CLASS, SYNTAXES, scu_role=True, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.take)])
    reports.port = server.socket.getsockname()[1]
    try:
        yield reports
    finally:
        server.shutdown()


@pytest.fixture
def modality() -> Iterator[Reports]:
    with listening(Reports()) as reports:
        yield reports


@pytest.fixture(params=["fast", "plain"])
def node(request: pytest.FixtureRequest, tmp_path: Path, modality: Reports) -> Iterator[Node]:
    """Both ways of reading objects carry the service."""
    made = Node(tmp_path, modality.port, request.param)
    yield made
    made.close()


def ask(
    node: Node,
    data: Dataset | None,
    calling: str = "CT1",
    *,
    action: int = 1,
    instance: str = commitment.SOP_INSTANCE,
    reports: Reports | None = None,
) -> int:
    """Send one N-ACTION; returns the status. With ``reports`` the association stays open until one came."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(commitment.SOP_CLASS, SYNTAXES[0])
    handlers = [(evt.EVT_N_EVENT_REPORT, reports.take)] if reports else []
    association = entity.associate("127.0.0.1", node.receiver.port, ae_title="AINODE", evt_handlers=handlers)
    assert association.is_established
    try:
        answer, _ = association.send_n_action(data, action, commitment.SOP_CLASS, instance)
        if reports:
            assert reports.came.wait(10)
        return int(answer.Status)
    finally:
        association.release()


def wanted(uid: str = "2.25.77", *objects: str) -> Dataset:
    return commitment.request_dataset(uid, [(CR, one) for one in objects or (KEPT, LOST)])


def without_transaction() -> Dataset:
    data = wanted()
    del data.TransactionUID
    return data


def test_a_request_is_a_row_before_it_is_answered_and_reported_apart(node: Node, modality: Reports) -> None:
    assert ask(node, wanted()) == 0x0000
    (row,) = node.rows()
    assert (row.direction, row.peer, row.state) == ("answered", "CT1", "open")
    assert node.send_reports() == 1
    assert modality.told == [(2, commitment.Report("2.25.77", {KEPT: CR}, {LOST: 0x0112}))]
    (row,) = node.rows()
    assert (row.state, row.detail) == ("reported", "1 committed, 1 not")
    assert node.send_reports() == 0


def test_all_kept_is_event_type_one(node: Node, modality: Reports) -> None:
    ask(node, wanted("2.25.78", KEPT))
    node.send_reports()
    assert [event for event, _ in modality.told] == [1]


def test_a_report_on_the_same_association_follows_the_answer(node: Node) -> None:
    here = Reports()
    assert ask(node, wanted(), "CT2", reports=here) == 0x0000
    assert here.told[0][1].committed == {KEPT: CR}
    end = time.monotonic() + 5
    while node.rows()[0].state != "reported" and time.monotonic() < end:
        time.sleep(0.02)
    assert node.rows()[0].state == "reported"


def test_an_association_that_ended_before_the_report_leaves_a_reason(node: Node) -> None:
    assert ask(node, wanted(), "CT2") == 0x0000
    time.sleep(0.8)
    node.later()
    assert node.send_reports() == 0
    assert (node.rows()[0].state, "ended before" in node.rows()[0].detail) == ("undeliverable", True)


@pytest.mark.parametrize(
    ("calling", "data", "changes", "status"),
    [
        ("CT3", wanted(), {}, 0x0124),
        ("CT1", wanted(), {"action": 2}, 0x0123),
        ("CT1", wanted(), {"instance": "1.2.3"}, 0x0112),
        ("CT1", without_transaction(), {}, 0x0115),
        ("CT1", commitment.request_dataset("2.25.1", []), {}, 0x0115),
    ],
)
def test_what_cannot_be_promised_is_refused_and_leaves_no_row(
    node: Node, calling: str, data: Dataset, changes: dict[str, Any], status: int
) -> None:
    assert ask(node, data, calling, **changes) == status
    assert node.rows() == []


def test_a_transaction_uid_used_again_is_reported_on_anew(node: Node, modality: Reports) -> None:
    """Some modalities ask again under the same UID; another system may not take it over."""
    ask(node, wanted())
    node.send_reports()
    assert ask(node, wanted("2.25.77", KEPT)) == 0x0000
    assert node.send_reports() == 1
    assert [event for event, _ in modality.told] == [2, 1]
    assert ask(node, wanted(), "CT2") == 0x0110


def test_a_modality_that_is_off_or_refuses_is_told_later_and_at_last_given_up(node: Node, modality: Reports) -> None:
    modality.status = 0x0110
    ask(node, wanted())
    assert node.send_reports() == 0
    (row,) = node.rows()
    assert (row.state, row.attempt) == ("open", 1)
    assert row.next_attempt_utc > time.time()
    modality.status = 0x0000
    node.later()
    assert node.send_reports() == 1

    node.modalities["CT1"] = Modality("CT1", "127.0.0.1", 9)
    ask(node, wanted("2.25.79"))
    with node.database.begin() as connection:
        connection.execute(sa.update(tables.commitment).values(requested_utc=time.time() - 80 * 3600.0))
    assert node.send_reports() == 0
    assert {row.transaction_uid: row.state for row in node.rows()} == {"2.25.77": "reported", "2.25.79": "undeliverable"}


def test_our_own_transaction_cannot_be_taken_over(node: Node) -> None:
    with node.database.begin() as connection:
        connection.execute(
            sa.insert(tables.commitment).values(
                transaction_uid="2.25.80", direction="asked", peer="pacs", state="open", items={}, requested_utc=0.0
            )
        )
    assert ask(node, wanted("2.25.80")) == 0x0110
    assert node.rows()[0].direction == "asked"


def test_a_report_for_us_comes_in_at_the_same_port(node: Node) -> None:
    """The archive opens the association and takes the role of SCP; an unknown transaction is refused in words."""
    entity = AE(ae_title="CT1")
    entity.add_requested_context(commitment.SOP_CLASS, SYNTAXES[0])
    role = build_role(commitment.SOP_CLASS, scp_role=True)
    association = entity.associate("127.0.0.1", node.receiver.port, ae_title="AINODE", ext_neg=[role])
    assert [context.abstract_syntax for context in association.accepted_contexts] == [commitment.SOP_CLASS]
    event_type, data = commitment.report_dataset(commitment.Report("2.25.99", {KEPT: CR}, {}), {})
    answer, _ = association.send_n_event_report(data, event_type, commitment.SOP_CLASS, commitment.SOP_INSTANCE)
    association.release()
    assert int(answer.Status) == 0x0115
    assert "did not ask" in answer.ErrorComment


def test_a_system_that_breaks_the_report_off_does_not_keep_the_others_from_theirs(
    tmp_path: Path, modality: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library raises what no peer error is: that report is put off, the next modality is told."""
    database = open_database(default_url(tmp_path))
    modalities = {title: Modality(title, "127.0.0.1", modality.port) for title in ("BAD", "CT1")}
    for number, title in enumerate(modalities):
        items = {"called_ae": "AINODE", "objects": [[CR, KEPT]]}
        with database.begin() as connection:
            transactions.insert(connection, f"2.25.{number}", transactions.ANSWERED, title, items, time.time(), time.time())
    real = commitment_scp._associated

    def associated(asked: Modality, our_ae: str) -> Any:
        if asked.ae_title == "BAD":
            raise RuntimeError("The association must be established")
        return real(asked, our_ae)

    monkeypatch.setattr(commitment_scp, "_associated", associated)
    assert commitment_scp.send_reports(database, modalities, fake_judge) == 1
    assert commitment_scp.send_reports(database, modalities, fake_judge) == 0, "it is not asked again at once"
    with database.begin() as connection:
        states = {row.peer: row.state for row in connection.execute(sa.select(tables.commitment))}
        assert states == {"BAD": "open", "CT1": "reported"}
        connection.execute(sa.update(tables.commitment).values(next_attempt_utc=time.time() + 86400))
        assert len(transactions.due_answers(connection, time.time())) == 1, "the clock was set back by a day"
    database.dispose()
