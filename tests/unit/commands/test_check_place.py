"""``check`` says as whom it looks, what time it is and why nothing answers, and makes nothing in another user's folder."""

from __future__ import annotations

import datetime as dt
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicom_node.commands import check
from dicom_node.commands.checks.line import Mark
from dicom_node.commands.checks.place import clock_lines, user_lines
from dicom_node.commands.checks.reach import with_reason
from dicom_node.config.load import parse_settings
from dicom_node.core.errors import StoreError
from dicom_node.engine.process import only_one
from dicom_node.home import Home

SETTINGS = parse_settings("site: {timezone: Asia/Kolkata}\n")


def test_the_owner_of_a_closed_folder_hears_nothing_of_users(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    assert list(user_lines(Home(tmp_path))) == []


def test_a_folder_that_everybody_can_look_into_is_told(tmp_path: Path) -> None:
    """Patients' images lie there."""
    tmp_path.chmod(0o755)
    (line,) = user_lines(Home(tmp_path))
    assert (line.mark, "chmod 700" in line.text) == (Mark.NOTE, True)


def test_another_user_is_told_and_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root makes in the node's folder the node cannot write: the first start would fail with it."""
    tmp_path.chmod(0o700)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    (line,) = user_lines(Home(tmp_path))
    assert line.mark is Mark.NOTE
    assert "sudo -u" in line.text
    (line,) = check.check_database(Home(tmp_path), SETTINGS)
    assert (line.mark, "not made yet" in line.text) == (Mark.NOTE, True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    (line,) = check.check_database(Home(tmp_path), SETTINGS)
    assert line.mark is Mark.OK
    assert (tmp_path / "node.sqlite").exists()


def test_a_database_that_this_user_may_not_write_is_told_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by root, read as the node: SQLite would say so at the first write only."""
    list(check.check_database(Home(tmp_path), SETTINGS))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoreError, match="give it to the node's user"):
        list(check.check_database(Home(tmp_path), SETTINGS))


def test_a_folder_that_this_user_may_not_write_stops_the_start_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with a traceback: the journal of the service shows it every two seconds."""

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match="start the node as the folder's owner"), only_one(Home(tmp_path), "serve"):
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Nothing listens on that port"),
        (TimeoutError("timed out"), "a firewall between"),
        (OSError(113, "No route to host"), "No route to host."),
    ],
)
def test_what_cannot_be_reached_is_told_why(error: OSError, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused and not answered are mended by different people."""

    def connect(address: tuple[str, int], seconds: float) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", connect)
    place = SimpleNamespace(host="10.1.2.3", port=104)
    assert said in with_reason("The peer cannot be reached at 10.1.2.3:104.", place)
    assert with_reason("The PACS did not answer the C-ECHO.", place) == "The PACS did not answer the C-ECHO."


def test_a_sender_whose_name_nobody_knows_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be rejected by its address, whatever it does."""

    def lookup(host: str, port: object) -> list[str]:
        if host == "pacs.hospitl":
            raise socket.gaierror(-2, "Name or service not known")
        return [host]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    text = "site: {timezone: UTC}\nreception: {peers: [{ae_title: A, host: pacs.hospitl}, {ae_title: B, host: pacs.hospital}]}\n"
    (line,) = check.check_senders(parse_settings(text, thorough=False))
    assert (line.mark, line.subject) == (Mark.FAIL, "sender A")


def test_the_clock_is_shown_as_the_site_has_it() -> None:
    """Half past six in the evening in UTC is midnight in Kolkata: whoever looks at a watch sees a wrong clock or zone."""
    (line,) = clock_lines(SETTINGS, dt.datetime(2026, 11, 20, 18, 30, tzinfo=dt.UTC))
    assert line.text == "2026-11-21 00:00 at the site (Asia/Kolkata)"
