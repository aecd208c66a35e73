"""Why a machine cannot be reached, told apart as far as a connection can: nothing listens, or nothing answers."""

from __future__ import annotations

import socket

_SECONDS = 3.0
_WORDS = (
    (ConnectionRefusedError, "Nothing listens on that port: is it running, and is the port right?"),
    (TimeoutError, "No answer at all: a firewall between, or another address?"),
)


def with_reason(problem: str, settings: object) -> str:
    """Return the problem and, of one that could not be reached at its ``host`` and ``port``, why."""
    host, port = getattr(settings, "host", None), getattr(settings, "port", None)
    if "cannot be reached at" not in problem or host is None or port is None:
        return problem
    try:
        socket.create_connection((host, port), _SECONDS).close()
    except OSError as error:
        words = next((words for kind, words in _WORDS if isinstance(error, kind)), f"{error.strerror or type(error).__name__}.")
        return f"{problem} {words}"
    return problem
