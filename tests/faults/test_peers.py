"""Peers that fail: a PACS down, refusing, full, closing mid-object, silent; RIS and FHIR likewise. Each result arrives once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import DATABASES, settings_for
from tests.faults.faulty_node import FaultyNode
from tests.faults.ledger import SUCCESS, Ledger, study
from tests.faults.peers import Pacs, Peer, running_fhir, running_ris

PACS_TROUBLES = ("a700", "abort", "close mid-object", "reject", "kept, no answer", "b000", "silent", "silent association")
RIS_TROUBLES = ("AE", "AR", "closed", "kept, no answer", "silent", "wrong name")
FHIR_TROUBLES = ("500", "409", "503", "429", "closed", "kept, no answer", "silent", "412")


def used_up(*peers: Peer) -> int:
    """Wait until each trouble has happened; returns how many did."""
    end = time.monotonic() + 90
    while any(peer.troubles for peer in peers):
        assert time.monotonic() < end, [list(peer.troubles) for peer in peers]
        time.sleep(0.1)
    return sum(peer.injected for peer in peers)


def send_parked_again(node: FaultyNode) -> None:
    """What a person does about a delivery that was rejected for good."""
    command = [sys.executable, "-m", "dicom_node", "deliveries", "retry", "--home", str(node.home.path)]
    subprocess.run(command, check=True, capture_output=True)


def states(node: FaultyNode, ledger: Ledger) -> list[tuple[str, str, str, float | None]]:
    """Return destination, state, detail and next attempt of every delivery."""
    found = [d for uid in ledger.studies for d in node.story(uid).get("deliveries", ())]
    return [(d["destination"], d["state"], d["detail"], d["next_attempt_utc"]) for d in found]


def test_a_pacs_in_trouble_gets_everything_once_short(make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """The short form: full, closing mid-object, answering nothing after it kept the object, and what it got it sends back to us."""
    node = make_node("sqlite", settings_for(pacs))
    ledger = Ledger(node)
    pacs.troubles.extend(("a700", "close mid-object", "kept, no answer", "abort"))
    for number in range(5):
        ledger.send(study(f"short-{number}"))
    injected = used_up(pacs)
    tally = ledger.check(injected, pacs=pacs)
    assert tally.clean, tally
    node.injected = injected


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", DATABASES)
def test_every_trouble_of_every_peer_and_each_result_once(database: str, make_node: Callable[..., FaultyNode], pacs: Pacs) -> None:
    """All troubles of all peers, the PACS down for long, then our own results sent back to us."""
    with running_ris() as ris, running_fhir() as fhir:
        places = {
            "ris": {"kind": "hl7_mllp", "host": "127.0.0.1", "port": ris.port, "outputs": ["oru_message"]},
            "fhir": {"kind": "fhir_rest", "base_url": fhir.url, "outputs": ["diagnostic_report"]},
        }
        node = make_node(database, settings_for(pacs, **places))
        ledger = Ledger(node)
        pacs.troubles.extend(PACS_TROUBLES)
        ris.troubles.extend(RIS_TROUBLES)
        fhir.troubles.extend(FHIR_TROUBLES)
        for number in range(9):
            ledger.send(study(f"peers-{number}"))
        injected = used_up(pacs, ris, fhir)
        pacs.close()
        for number in range(3):
            ledger.send(study(f"down-{number}"))
        time.sleep(14)
        waiting = [state for state in states(node, ledger) if state[0] == "pacs" and state[1] != "done"]
        assert waiting
        assert all(state == "waiting" and detail and at for _, state, detail, at in waiting if state != "done_with_warning"), (
            waiting
        )
        pacs.open()
        ledger.settle(90)
        parked = [state for state in states(node, ledger) if state[1] == "dead"]
        assert [(place, "AR" in detail) for place, _, detail, _ in parked] == [("ris", True)]
        send_parked_again(node)
        before = len(pacs.objects)
        assert ledger_free_send(node, pacs) == before
        tally = ledger.check(injected + 1, pacs=pacs, ris=ris, fhir=fhir)
        assert tally.clean, tally
        assert not [state for state in states(node, ledger) if state[1] == "dead"]


def ledger_free_send(node: FaultyNode, pacs: Pacs) -> int:
    """Forward our own results back to us, twice, as an auto-forward rule does; returns how many were taken."""
    sender = Ledger(node)
    taken = [sender.try_once(dataset) for dataset in list(pacs.objects.values()) for _ in range(2)]
    return taken.count([SUCCESS]) // 2
