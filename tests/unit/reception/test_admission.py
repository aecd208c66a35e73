"""Who may open an association."""

from __future__ import annotations

import pytest

from dicom_node.reception.admission import (
    CALLED_AE_NOT_RECOGNIZED,
    CALLING_ADDRESS_NOT_RECOGNIZED,
    CALLING_AE_NOT_RECOGNIZED,
    LOCAL_LIMIT_EXCEEDED,
    TEMPORARY_CONGESTION,
    Peer,
    Rejection,
    admit,
)

PACS = Peer("PACS", frozenset({"10.0.0.5"}))
ANYWHERE = Peer("CR1", None)


@pytest.mark.parametrize(
    ("calling", "called", "address", "open_now", "stopping", "expected"),
    [
        ("PACS", "AINODE", "10.0.0.5", 0, False, None),
        ("PACS  ", " AINODE", "10.0.0.5", 0, False, None),
        ("PACS", "AISTAT", "10.0.0.5", 0, False, None),
        ("PACS", "AINODE", "::ffff:10.0.0.5", 0, False, None),
        ("CR1", "AINODE", "192.168.7.7", 0, False, None),
        ("STRANGER", "AINODE", "10.0.0.5", 0, False, CALLING_AE_NOT_RECOGNIZED),
        ("pacs", "AINODE", "10.0.0.5", 0, False, CALLING_AE_NOT_RECOGNIZED),
        ("", "AINODE", "10.0.0.5", 0, False, CALLING_AE_NOT_RECOGNIZED),
        ("PACS", "AINODE", "10.0.0.6", 0, False, CALLING_ADDRESS_NOT_RECOGNIZED),
        ("PACS", "OTHER", "10.0.0.5", 0, False, CALLED_AE_NOT_RECOGNIZED),
        ("STRANGER", "OTHER", "10.0.0.5", 9, True, CALLING_AE_NOT_RECOGNIZED),
        ("PACS", "AINODE", "10.0.0.5", 2, False, LOCAL_LIMIT_EXCEEDED),
        ("PACS", "AINODE", "10.0.0.5", 1, False, None),
        ("PACS", "AINODE", "10.0.0.5", 0, True, TEMPORARY_CONGESTION),
    ],
)
def test_only_a_known_caller_at_its_address_that_asks_for_one_of_our_titles_is_let_in(
    calling: str, called: str, address: str, open_now: int, stopping: bool, expected: Rejection | None
) -> None:
    answer = admit(
        calling,
        called,
        address,
        peers=(PACS, ANYWHERE),
        ae_titles=("AINODE", "AISTAT"),
        open_associations=open_now,
        limit=2,
        stopping=stopping,
    )
    assert answer == expected


def test_a_peer_whose_name_leads_nowhere_is_not_let_in_from_anywhere() -> None:
    answer = admit(
        "PACS", "AINODE", "10.0.0.5", peers=[Peer("PACS", frozenset())], ae_titles=["AINODE"], open_associations=0, limit=1
    )
    assert answer == CALLING_ADDRESS_NOT_RECOGNIZED


def test_the_same_title_may_be_listed_for_two_addresses() -> None:
    peers = [Peer("PACS", frozenset({"10.0.0.5"})), Peer("PACS", frozenset({"10.0.0.6"}))]
    assert admit("PACS", "AINODE", "10.0.0.6", peers=peers, ae_titles=["AINODE"], open_associations=0, limit=1) is None


def test_reasons_are_those_of_the_standard() -> None:
    """PS3.8, Table 9-21: result, source, reason."""
    assert CALLING_AE_NOT_RECOGNIZED[:3] == CALLING_ADDRESS_NOT_RECOGNIZED[:3] == (1, 1, 3)
    assert CALLED_AE_NOT_RECOGNIZED[:3] == (1, 1, 7)
    assert LOCAL_LIMIT_EXCEEDED[:3] == (2, 3, 2)
    assert TEMPORARY_CONGESTION[:3] == (2, 3, 1)


@pytest.mark.parametrize(
    ("shown", "admitted"),
    [(frozenset({"ct1.hospital.example"}), True), (frozenset({"ct2.hospital.example"}), False), (frozenset(), False)],
)
def test_an_ae_title_with_a_certificate_needs_that_certificate(shown: frozenset[str], admitted: bool) -> None:
    """Another certificate of the same authority is not enough, nor is plain TCP."""
    peers = [Peer("CT1", None, "CT1.Hospital.Example")]
    answer = admit("CT1", "AINODE", "10.0.0.5", peers=peers, ae_titles=["AINODE"], open_associations=0, limit=1, shown_names=shown)
    assert (answer is None) is admitted
    if answer is not None:
        assert (answer.result, answer.source, answer.reason) == (1, 1, 3)
        assert "certificate" in answer.text
