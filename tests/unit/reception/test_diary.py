"""The diary of associations: in the table, on the command line, as a text for a vendor."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from dicom_node.cli import main
from dicom_node.reception import repository
from dicom_node.reception.diary import Diary, Entry
from dicom_node.store import tables
from tests.factories.dicom_sender import association, send
from tests.factories.received_objects import CR, CT, radiograph
from tests.unit.reception.conftest import Node, running
from tests.unit.reception.raw_peer import ABORT, EXPLICIT, VERIFICATION, RawPeer, pdu, store
from tests.unit.reception.test_conformance import CONTEXTS, damaged, until


def entries(node: Node, count: int) -> list[Any]:
    """Return the diary once it has so many entries that are over."""

    def read() -> list[Any]:
        with node.database.connect() as connection:
            query = sa.select(tables.association).where(tables.association.c.ended_utc.is_not(None))
            return list(connection.execute(query.order_by(tables.association.c.association_id)))

    until(lambda: len(read()) >= count)
    return read()


def test_an_association_is_told_with_what_was_agreed_and_what_came(node: Node) -> None:
    with association(node.port, [(CR, EXPLICIT), (CT, "1.2.840.113619.5.2"), ("1.2.3.4", EXPLICIT)]) as opened:
        assert opened.is_established
    send(node.port, radiograph("a"), radiograph("b"), radiograph("c", SOPClassUID=CT, SOPInstanceUID="1.2/3"))
    first, second = entries(node, 2)
    assert first.contexts == [
        [CR, EXPLICIT, ""],
        [CT, "", "transfer syntaxes not supported"],
        ["1.2.3.4", "", "abstract syntax not supported"],
    ]
    assert (second.calling_ae, second.called_ae, second.address) == ("PACS", "AINODE", "127.0.0.1")
    assert (second.objects, second.refused, second.outcome, second.ended_by) == (2, 1, "accepted", "peer released")
    assert second.bytes > 1000
    assert 0 < second.seconds_busy <= second.ended_utc - second.started_utc
    assert second.implementation.startswith("PYNETDICOM")


def test_who_ended_it_and_how(node: Node) -> None:
    for way in (
        lambda peer: peer.release(),
        lambda peer: peer.send(pdu(ABORT, bytes(4))),
        lambda peer: peer.close(),
        lambda peer: peer.send(damaged("a request without data set")),
    ):
        with RawPeer(node.port, CONTEXTS) as peer:
            way(peer)
            time.sleep(0.3)
        until(lambda: node.receiver.open_associations == 0)
    assert [row.ended_by for row in entries(node, 4)] == [
        "peer released",
        "peer aborted",
        "connection lost",
        "node aborted: a C-STORE request without data set",
    ]


def test_who_was_rejected_and_why(node: Node) -> None:
    with association(node.port, [(CR, EXPLICIT)], "STRANGER"):
        pass
    (row,) = entries(node, 1)
    assert (row.outcome, row.calling_ae, row.reason) == ("rejected", "STRANGER", "calling AE title not recognized")


def test_an_association_that_lasts_has_its_row_while_it_is_open(node: Node) -> None:
    with RawPeer(node.port, CONTEXTS) as peer:
        peer.send(store(radiograph()))
        assert peer.status() == 0
        until(lambda: [row.ended_utc for row in node.rows(tables.association)] == [None])
        peer.release()
    (row,) = entries(node, 1)
    assert (row.objects, row.ended_by) == (1, "peer released")
    assert len(node.rows(tables.association)) == 1


def test_associations_of_a_receiver_that_died_are_told_so_at_the_next_start(tmp_path: Path) -> None:
    with running(tmp_path) as node, node.database.begin() as connection:
        mine = Diary(node.database, 1).receiver.partition(":")[0]
        for receiver in (f"{mine}:999999999", "elsewhere:1"):
            repository.insert_open(connection, Entry("PACS", "AINODE", "10.0.0.1", time.time()).row(receiver))
    with running(tmp_path) as node:
        until(lambda: sorted(row.ended_by for row in node.rows(tables.association)) == ["", "node died"])


def test_entries_older_than_their_days_are_forgotten(tmp_path: Path) -> None:
    with running(tmp_path, diary_days=1) as node:
        with node.database.begin() as connection:
            old = Entry("OLD", "AINODE", "10.0.0.1", time.time() - 2 * 86400, ended_utc=1.0)
            repository.insert(connection, [old.row("x:1")])
        send(node.port, radiograph())
        until(lambda: [row.calling_ae for row in node.rows(tables.association)] == ["PACS"])


def test_a_database_that_is_away_costs_no_entry(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        diary = Diary(node.database, 90)
        with node.database.begin():  # nobody else can write meanwhile
            diary.note(Entry("PACS", "AINODE", "10.0.0.1", time.time(), ended_utc=time.time()))
        diary._guarded(lambda: (_ for _ in ()).throw(sa.exc.OperationalError("", {}, Exception())))
        diary.start()
        diary.stop()
        assert [row.calling_ae for row in node.rows(tables.association)] == ["PACS"]


def test_the_command_lists_filters_and_exports_without_patients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "node.yaml").write_text(yaml.safe_dump({"site": {"timezone": "UTC"}}))
    with running(tmp_path) as node:
        send(node.port, radiograph(PatientName="MARKER^NAME", PatientID="MARKERID"))
        with association(node.port, [(VERIFICATION, EXPLICIT)], "STRANGER"):
            pass
        entries(node, 2)
    home = ["--home", str(tmp_path)]
    capsys.readouterr()
    assert main(["associations", *home]) == 0
    newest, oldest = capsys.readouterr().out.splitlines()
    assert "STRANGER@127.0.0.1 -> AINODE  rejected: calling AE title not recognized" in newest
    assert "PACS@127.0.0.1 -> AINODE  1 objects" in oldest
    assert main(["associations", *home, "--calling", "PACS", "--json"]) == 0
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (line["calling_ae"], line["objects"], line["contexts"]) == ("PACS", 1, [[CR, EXPLICIT, ""]])
    assert main(["associations", *home, "--limit", "1", "--export", str(tmp_path / "diary.txt")]) == 0
    text = (tmp_path / "diary.txt").read_text()
    assert "rejected because  calling AE title not recognized" in text
    assert "PACS" not in text
    assert main(["associations", *home, "--export", str(tmp_path / "diary.txt")]) == 0
    text = (tmp_path / "diary.txt").read_text()
    assert f"context           {CR} (Computed Radiography Image Storage)  with {EXPLICIT} (Explicit VR Little Endian)" in text
    assert "MARKER" not in text
