"""Pages without patients: health, metrics, the studies' stories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from dicom_node.core.errors import UsageError
from dicom_node.core.feedback import Channel
from dicom_node.feedback.standing import opened
from dicom_node.feedback.waiting import suspended
from dicom_node.store.connect import check_database, reading
from dicom_node.studies import account as studies
from dicom_node.studies.disk import DiskState, Level, words
from dicom_node.version import VERSION
from dicom_node.web.gate import READS, Gate, only_fetched
from dicom_node.web.metrics import render_metrics
from dicom_node.web.show import Show


def status_pages(
    database: sa.Engine,
    show: Show,
    last_beats: Callable[[], dict[str, float]],
    stale_seconds: float,
    disks: Callable[[], Sequence[DiskState]],
    certificates: Callable[[], Mapping[str, float]],
    gate: Gate | None,
) -> APIRouter:
    """Return the pages; with a ``gate`` that has a login, stories are for people who are logged in."""
    pages = APIRouter()
    known = [Depends(gate.pages_open)] if gate is not None else []

    @pages.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok", "version": VERSION}

    @pages.get("/readyz")
    def readyz() -> JSONResponse:
        roles = {role: age < stale_seconds for role, age in last_beats().items()}
        ready = check_database(database) and all(roles.values()) and roles.get("receive", False) and roles.get("work", False)
        return JSONResponse({"ready": ready, "roles": roles}, status_code=200 if ready else 503)

    @pages.get("/metrics")
    def metrics() -> Response:
        return Response(render_metrics(database, last_beats(), disks(), certificates()), media_type=CONTENT_TYPE_LATEST)

    @pages.get("/", response_class=HTMLResponse, dependencies=known)
    def front(request: Request) -> HTMLResponse:
        with reading(database) as connection:
            listed = studies.list_studies(connection, 200)
            refused = studies.list_refused(connection)
            stopped = suspended(connection)
            given_up = studies.count_given_up(connection)
        session = gate.session(request) if gate else None
        low = [f"{disk.name}: {words(disk)}" for disk in disks() if disk.level is not Level.OK]
        return show.page(
            request,
            "studies.html",
            studies=list(without_results(listed)) if session is not None and session.role in READS else listed,
            refused=refused,
            roles=last_beats(),
            stale=stale_seconds,
            low_disks=low,
            suspended=stopped,
            given_up=given_up,
            session=session,
        )

    @pages.get("/studies/{key}", response_class=HTMLResponse, dependencies=known)
    def study(request: Request, key: str) -> HTMLResponse:
        session = gate.session(request) if gate else None
        try:
            with reading(database) as connection:
                story = studies.study_story(connection, key)
        except UsageError:
            return show.page(request, "missing.html", status=404, session=session)
        may_answer = session is not None and session.role in READS
        if gate is not None and session is not None and may_answer and not only_fetched(request):
            reader = gate.site.reader_of(session.login)
            with database.begin() as connection:  # who has seen what the AI said reads no more without knowing it
                for run in (run for run in story["runs"] if run["summary"]):
                    opened(connection, run["run_key"], story["study_key"], reader, Channel.WEB.value)
        return show.page(request, "study.html", study=story, session=session, may_answer=may_answer)

    return pages


def without_results(listed: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Yield the studies as people see them who may be asked to read first and be shown the result afterwards.

    A list of two hundred results would spoil every such reading, and nobody could say whose. Refusals and holds stay: they say
    nothing of the patient.
    """
    for item in listed:
        said = {run["summary"].get("headline") for run in item["runs"] if run["summary"]}
        yield {**item, "answer": "Analysed" if item["answer"] and item["answer"] in said else item["answer"]}
