"""The node's pages: health, metrics, and the same story that ``dicom-node study`` tells. Loopback only until there is a login."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.templating import Jinja2Templates
from prometheus_client import CONTENT_TYPE_LATEST

from dicom_node.core.errors import UsageError
from dicom_node.store.connect import check_database, reading
from dicom_node.studies import account as studies
from dicom_node.studies.disk import DiskState, Level, words
from dicom_node.version import VERSION
from dicom_node.web.metrics import render_metrics

_TEMPLATES = Path(__file__).parent / "templates"


def make_app(
    database: sa.Engine,
    site: str,
    last_beats: Callable[[], dict[str, float]],
    stale_seconds: float,
    disks: Callable[[], Sequence[DiskState]] = tuple,
    certificates: Callable[[], Mapping[str, float]] = dict,
) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    site
        The site's name.
    last_beats
        Gives the age of each role's heartbeat in seconds.
    disks
        Gives the disks that the node writes to.
    certificates
        Gives the seconds that each certificate is still valid, by the setting that names its file.
    """
    app = FastAPI(title="dicom-node", version=VERSION, docs_url=None, redoc_url=None, openapi_url=None)
    templates = Jinja2Templates(directory=_TEMPLATES)
    templates.env.filters["clock"] = lambda at: time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at else ""

    def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        return templates.TemplateResponse(request, name, {"site": site, "version": VERSION, **values}, status_code=status)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        # never the message: it may quote a header
        return PlainTextResponse(f"internal error: {type(error).__name__}", status_code=500)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok", "version": VERSION}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        roles = {role: age < stale_seconds for role, age in last_beats().items()}
        ready = check_database(database) and all(roles.values()) and roles.get("receive", False) and roles.get("work", False)
        return JSONResponse({"ready": ready, "roles": roles}, status_code=200 if ready else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(render_metrics(database, last_beats(), disks(), certificates()), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse)
    def front(request: Request) -> HTMLResponse:
        with reading(database) as connection:
            listed = studies.list_studies(connection, 200)
            refused = studies.list_refused(connection)
        low = [f"{disk.name}: {words(disk)}" for disk in disks() if disk.level is not Level.OK]
        return page(
            request, "studies.html", studies=listed, refused=refused, roles=last_beats(), stale=stale_seconds, low_disks=low
        )

    @app.get("/studies/{key}", response_class=HTMLResponse)
    def study(request: Request, key: str) -> HTMLResponse:
        try:
            with reading(database) as connection:
                story = studies.study_story(connection, key)
        except UsageError:
            return page(request, "missing.html", status=404)
        return page(request, "study.html", study=story)

    return app
