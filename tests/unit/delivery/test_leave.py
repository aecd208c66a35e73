"""What was given up is seen until a person decides: sends it again, or leaves what is at the receiver as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dicom_node.cli import main
from dicom_node.core.delivery import DeliveryState, Outcome, Receipt
from dicom_node.delivery import step
from dicom_node.delivery.leave import leave_dead
from dicom_node.store.connect import default_url, open_database
from dicom_node.web.app import make_app
from tests.unit.delivery.test_step import Node, node  # noqa: F401  (a fixture)


def leave(node: Node, *keys: str) -> list[str]:  # noqa: F811
    with node.database.begin() as connection:
        return leave_dead(connection, keys)


def test_what_was_given_up_is_on_the_front_page_until_it_is_left(node: Node) -> None:  # noqa: F811
    """Then nothing sends it again, and the story says that a person did it."""
    browser = TestClient(make_app(node.database, "Hospital", dict, 10.0))
    node.plan()
    assert "given up" not in browser.get("/").text
    node.settle(Receipt(Outcome.REJECT, "The server's DiagnosticReport was changed by somebody else: nothing was written."))
    (row,) = node.rows()
    assert browser.get("/").text.count("1 given up") == 2  # above the list, and beside the study
    page = browser.get(f"/studies/{row.study_key}").text
    assert "DiagnosticReport was changed by somebody else" in page
    assert row.delivery_id in page
    assert leave(node, "dl_nothing") == []
    assert leave(node, row.delivery_id) == [row.delivery_id]
    (row,) = node.rows()
    assert (row.state, row.detail) == (DeliveryState.CANCELLED, "A person left it at the receiver as it is there.")
    assert node.story()[-1] == "Nothing more is sent: text report to pacs. A person left it at the receiver as it is there."
    assert "given up" not in browser.get("/").text
    with node.database.begin() as connection:
        assert step.retry_dead(connection, None, node.submit) == []


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.DELIVERED])
def test_only_what_was_given_up_can_be_left(node: Node, outcome: Outcome) -> None:  # noqa: F811
    node.plan()
    node.settle(Receipt(outcome, "Words."))
    before = node.rows()
    assert leave(node, before[0].delivery_id) == []
    assert node.rows() == before


def test_the_command_leaves_and_says_what_it_could_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By key alone: a word too few must not leave everything."""
    (tmp_path / "node.yaml").write_text("site: {timezone: UTC}\n")
    open_database(default_url(tmp_path)).dispose()
    home = ["--home", str(tmp_path)]
    assert main(["deliveries", "leave", *home]) == 2
    assert "name what to leave" in capsys.readouterr().err
    assert main(["deliveries", "leave", "dl_x", *home]) == 2
    said = capsys.readouterr()
    assert "0 deliveries are left as they are" in said.out
    assert "not given up, or unknown: dl_x" in said.err
