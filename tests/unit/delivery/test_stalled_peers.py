"""A peer that stalls in the middle of a delivery: it is tried again, and what arrives in the end is one object."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.core.delivery import DeliveryState, Outcome
from dicom_node.delivery.destinations import dicom_store
from dicom_node.network import requestor
from tests.factories.deliverables import artifact
from tests.unit.delivery.test_step import Node
from tests.unit.network.stalling_peer import LIFE_SECONDS, StallingPeer, stalling_peer


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(requestor, "_ABORT_SECONDS", 0.2)
    made = Node(tmp_path)
    yield made
    made.database.dispose()


def send_to(node: Node, peer: StallingPeer, seconds: float) -> None:
    """Let the node's destination be this peer."""
    values = {"kind": "dicom_store", "ae_title": "PACS", "host": "127.0.0.1", "port": peer.port}
    settings = dicom_store.Settings(**values, outputs=("text_report",), allow_unvalidated=True, timeout_seconds=seconds)
    node.destinations["pacs"] = settings


@pytest.mark.parametrize(
    ("point", "stall"), [("request", "silence"), ("request", "drip"), ("answer", "silence"), ("answer", "drip"), ("answer", "half")]
)
def test_what_a_peer_held_up_is_sent_again_as_the_same_object(node: Node, point: str, stall: str) -> None:
    """Whether the peer had kept it before it stalled cannot be known: it gets the same bytes under the same UID."""
    with stalling_peer(point, stall) as peer:
        send_to(node, peer, 0.3)
        node.plan()
        began = time.monotonic()
        receipt = node.attempt()
        assert time.monotonic() - began < LIFE_SECONDS / 2
        assert (receipt.outcome, receipt.in_doubt) == (Outcome.RETRY, True)
        node.settle(receipt)
        (row,) = node.rows()
        assert (row.state, row.attempt) == (DeliveryState.WAITING, 2)
        assert [job[1] for job in node.queue] == [1, 2], "the second attempt is planned, once"
        peer.point = ""
        send_to(node, peer, 10.0)
        receipt = node.attempt()
        assert receipt.outcome is Outcome.DELIVERED
        node.settle(receipt)
        (row,) = node.rows()
        assert row.state == DeliveryState.DONE
        assert len(node.queue) == 2
        assert len(peer.kept) in ((1, 2) if point == "answer" else (1,))  # on a busy machine the first may not have got there
        assert {uid for uid, _ in peer.kept} == {artifact().identifier}
        assert len({data for _, data in peer.kept}) == 1


def test_what_a_peer_took_before_it_stalled_at_release_is_not_sent_again(node: Node) -> None:
    """Its success status has been heard; the rest is manners."""
    with stalling_peer("release", "drip") as peer:
        send_to(node, peer, 2.0)
        node.plan()
        receipt = node.attempt()
        assert receipt.outcome is Outcome.DELIVERED
        node.settle(receipt)
        (row,) = node.rows()
        assert (row.state, row.attempt, len(peer.kept)) == (DeliveryState.DONE, 1, 1)
