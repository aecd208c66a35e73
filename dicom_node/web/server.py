"""An HTTP port in a thread of its own: told when it cannot be opened or ends, tried again, and closed to callers who only hold it.

Storing by DICOM does not depend on it: a port that another program has must not keep the process from its other work.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_node import log
from dicom_node.core.errors import TlsFailure
from dicom_node.network.tls import ServerTls, current_context

_START_SECONDS = 30.0
_AGAIN_SECONDS = 10.0
_LAST_ANSWER_SECONDS = 5
#: A connection on which no request is under way is closed after one to two times this long.
IDLE_SECONDS = 15.0
#: Connections at once, of which few have a request: strangers must not use up the process' file descriptors.
MOST_CONNECTIONS = 128


class HttpPort:
    """Serves an application. ``name`` stands before the log's events, e.g. ``stow``.

    ``port`` is the one that is listened on, once it is.
    """

    def __init__(self, app: FastAPI, *, name: str, host: str, port: int, tls: ServerTls | None = None) -> None:
        self.port = port
        self.problem = ""  # why nobody can call, in words
        self._app, self._name, self._host, self._tls = app, name, host, tls
        self._server: _Server | None = None
        self._stop = threading.Event()
        self._tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> HttpPort:
        """Open the port, and return when it is open or could not be opened for now."""
        self._thread.start()
        self._tried.wait(_START_SECONDS)
        return self

    def stop(self) -> None:
        """Close the port; what is being answered has a few seconds to end."""
        self._stop.set()
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(2 * _LAST_ANSWER_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            why = self._serve()
            if self._stop.is_set():
                return
            self.problem = f"The HTTP port {self.port} is not open: {why}"
            log.event(f"{self._name}.not_listening", address=self._host, port=self.port, reason=why)
            self._tried.set()
            self._stop.wait(_AGAIN_SECONDS)

    def _serve(self) -> str:
        """Listen until told to stop, or until it fails; return why it ended."""
        try:
            self._server = _Server(self._config(), self._opened)
            self._server.should_exit = self._stop.is_set()
            self._server.run()
        except SystemExit:  # the library's way to say it
            return "another program has the port, or the address is not this machine's."
        except TlsFailure as error:
            return str(error)
        except Exception as error:  # whatever it is, the port is tried again
            return f"unexpected {type(error).__name__}."
        return "the server ended."

    def _opened(self, port: int) -> None:
        self.port, self.problem = port, ""
        log.event(f"{self._name}.listening", address=self._host, port=port, kind="tls" if self._tls else "plain")
        self._tried.set()

    def _config(self) -> uvicorn.Config:
        config = uvicorn.Config(
            self._app,
            host=self._host,
            port=self.port,
            http=_Impatient,
            ws="none",
            log_level="critical",
            access_log=False,
            proxy_headers=False,  # anybody can write X-Forwarded-For; the pages believe it only where a proxy is configured
            timeout_graceful_shutdown=_LAST_ANSWER_SECONDS,
            lifespan="off",
        )
        config.load()
        if self._tls is not None:
            tls = self._tls

            def newest(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
                connection.context = current_context(tls)  # certificates that were renewed since

            config.ssl = current_context(tls)
            config.ssl.sni_callback = newest
        return config


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, opened: Any) -> None:
        super().__init__(config)
        self._told = opened

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._told(int(self.servers[0].sockets[0].getsockname()[1]))


class _Impatient(H11Protocol):
    """Closes connections that are too many, and those on which no request comes: the library waits for ever for a first one."""

    _look_again: asyncio.TimerHandle | None = None
    _seen: object = None  # the last request at the last look, if it was over

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._look_again = self.loop.call_later(IDLE_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._seen:
            self.transport.abort()
            return
        self._seen = self.cycle if idle else self
        self._look_again = self.loop.call_later(IDLE_SECONDS, self._look)
