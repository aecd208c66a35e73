"""One JSON line an event, to standard output, where a service's log belongs. Fields come from a short list: no patient slips in."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator

#: The only fields a line may carry. Names, identifiers, accession numbers, birth dates, UIDs and pixels are never among them.
ALLOWED = frozenset(
    (
        *("study", "run", "pipeline", "rule", "bundle", "policy", "state", "decision", "zone", "code", "reason", "room", "role"),
        *("port", "pid", "peer", "calling_ae", "called_ae", "address", "destination", "kind", "outcome", "attempt", "seconds"),
        *("status", "count", "size", "error", "file", "line", "host", "path", "delivery", "signal", "version", "next_s"),
        "model_seconds",
    )
)


#: Name of the stream in ``sys``.
_stream = "stdout"


@contextlib.contextmanager
def on_standard_error() -> Iterator[None]:
    """Write events to standard error while a command prints its answer to standard output."""
    global _stream
    before, _stream = _stream, "stderr"
    try:
        yield
    finally:
        _stream = before


def event(name: str, **fields: object) -> None:
    """Write one line, e.g. ``event("run.finished", study="st_7f3k2", seconds=1.84)``.

    Raises
    ------
    ValueError
        A field outside ``ALLOWED``: a defect of the caller, found by its tests.
    """
    unknown = fields.keys() - ALLOWED
    if unknown:
        raise ValueError(f"log fields {sorted(unknown)} are not on the list of dicom_node/log.py")
    line = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": name, **fields}
    text = json.dumps(line, ensure_ascii=False, default=str) + "\n"
    with contextlib.suppress(OSError, ValueError):  # a log on a full disk, or that nobody reads any more, must not stop the work
        stream = getattr(sys, _stream)
        stream.write(text)
        stream.flush()


def quiet_libraries() -> None:
    """Keep libraries from printing what they were given: their messages and warnings can hold a patient's name."""
    for name in (
        *("pynetdicom", "pydicom", "highdicom", "hl7apy", "httpx", "httpcore", "authlib"),
        *("uvicorn.access", "dbos", "apscheduler", "python_multipart"),
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom|highdicom)(\.|$)")
