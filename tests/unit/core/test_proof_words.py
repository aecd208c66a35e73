"""How it is known that a delivery arrived, in words."""

from __future__ import annotations

import pytest

from dicom_node.core.delivery import DeliveryState, Proof, proof_words


@pytest.mark.parametrize(
    ("state", "proof", "words"),
    [
        (DeliveryState.DONE, Proof.COMMITMENT, "committed by the archive"),
        (DeliveryState.WARNED, Proof.QUERY, "found in the archive"),
        (DeliveryState.DONE, Proof.ANSWER, "accepted by the peer, no further proof asked"),
        (DeliveryState.SENT, Proof.NONE, "sent, not proven yet"),
        (DeliveryState.QUEUED, Proof.NONE, ""),
        (DeliveryState.DEAD, Proof.NONE, ""),
    ],
)
def test_words(state: DeliveryState, proof: Proof, words: str) -> None:
    assert proof_words(state, proof) == words


def test_what_came_of_asking_is_told_while_it_is_not_proven() -> None:
    assert proof_words("sent", "", "The archive was asked.") == "sent, not proven yet: The archive was asked."
    assert proof_words("done", "commitment", "The archive was asked.") == "committed by the archive"
