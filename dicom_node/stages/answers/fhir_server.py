"""A FHIR server, read: searches page by page up to a limit, and single resources. It writes nothing."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

import httpx

from dicom_node.core.artifact import FHIR
from dicom_node.core.errors import HttpFailure, PeerError
from dicom_node.delivery.destinations import fhir_rest
from dicom_node.network.https import http_client, transport_failure

Json = dict[str, Any]

_PAGE = 100
_MOST_PAGES = 20
_MOST_BYTES = 32 * 1024 * 1024


class TooMuch(PeerError):
    """A search finds more than this node reads at once."""


class FhirServer:
    """A destination of kind ``fhir_rest``, called with its TLS and its token.

    ``vouches``: it has shown who it is (TLS), or has logged this node in, so that it may be believed who its people are.
    ``now_utc``: its own clock at the last answer.
    """

    def __init__(self, settings: fhir_rest.Settings) -> None:
        self.vouches = settings.base_url.startswith("https:") or any((settings.token_file, settings.token_env, settings.oauth2))
        self.now_utc: float | None = None
        self._client = http_client(settings, settings.base_url, {"Accept": FHIR}, settings.timeout_seconds)
        self._base = settings.base_url.rstrip("/")

    def __enter__(self) -> FhirServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def search(self, kind: str, *parameters: tuple[str, str]) -> list[Json]:
        """Return the resources of one kind that a search finds.

        Raises
        ------
        PeerError
            The server cannot be asked; ``TooMuch``: it has more than this node reads at once.
        """
        query = urllib.parse.urlencode([*parameters, ("_count", str(_PAGE))], safe=":/,|")
        return [one for one in self.get_all(f"{kind}?{query}") if one.get("resourceType") == kind]

    def get_all(self, url: str) -> Iterator[Json]:
        """Yield the resources of a search by its relative URL, page after page."""
        following = f"{self._base}/{url}"
        for _ in range(_MOST_PAGES):
            page = self._get(following)
            for entry in page.get("entry") or ():
                if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
                    yield entry["resource"]
            links = [one for one in page.get("link") or () if isinstance(one, dict) and one.get("relation") == "next"]
            if not links or not page.get("entry"):
                return
            following = urllib.parse.urljoin(f"{self._base}/", str(links[0].get("url", "")))
            if not following.startswith((f"{self._base}/", f"{self._base}?")):
                raise PeerError("The FHIR server's next page lies at another address; it is not asked with this server's token.")
        raise TooMuch(f"The FHIR server has more than {_MOST_PAGES * _PAGE} resources of a kind that changed.")

    def resource(self, name: str) -> Json | None:
        """Return one resource by ``Type/id``; ``None`` when there is none."""
        try:
            return self._get(f"{self._base}/{name}")
        except HttpFailure as error:
            if error.status in (404, 410):
                return None
            raise

    def _get(self, url: str) -> Json:
        try:
            response = self._client.get(url)
        except httpx.HTTPError as error:
            raise transport_failure(error, "The FHIR server") from error
        if response.status_code != 200:
            status = response.status_code
            raise HttpFailure(f"The FHIR server answered HTTP {status}.", status=status, temporary=True)
        if len(response.content) > _MOST_BYTES:
            raise PeerError("The FHIR server's answer is too long.")
        self.now_utc = _date(response) or self.now_utc
        try:
            answer = response.json()
        except ValueError as error:
            raise PeerError("The FHIR server's answer is not JSON.") from error
        if not isinstance(answer, dict):
            raise PeerError("The FHIR server's answer is not a resource.")
        return answer


def _date(response: httpx.Response) -> float | None:
    try:
        return parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
