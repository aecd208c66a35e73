"""C-STORE to PACS on loopback, polite and not."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import Verification

from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import AssociationRejected, DimseFailure, PeerError, PeerTimeout
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.delivery.destinations import dicom_store
from dicom_node.network import association
from tests.factories.deliverables import BASIC_TEXT_SR, SECONDARY_CAPTURE, artifact
from tests.factories.quirky_peers import quirky_pacs

LUNG_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def settings(port: int, **changes: Any) -> dicom_store.Settings:
    values = {"kind": "dicom_store", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "timeout_seconds": 5, **changes}
    return dicom_store.Settings(**values)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_object_is_stored_as_it_is_with_only_the_context_it_needs() -> None:
    """One context is proposed, the node names itself, and the PACS gets what was built."""
    with quirky_pacs() as pacs:
        receipt = dicom_store.send(artifact(), settings(pacs.port))
    assert (receipt.outcome, receipt.detail) == (Outcome.DELIVERED, "")
    (stored,) = pacs.stored
    assert (stored.SOPClassUID, stored.PatientName) == (BASIC_TEXT_SR, "Doe^Jane")
    assert pacs.contexts == [1]
    assert pacs.implementation == (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)


def test_small_objects_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nagle's algorithm is off on the socket that the object goes through."""
    seen: list[int] = []
    plain = association._no_delay

    def watch(event: Any) -> None:
        plain(event)
        seen.append(event.assoc.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(association, "_no_delay", watch)
    with quirky_pacs() as pacs:
        dicom_store.send(artifact(), settings(pacs.port))
    assert len(seen) == 1
    assert seen[0] != 0


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_is_delivered_with_a_warning(status: int) -> None:
    """Coercion and discarded elements are told, not hidden, and without the peer's own words."""
    with quirky_pacs(status) as pacs:
        receipt = dicom_store.send(artifact(), settings(pacs.port))
    assert receipt.outcome is Outcome.WARNING
    assert f"0x{status:04X}" in receipt.detail
    assert "Doe" not in receipt.detail


@pytest.mark.parametrize(
    ("status", "temporary"), [(0xA700, True), (0x0110, True), (0xA900, False), (0xC000, False), (0x0124, False)]
)
def test_a_failure_says_its_status_in_words_and_whether_to_try_again(status: int, temporary: bool) -> None:
    """A full disk is temporary, a refused object permanent; no message repeats the peer's comment."""
    with quirky_pacs(status) as pacs, pytest.raises(DimseFailure) as caught:
        dicom_store.send(artifact(), settings(pacs.port))
    assert (caught.value.status, caught.value.temporary) == (status, temporary)
    assert "Doe" not in str(caught.value)


def test_a_refused_context_parks_that_object_only() -> None:
    """A PACS without SR refuses the report for good and takes the overlay."""
    with quirky_pacs(classes=(SECONDARY_CAPTURE,)) as pacs:
        with pytest.raises(AssociationRejected, match='does not accept "Basic Text SR Storage"') as caught:
            dicom_store.send(artifact(), settings(pacs.port))
        assert not caught.value.temporary
        assert dicom_store.send(artifact("secondary_capture"), settings(pacs.port)).outcome is Outcome.DELIVERED


def test_a_pacs_that_does_not_know_us_is_a_permanent_matter_with_advice() -> None:
    """The message names our AE title and what to do about it."""
    with quirky_pacs(known_aes=("OTHER",)) as pacs, pytest.raises(AssociationRejected, match='"AINODE": add it there') as caught:
        dicom_store.send(artifact(), settings(pacs.port))
    assert not caught.value.temporary


def test_a_wrong_ae_title_of_the_pacs_is_told_as_such() -> None:
    """A PACS that is called by another name says which setting is wrong."""
    with quirky_pacs() as pacs, pytest.raises(AssociationRejected, match='"WRONG": correct ae_title') as caught:
        dicom_store.send(artifact(), settings(pacs.port, ae_title="WRONG"))
    assert not caught.value.temporary


def test_a_pacs_at_its_limit_is_tried_again() -> None:
    """A rejection for congestion is temporary."""
    echo = [(Verification, [ExplicitVRLittleEndian])]
    with (
        quirky_pacs(maximum=1) as pacs,
        dicom_store._association(settings(pacs.port), echo),
        pytest.raises(AssociationRejected, match="limit of associations") as caught,
    ):
        dicom_store.send(artifact(), settings(pacs.port))
    assert caught.value.temporary


@pytest.mark.parametrize("answer", ["abort", "silence"])
def test_a_pacs_that_aborts_or_never_answers_is_tried_again(answer: str) -> None:
    """Without a status nothing is taken for delivered."""
    with quirky_pacs(answer) as pacs, pytest.raises(PeerTimeout) as caught:
        dicom_store.send(artifact(), settings(pacs.port, timeout_seconds=0.5))
    assert caught.value.temporary


def test_a_pacs_that_is_down_is_tried_again() -> None:
    """A refused connection is temporary and names the address."""
    port = free_port()
    with pytest.raises(PeerTimeout, match=f"127.0.0.1:{port}"):
        dicom_store.send(artifact(), settings(port))


def test_something_that_is_not_dicom_is_tried_again() -> None:
    """A port that takes the connection and closes it is not taken for a PACS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(PeerError) as caught:
            dicom_store.send(artifact(), settings(listener.getsockname()[1], timeout_seconds=0.5))
        assert caught.value.temporary


def test_check_names_every_sop_class_that_the_pacs_refuses() -> None:
    """Negotiation alone tells what would be parked later."""
    with quirky_pacs() as pacs:
        assert dicom_store.check(settings(pacs.port), (BASIC_TEXT_SR, SECONDARY_CAPTURE)) == []
        assert dicom_store.check(settings(pacs.port), (BASIC_TEXT_SR, LUNG_SEGMENTATION)) == [
            'The PACS does not accept "Segmentation Storage".'
        ]
    assert pacs.stored == []
    (problem,) = dicom_store.check(settings(free_port()), ())
    assert "cannot be reached" in problem
