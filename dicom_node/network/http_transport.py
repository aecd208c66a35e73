"""httpx with an end to each of its waits: its own timeouts begin anew with every byte, and a server that drips would hold us."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

#: However slowly a server takes a request: then the attempt ends.
MOST_SENDING_SECONDS = 600.0
#: So much is given to the socket at once while the clock is watched.
_PIECE = 1 << 16


class BoundedTransport(httpx.HTTPTransport):
    """Connections on which a request has ``MOST_SENDING_SECONDS`` to leave, and its whole answer ``answer_seconds`` to come.

    The client's own timeouts hold within them: for the connection, and for each time that nothing moves.
    """

    def __init__(self, verify: ssl.SSLContext, answer_seconds: float) -> None:
        super().__init__(verify=verify, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(ssl_context=verify, keepalive_expiry=5.0, network_backend=_Backend(answer_seconds))


class _Backend(httpcore.SyncBackend):
    def __init__(self, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(host, port, timeout, local_address, socket_options), self._answer_seconds)


class _Stream(httpcore.NetworkStream):
    """One connection; requests and answers take turns on it, and each turn has one end."""

    def __init__(self, stream: httpcore.NetworkStream, answer_seconds: float) -> None:
        self._stream = stream
        self._answer_seconds = answer_seconds
        self._is_reading = True
        self._until = 0.0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._is_reading:
            self._is_reading, self._until = True, time.monotonic() + self._answer_seconds
        left = self._until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the answer does not end")
        return self._stream.read(max_bytes, left if timeout is None else min(left, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._is_reading:
            self._is_reading, self._until = False, time.monotonic() + MOST_SENDING_SECONDS
        whole = memoryview(buffer)
        for at in range(0, len(whole), _PIECE):
            left = self._until - time.monotonic()
            if left <= 0:
                raise httpcore.WriteTimeout("the request is not taken")
            self._stream.write(bytes(whole[at : at + _PIECE]), left if timeout is None else min(left, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._answer_seconds)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
