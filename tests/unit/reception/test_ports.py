"""Connections before they are associations: the wrong port, silence, and too many of them."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from dicom_node.core.errors import StoreError
from dicom_node.reception.settings import ReceptionTls
from tests.factories.certificates import certificates
from tests.factories.dicom_sender import send
from tests.factories.received_objects import radiograph
from tests.unit.reception.conftest import running


def events(capsys: pytest.CaptureFixture[str], name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def test_silent_connections_are_counted_and_do_not_take_all_threads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port scanner that opens hundreds is turned away; when it goes, senders come in again."""
    with running(tmp_path, max_associations=1, max_associations_per_peer=1) as node, contextlib.ExitStack() as held:
        (server,) = node.receiver._servers
        for _ in range(80):
            held.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=5))
        end = time.monotonic() + 10
        while server.waiting < server.max_connections and time.monotonic() < end:
            time.sleep(0.02)
        assert server.waiting == server.max_connections
        held.close()
        while server.waiting and time.monotonic() < end:
            time.sleep(0.02)
        assert server.waiting == 0
        assert events(capsys, "connection.refused")
        assert send(node.port, radiograph())[0].Status == 0x0000


def test_tls_files_that_cannot_be_used_do_not_close_the_plain_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A renewal went wrong and the machine was started again: images still come in, and the log says what to mend."""
    pki = certificates(tmp_path / "certs")
    good = pki.key("node").read_bytes()
    pki.key("node").write_text("")
    tls = ReceptionTls(port=0, certificate=pki.pem("node"), private_key=pki.key("node"), client_ca=pki.pem("ca"))
    with running(tmp_path, tls=tls) as node:
        assert events(capsys, "tls.files_unusable")
        assert send(node.port, radiograph())[0].Status == 0x0000
        pki.key("node").write_bytes(good)
        address = ("127.0.0.1", int(node.receiver.tls_port or 0))
        with socket.create_connection(address, timeout=5) as plain, pki.caller().wrap_socket(plain) as encrypted:
            assert encrypted.version() == "TLSv1.3"


def test_a_port_that_another_program_has_is_told_with_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line in the log that says which port and why, and a sentence for the journal; no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StoreError, match=f"port {port} cannot be opened"), running(tmp_path, port=port):
            pass
    (line,) = events(capsys, "reception.not_listening")
    assert line["port"] == port
    assert "another program has the port" in line["reason"]
