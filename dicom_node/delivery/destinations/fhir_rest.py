"""A FHIR R4 server: the whole result in one transaction; what somebody else has changed is never overwritten."""

from __future__ import annotations

import json
import os
import urllib.parse
from pathlib import Path
from typing import Any

import httpx
from pydantic import Field, field_validator, model_validator

from dicom_node.core.artifact import FHIR, Artifact
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.core.errors import HttpFailure, PeerError, PeerTimeout
from dicom_node.delivery.fhir_update import (
    ChangedBySomebodyElse,
    Json,
    SeveralHaveOurIdentifier,
    dropped_results,
    fitted,
    not_written,
    searches,
)
from dicom_node.delivery.settings import DestinationSettings

MEDIA_TYPES = (FHIR,)

_TEMPORARY = frozenset(
    {408, 409, 412, 423, 425, 429}
)  # 412: the version we read is not the newest any more; the next attempt reads again
_HEADERS = {"Accept": FHIR, "Content-Type": f"{FHIR}; charset=utf-8", "Prefer": "return=minimal"}


class Settings(DestinationSettings):
    """A FHIR R4 server that takes transactions."""

    base_url: str = Field(description="Base URL, e.g. https://fhir.hospital.example/r4. Never with a user or password in it.")
    token_file: Path | None = Field(default=None, description="File that holds a bearer token; read anew at every attempt.")
    token_env: str | None = Field(default=None, description="Environment variable that holds a bearer token.")
    ca_file: Path | None = Field(default=None, description="PEM file of the authority that signed the server's certificate.")

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        parts = urllib.parse.urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write a URL such as https://fhir.hospital.example/r4")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a base URL has no user, password, query or fragment; tokens go into token_file or token_env")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_token(self) -> Settings:
        if self.token_file is not None and self.token_env is not None:
            raise ValueError("name token_file or token_env, not both")
        return self


def send(artifact: Artifact, settings: Settings) -> Receipt:
    """Read what the server holds, then post one transaction that cannot overwrite anything newer than what was read."""
    bundle: Json = json.loads(artifact.data)
    with _client(settings) as client:
        held = {position: _search(client, url) for position, url in searches(bundle).items()}
        dropped = [there for reference in dropped_results(bundle, held) if (there := _read(client, reference)) is not None]
        try:
            transaction = fitted(bundle, held, dropped)
        except ChangedBySomebodyElse as error:
            raise HttpFailure(
                f"The server's {error} was changed by somebody else: treated as feedback, not overwritten.",
                status=409,
                temporary=False,
            ) from error
        except SeveralHaveOurIdentifier as error:
            raise HttpFailure(
                f"Several resources {error} on the server have our identifier: nothing was written.", status=412, temporary=False
            ) from error
        if transaction is None:
            return Receipt(Outcome.DELIVERED, "The server had this version already.")
        answer = _asked(client, "POST", "", transaction)
    problems = not_written(transaction, answer)
    if problems:
        raise PeerError("The server did not write everything: " + "; ".join(problems[:3]) + ".")
    return Receipt(Outcome.DELIVERED)


def check(settings: Settings, sop_class_uids: tuple[str, ...]) -> list[str]:
    """Read the server's capability statement: is it R4, and may we talk to it?"""
    try:
        with _client(settings) as client:
            statement = _asked(client, "GET", "/metadata")
    except PeerError as error:
        return [str(error)]
    version = str(statement.get("fhirVersion", ""))
    return [] if version.startswith("4.0") else [f"The server speaks FHIR {version or '(unknown)'}; this node sends R4 (4.0.1)."]


def describe(settings: Settings) -> str:
    """Say where this goes."""
    return f"FHIR R4 transactions to {settings.base_url}."


def _client(settings: Settings) -> httpx.Client:
    headers = dict(_HEADERS)
    token = _token(settings)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    verify: Any = True
    if settings.ca_file is not None:
        import ssl

        verify = ssl.create_default_context(cafile=str(settings.ca_file))
    # environment variables could send patients through a proxy that nobody named in the configuration
    return httpx.Client(
        base_url=settings.base_url, headers=headers, timeout=settings.timeout_seconds, verify=verify, trust_env=False
    )


def _token(settings: Settings) -> str:
    if settings.token_env is not None:
        token = os.environ.get(settings.token_env, "")
        if not token:
            raise HttpFailure(f"The environment variable {settings.token_env} holds no token.", status=401, temporary=False)
        return token.strip()
    if settings.token_file is not None:
        try:
            return settings.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise HttpFailure(f"The token file cannot be read ({type(error).__name__}).", status=401, temporary=False) from error
    return ""


def _read(client: httpx.Client, reference: str) -> Json | None:
    """Return one resource; ``None`` when somebody has deleted it."""
    try:
        return _asked(client, "GET", f"/{reference}")
    except HttpFailure as error:
        if error.status in (404, 410):
            return None
        raise


def _search(client: httpx.Client, url: str) -> list[Json]:
    answer = _asked(client, "GET", f"/{url}")
    kind = url.partition("?")[0]
    entries = [entry.get("resource", {}) for entry in answer.get("entry", ())]
    return [resource for resource in entries if resource.get("resourceType") == kind]  # a search may add an OperationOutcome


def _asked(client: httpx.Client, method: str, path: str, body: Json | None = None) -> Json:
    """Make one request; the answer's free text is never repeated, it can name a patient."""
    try:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        response = client.request(method, client.base_url.copy_with(raw_path=_raw_path(client, path)), content=content)
    except httpx.TimeoutException as error:
        raise PeerTimeout("The FHIR server did not answer in time.") from error
    except httpx.HTTPError as error:
        raise PeerTimeout(f"The FHIR server cannot be reached ({type(error).__name__}).") from error
    status = response.status_code
    if not 200 <= status < 300:
        raise HttpFailure(
            f"The FHIR server answered HTTP {status}{_issue_codes(response)}.",
            status=status,
            temporary=status >= 500 or status in _TEMPORARY,
        )
    try:
        answer = response.json()
    except ValueError as error:
        raise PeerError("The FHIR server's answer is not JSON.") from error
    if not isinstance(answer, dict):
        raise PeerError("The FHIR server's answer is not a resource.")
    return answer


def _raw_path(client: httpx.Client, path: str) -> bytes:
    root = client.base_url.raw_path.rstrip(b"/")
    return (root + path.encode()) or b"/"


def _issue_codes(response: httpx.Response) -> str:
    """Return the outcome's issue codes, a closed list of FHIR."""
    try:
        issues = response.json().get("issue", [])
        found = sorted({str(issue.get("code", "")) for issue in issues})
    except (ValueError, AttributeError):
        return ""
    known = [code for code in found if code.replace("-", "").isalpha() and len(code) <= 24]
    return f" ({', '.join(known)})" if known else ""
