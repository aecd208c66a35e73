"""``dicom-node messages`` shows what came and what became of it, and names nobody."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import yaml

from dicom_node.cli import main
from dicom_node.orders import step
from dicom_node.orders.settings import OrdersSettings
from dicom_node.store.connect import default_url, open_database
from tests.factories.hl7_messages import adt, message, pid


def test_messages_are_listed_newest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Applied, ignored and refused; one state only; as JSON."""
    (tmp_path / "node.yaml").write_text(yaml.safe_dump({"site": {"timezone": "UTC"}}))
    database = open_database(default_url(tmp_path))
    inbox = step.Inbox(database, OrdersSettings(), dt.UTC, "AINODE", lambda *_: None)
    for data in (adt("A08", "ZZMARKER", birth="19700203"), message("SIU^S12", pid("ZZMARKER")), b"ZZMARKER"):
        step.take(inbox, data)
    database.dispose()
    capsys.readouterr()
    assert main(["messages", "--home", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0][:2] for line in lines] == ["20"] * 3
    assert ["refused" in lines[0], "ignored" in lines[1], "applied" in lines[2]] == [True] * 3
    assert "ZZMARKER" not in str(lines)
    assert main(["messages", "--home", str(tmp_path), "--state", "applied", "--json"]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["type"], row["sender"], row["text"]) == ("ADT^A08", "RIS|HOSP", "The patient's birth date or sex is known now.")
