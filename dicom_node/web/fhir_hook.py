"""The hook: a FHIR server tells what changed (R4 Subscription, channel rest-hook), at ``/fhir-hook`` or below it.

The body is a resource, a Bundle, or nothing at all: then the server is asked. Who calls shows a bearer token; the server behind it
is believed who its people are, as it has logged them in.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dicom_node import log

MOST_BYTES = 1_048_576
_MOST_RESOURCES = 500
#: What a notification carries about itself, and not about a result.
_ENVELOPES = ("SubscriptionStatus", "Parameters", "OperationOutcome")

Json = dict[str, Any]


def fhir_hook(token_file: Path, take: Callable[[Sequence[Json]], Sequence[str]], look: Callable[[], None]) -> APIRouter:
    """Build the router.

    Parameters
    ----------
    token_file
        Bearer tokens that may call, one a line.
    take
        Takes resources, and returns the state of each that is about a result of ours.
    look
        Has the servers asked soon.
    """
    router = APIRouter()

    @router.api_route("/fhir-hook", methods=["POST", "PUT"])
    @router.api_route("/fhir-hook/{rest:path}", methods=["POST", "PUT"])
    async def hook(request: Request, rest: str = "") -> Response:
        address = request.client.host if request.client else ""
        if not _knows(request.headers.get("authorization", ""), token_file):
            log.event("fhir_hook.rejected", address=address, reason="no valid token")
            return _told(401, "login", "A valid token is needed.", {"WWW-Authenticate": "Bearer"})
        try:
            body = await _body(request)
            resources = _resources(json.loads(body)) if body.strip() else []
        except _TooLarge:
            return _told(413, "too-long", f"This node takes {MOST_BYTES} bytes at most.")
        except ClientDisconnect:
            return _told(400, "incomplete", "The caller closed the connection.")
        except (ValueError, RecursionError, _NoResource):
            return _told(400, "structure", "This is no FHIR resource in JSON.")
        if not resources:
            await run_in_threadpool(look)
            return JSONResponse({"taken": 0}, status_code=202)
        try:
            states = await run_in_threadpool(take, resources)
        except (SQLAlchemyError, OSError) as error:
            log.event("fhir_hook.put_off", error=type(error).__name__)
            return _told(503, "transient", "It cannot be kept for now; send it again.", {"Retry-After": "30"})
        log.event("fhir_hook.taken", address=address, count=len(resources), outcome=", ".join(sorted(set(states))))
        return JSONResponse({"taken": len(states)})

    return router


class _TooLarge(Exception):
    pass


class _NoResource(Exception):
    pass


async def _body(request: Request) -> bytes:
    pieces = bytearray()
    async for piece in request.stream():
        pieces += piece
        if len(pieces) > MOST_BYTES:
            raise _TooLarge
    return bytes(pieces)


def _resources(sent: Any) -> list[Json]:
    """Return the resources of a body, those of a Bundle one by one, without what a notification says about itself."""
    if not isinstance(sent, dict) or not isinstance(sent.get("resourceType"), str):
        raise _NoResource
    if sent["resourceType"] in _ENVELOPES:
        return []
    if sent["resourceType"] != "Bundle":
        return [sent]
    entries = sent.get("entry") or []
    if not isinstance(entries, list) or len(entries) > _MOST_RESOURCES:
        raise _NoResource
    inside = [entry["resource"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("resource"), dict)]
    return [one for one in inside if one.get("resourceType") not in _ENVELOPES]


def read_tokens(token_file: Path) -> list[str]:
    """Return the tokens of a file: one a line, without empty lines and those that start with #.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or is no UTF-8.
    """
    lines = [line.strip() for line in token_file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _knows(header: str, token_file: Path) -> bool:
    scheme, _, shown = header.partition(" ")
    try:
        tokens = read_tokens(token_file)
    except (OSError, ValueError):
        log.event("fhir_hook.rejected", reason="the token file cannot be read", path=str(token_file))
        return False
    given = shown.strip().encode("utf-8", "replace")
    fits = [hmac.compare_digest(given, token.encode()) for token in tokens]
    return scheme.lower() == "bearer" and any(fits)


def _told(status: int, code: str, text: str, headers: dict[str, str] | None = None) -> Response:
    issue = [{"severity": "error", "code": code, "diagnostics": text}]
    return JSONResponse({"resourceType": "OperationOutcome", "issue": issue}, status_code=status, headers=headers)
