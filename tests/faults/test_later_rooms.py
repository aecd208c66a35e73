"""kill -9 in the rooms beside the way of a study: messages, commitment, withdrawal, retention. SQLite and PostgreSQL."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.demo.peers import LOOPBACK, free_ports
from dicom_node.store import tables
from tests.factories.hl7_messages import imaging_order
from tests.factories.rejection_notes import rejection_note
from tests.faults.conftest import DATABASES, settings_for
from tests.faults.faulty_node import FaultyNode
from tests.faults.ledger import Ledger, study
from tests.faults.peers import Pacs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600), pytest.mark.parametrize("database", DATABASES)]
MakeNode = Callable[..., FaultyNode]


def acknowledged(port: int, message: bytes) -> bool:
    """Send one HL7 message; say whether it was acknowledged with AA."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
            connection.sendall(b"\x0b" + message + b"\x1c\r")
            answer = b""
            while b"\x1c\r" not in answer and (piece := connection.recv(65536)):
                answer += piece
    except OSError:
        return False
    return b"MSA|AA|" in answer


def until(ready: Callable[[], Any], seconds: float = 60) -> None:
    """Wait; fails when it takes too long."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_an_acknowledged_message_is_kept_once(database: str, make_node: MakeNode, pacs: Pacs) -> None:
    """Killed before and after its row, and after the commit; sent again until AA, as an interface engine does."""
    (port,) = free_ports(1)
    settings = settings_for(pacs)
    settings["orders"] = {"listener": {"host": LOOPBACK, "port": port, "peers": [LOOPBACK]}}
    node = make_node(database, settings)
    kills = (("message kept", "before", "kill"), ("message kept", "after", "die"), ("transaction committed", "after", "kill"))
    for number, (point, when, do) in enumerate(kills):
        until(lambda: acknowledged(port, imaging_order(f"WARM{number}")))  # noqa: B023  # called at once
        fault = node.arm(point, do, when=when, role="receive")
        message = imaging_order(f"ACC{number}")
        until(lambda: acknowledged(port, message))  # noqa: B023
        node.wait_fired(fault)
    with node.database.connect() as connection:
        orders = connection.execute(sa.select(tables.order.c.accession_number)).scalars().all()
        kept = connection.execute(sa.select(tables.message.c.control_id)).scalars().all()
    assert {f"ACC{n}" for n in range(len(kills))} <= set(orders)
    assert len(kept) == len(set(kept))


def test_nothing_is_called_committed_that_is_not(database: str, make_node: MakeNode, pacs: Pacs) -> None:
    """Killed around the question, its row and the report: in the end each delivery is proven by a commitment."""
    settings = settings_for(pacs)
    wanted = {"proof": "commitment", "proof_after_seconds": 0, "commitment_hours": 0.003, "proof_tries": 50}
    settings["destinations"]["pacs"] |= wanted
    node = make_node(database, settings, clock=True)
    ledger = Ledger(node)
    kills = (("commitment recorded", "after"), ("commitment asked", "before"), ("commitment asked", "after"))
    kills += (("commitment reported", "before"), ("commitment reported", "after"))
    for number, (point, when) in enumerate(kills):
        node.wait_up()
        fault = node.arm(point, "kill", when=when, role="work")
        ledger.send(study(f"committed-{number}"))
        node.wait_fired(fault)
    node.wait_up()
    node.clock_step(600)  # whoever died while asking is asked again after five minutes
    tally = ledger.check(node.injected, pacs=pacs)
    assert tally.clean, tally
    with node.database.connect() as connection:
        proofs = set(connection.execute(sa.select(tables.delivery.c.proof)).scalars())
    assert proofs == {"commitment"}


def test_a_rejected_image_is_taken_back_once(database: str, make_node: MakeNode, pacs: Pacs) -> None:
    """Killed while the result is withdrawn: the PACS gets one note, and the run is withdrawn."""
    node = make_node(database, settings_for(pacs))
    ledger = Ledger(node)
    kills = (("result withdrawn", "before"), ("result withdrawn", "after"), ("withdrawal built", "after"))
    kills += (("withdrawal planned", "after"), ("transaction committed", "after"))
    images = [study(f"rejected-{number}") for number in range(len(kills))]
    for image in images:
        ledger.send(image)
    assert ledger.settle(90) == []
    for number, (image, (point, when)) in enumerate(zip(images, kills, strict=True)):
        node.wait_up()
        ledger.send(rejection_note(image, [image], number=number + 1))
        fault = node.arm(point, "kill", when=when, role="work")
        node.wait_fired(fault)
    until(lambda: all(_withdrawn(node, str(image.StudyInstanceUID)) for image in images), 120)
    tally = ledger.check(node.injected, pacs=pacs)
    assert tally.clean, tally
    notes = [o for o in pacs.objects.values() if o.Modality == "KO"]
    assert sorted(note.StudyInstanceUID for note in notes) == sorted(image.StudyInstanceUID for image in images)


def _withdrawn(node: FaultyNode, uid: str) -> bool:
    return [run["state"] for run in node.story(uid).get("runs", ())] == ["withdrawn"]


def test_only_what_is_delivered_is_deleted(database: str, make_node: MakeNode, pacs: Pacs) -> None:
    """Killed between mark, removal and the end of retention: what is delivered goes, what is not delivered stays."""
    settings = settings_for(pacs)
    settings["retention"] = {"keep_days_after_delivery": 1e-5, "keep_days_when_disk_is_low": 1e-5}
    settings["disk"] = {"warn_free_percent": 99.9, "warn_free_gb": 0, "refuse_free_gb": 0}  # low at once: retention runs after 10 s
    node = make_node(database, settings)
    ledger = Ledger(node)
    for number in range(4):
        ledger.send(study(f"old-{number}"))
    assert ledger.settle(90) == []
    pacs.close()
    stays = study("undelivered")
    ledger.send(stays)
    for point, when in (
        ("objects marked", "before"),
        ("objects marked", "after"),
        ("object removed", "before"),
        ("object removed", "after"),
    ):
        node.wait_up()
        node.wait_fired(node.arm(point, "kill", when=when, role="work"))
    until(lambda: _kept_files(node) == 1, 90)
    assert node.story(str(stays.StudyInstanceUID))["deliveries"][0]["state"] == "waiting"
    pacs.open()
    tally = ledger.check(node.injected, pacs=pacs)
    assert tally.clean, tally


def _kept_files(node: FaultyNode) -> int:
    return len(list(node.home.store.rglob("*.dcm")))
