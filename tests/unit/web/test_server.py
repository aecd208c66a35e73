"""The thread behind an HTTP port: what it survives, and what callers cannot keep busy."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from fastapi import FastAPI

from dicom_node.web import server
from dicom_node.web.server import HttpPort

LOOPBACK = "127.0.0.1"


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    def front() -> str:
        return "here"

    return app


@contextmanager
def opened(port: int = 0) -> Iterator[HttpPort]:
    made = HttpPort(application(), name="web", host=LOOPBACK, port=port).start()
    try:
        yield made
    finally:
        made.stop()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/", timeout=5).json() == "here"
    except httpx.HTTPError:
        return False


def wait_until(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_a_port_that_is_taken_is_told_and_opened_once_it_is_free(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another program has the port for a while: the process goes on, says so, and listens afterwards."""
    monkeypatch.setattr(server, "_AGAIN_SECONDS", 0.2)
    taken = socket.create_server((LOOPBACK, 0))
    port = taken.getsockname()[1]
    with opened(port) as door:
        assert "not open" in door.problem
        assert "web.not_listening" in capsys.readouterr().out
        taken.close()
        assert wait_until(lambda: answers(port))
        assert door.problem == ""


def test_a_server_that_ends_is_told_and_started_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing may end in silence: the role lives, and its port with it."""
    monkeypatch.setattr(server, "_AGAIN_SECONDS", 0.2)
    with opened() as door:
        assert answers(door.port)
        assert door._server is not None
        door._server.should_exit = True
        assert wait_until(lambda: "web.not_listening" in capsys.readouterr().out)
        assert wait_until(lambda: answers(door.port))


def test_callers_who_only_hold_connections_lose_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a request for ever, a second one that does not come, and more connections than there may be: others are answered."""
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 8)
    with opened() as door:
        held = [socket.create_connection((LOOPBACK, door.port), timeout=5) for _ in range(20)]
        for one in held[:8]:
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert wait_until(lambda: answers(door.port), 5)
        for one in held:
            with suppress(ConnectionResetError):
                assert one.recv(100) == b""
            one.close()


def test_an_answer_that_takes_long_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only connections without a request are closed."""
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.1)
    app = application()

    @app.get("/slow")
    def slow() -> str:
        time.sleep(1)
        return "late"

    door = HttpPort(app, name="web", host=LOOPBACK, port=0).start()
    assert httpx.get(f"http://{LOOPBACK}:{door.port}/slow", timeout=5).json() == "late"
    door.stop()
    assert not any(thread.name == "web" and thread.is_alive() for thread in threading.enumerate())
