"""STOW-RS in (PS3.18, 10.5): a door beside the SCP, with the same checks, the same durability and the same refusals.

Nothing of a request is kept in memory: its parts go to the disk as they come. Success is said of an object after it is on the disk
and its row is committed; the objects of a request do not wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydicom.dataset import Dataset
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dicom_node import log
from dicom_node.core.identifiers import is_tolerable_uid
from dicom_node.network.multipart import BrokenMultipart, media_type_of
from dicom_node.reception.diary import Entry
from dicom_node.reception.p_data import Malformed
from dicom_node.reception.presentation_contexts import accepted_sop_classes
from dicom_node.reception.settings import ReceptionSettings
from dicom_node.reception.storing import Storing
from dicom_node.reception.stow_settings import StowSettings
from dicom_node.web.server import HttpPort
from dicom_node.web.stow_parts import DICOM, Stored, Upload

JSON = "application/dicom+json"
_ANSWERABLE = ("*/*", "application/*", JSON, "application/json")
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


def make_stow_app(settings: ReceptionSettings, stow: StowSettings, storing: Storing) -> FastAPI:
    """Build the application."""
    app = FastAPI(title="dicom-node STOW-RS", docs_url=None, redoc_url=None, openapi_url=None)
    classes = frozenset(accepted_sop_classes(settings.extra_sop_classes))
    free = asyncio.Semaphore(stow.max_requests)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        log.event("stow.failed", error=type(error).__name__)  # never the message: it may quote a header
        return PlainTextResponse("internal error", status_code=500)

    async def store(request: Request, study_uid: str) -> Response:
        refusal = _refused(request, stow, study_uid)
        if refusal is not None:
            return refusal
        if free.locked():
            return PlainTextResponse("too many requests at once; try again", status_code=503, headers={"Retry-After": "5"})
        async with free:
            _, parameters = media_type_of(request.headers.get("content-type", ""))
            address = request.client.host if request.client else ""
            entry = Entry(stow.calling_ae, settings.ae_titles[0], address, time.time())
            try:
                upload = Upload(parameters["boundary"], storing, entry, classes, study_uid)
            except BrokenMultipart:
                return PlainTextResponse("the boundary cannot be used", status_code=400)
            return await _taken(request, upload, settings.dimse_timeout_seconds)

    @app.post("/dicomweb/studies")
    async def store_any(request: Request) -> Response:
        return await store(request, "")

    @app.post("/dicomweb/studies/{study_uid}")
    async def store_of_study(request: Request, study_uid: str) -> Response:
        return await store(request, study_uid)

    return app


def _refused(request: Request, stow: StowSettings, study_uid: str) -> Response | None:
    """Return why a request is not even read; the caller is judged first."""
    if stow.token_file is not None and not _knows(request.headers.get("authorization", ""), stow.token_file):
        log.event("stow.rejected", address=request.client.host if request.client else "", reason="no valid token")
        return PlainTextResponse("a valid token is needed", status_code=401, headers={"WWW-Authenticate": "Bearer"})
    media_type, parameters = media_type_of(request.headers.get("content-type", ""))
    if media_type != "multipart/related" or parameters.get("type", DICOM).lower() != DICOM:
        return PlainTextResponse(f'send multipart/related; type="{DICOM}"', status_code=415)
    if not parameters.get("boundary"):
        return PlainTextResponse("Content-Type names no boundary", status_code=400)
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "*/*").split(",")]
    if not any(part in _ANSWERABLE for part in accepted):
        return PlainTextResponse(f"this node answers {JSON}", status_code=406)
    if study_uid and not is_tolerable_uid(study_uid):
        return PlainTextResponse("the URL names no Study Instance UID", status_code=400)
    return None


def _knows(header: str, token_file: Path) -> bool:
    scheme, _, shown = header.partition(" ")
    try:
        tokens = [line.strip() for line in token_file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        log.event("stow.rejected", reason="the token file cannot be read", path=str(token_file))
        return False
    given = shown.strip().encode("utf-8", "replace")
    fits = [hmac.compare_digest(given, token.encode()) for token in tokens if token and not token.startswith("#")]
    return scheme.lower() == "bearer" and any(fits)


async def _taken(request: Request, upload: Upload, silence_seconds: float) -> Response:
    """Read the request to its end and answer what became of each object."""
    started = time.monotonic()
    trouble, status = "", 0
    try:
        async for piece in _pieces(request, silence_seconds):
            await run_in_threadpool(upload.feed, piece)
        upload.finish()
    except BrokenMultipart as error:
        trouble, status = str(error), 400
    except Malformed:
        trouble, status = "an object is larger than this node takes", 413
    except TimeoutError:
        trouble, status = "nothing came for too long", 408
    except ClientDisconnect:
        trouble, status = "the sender closed the connection", 400
    finally:
        await run_in_threadpool(upload.discard)
    entry = upload.entry
    log.event(
        "stow.ended",
        calling_ae=entry.calling_ae,
        address=entry.address,
        count=entry.objects,
        size=entry.bytes,
        seconds=round(time.monotonic() - started, 3),
        reason=trouble or "complete",
        outcome=f"{entry.refused} refused",
    )
    if not upload.results:
        return PlainTextResponse(trouble or "the request holds no part", status_code=status or 400)
    return JSONResponse(answer(upload.results), status_code=status or status_of(upload.results), media_type=JSON)


async def _pieces(request: Request, silence_seconds: float) -> AsyncIterator[bytes]:
    """Yield the body as it comes; ``TimeoutError`` when it stops coming."""
    stream = request.stream()
    with contextlib.suppress(StopAsyncIteration):
        while True:
            yield await asyncio.wait_for(anext(stream), silence_seconds)


def status_of(results: list[Stored]) -> int:
    """Return the HTTP status: 200 all stored, 202 some, 507 none for want of room, else 409 (PS3.18, table 10.5.3-1)."""
    failed = [one.status for one in results if one.status]
    if not failed:
        return 200
    if len(failed) < len(results):
        return 202
    return 507 if all(code in _OUT_OF_RESOURCES for code in failed) else 409


def answer(results: list[Stored]) -> dict[str, Any]:
    """Return the Store Instances Response Module as DICOM JSON (PS3.18, 10.5.3.2)."""
    stored, failed = [], []
    for one in results:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = map(_uid, (one.sop_class_uid, one.sop_instance_uid))
        if one.status:
            item.FailureReason = one.status
            failed.append(item)
        else:
            stored.append(item)
    told = Dataset()
    if stored:
        told.ReferencedSOPSequence = stored
    if failed:
        told.FailedSOPSequence = failed
    plain: dict[str, Any] = told.to_json_dict(suppress_invalid_tags=True)
    return plain


def _uid(value: str) -> str:
    """Return a UID as it came; what cannot be one is left empty."""
    return value if is_tolerable_uid(value) else ""


@contextlib.contextmanager
def serving(settings: ReceptionSettings, stow: StowSettings, storing: Storing) -> Iterator[int]:
    """Hold the STOW-RS port open; yields the port. One that cannot be opened is told and tried again."""
    app = make_stow_app(settings, stow, storing)
    door = HttpPort(app, name="stow", host=stow.host, port=stow.port, tls=stow.tls).start()
    try:
        yield door.port
    finally:
        door.stop()
