"""HTTP to an archive: its client, and what goes wrong in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.errors import HttpFailure
from dicom_node.network.https import http_client, transport_failure

_TEMPORARY = frozenset((408, 409, 423, 425, 429))


def client_of(settings: ArchiveSettings, timeout_seconds: float, answer_seconds: float | None = None) -> httpx.Client:
    """Return a client whose paths are relative to the base URL; see ``http_client``."""
    return http_client(settings.access, settings.base_url, {}, timeout_seconds, answer_seconds)


@contextmanager
def reached() -> Iterator[None]:
    """Turn the library's errors into ours.

    Raises
    ------
    PeerTimeout, TlsFailure
        The archive does not answer, cannot be reached, or is not trusted.
    """
    try:
        yield
    except httpx.HTTPError as error:
        raise transport_failure(error, "The archive") from error


def failure(status: int, what: str) -> HttpFailure:
    """Return the error for an HTTP status; the answer's text is not repeated, it can name a patient."""
    hint = {401: ": the token is wrong or missing", 403: ": this node may not ask there", 404: ": not found"}.get(status, "")
    return HttpFailure(
        f"The archive answered {what} with HTTP {status}{hint}.", status=status, temporary=status >= 500 or status in _TEMPORARY
    )
