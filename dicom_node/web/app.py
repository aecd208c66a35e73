"""The node's pages, put together: what may be seen without a login, and what not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from dicom_node.store.tables import web_session
from dicom_node.studies.disk import DiskState
from dicom_node.version import VERSION
from dicom_node.web.doorway import Doorway
from dicom_node.web.gate import Gate, Turned, see
from dicom_node.web.pages_clinical import clinical_pages
from dicom_node.web.pages_login import login_pages
from dicom_node.web.pages_marks import mark_pages
from dicom_node.web.pages_result import result_pages
from dicom_node.web.pages_status import status_pages
from dicom_node.web.pages_work import work_pages
from dicom_node.web.show import FOLDER, Show
from dicom_node.web.site import Site


def make_app(
    database: sa.Engine,
    name: str,
    last_beats: Callable[[], dict[str, float]],
    stale_seconds: float,
    disks: Callable[[], Sequence[DiskState]] = tuple,
    certificates: Callable[[], Mapping[str, float]] = dict,
    *,
    site: Site | None = None,
    routers: Sequence[APIRouter] = (),
    timezone: dt.tzinfo = dt.UTC,
) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    name
        The site's name.
    last_beats
        Gives the age of each role's heartbeat in seconds.
    disks
        Gives the disks that the node writes to.
    certificates
        Gives the seconds that each certificate is still valid, by the setting that names its file.
    site
        What pages behind a login need; without it there are none.
    routers
        Other doors, which see to it themselves who may come in.
    timezone
        Moments are shown in it.
    """
    app = FastAPI(title="dicom-node", version=VERSION, docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    show = Show(name, timezone)
    gate = Gate(site) if site is not None else None

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        # never the message: it may quote a header
        return PlainTextResponse(f"internal error: {type(error).__name__}", status_code=500)

    @app.exception_handler(Turned)
    def turned(request: Request, turned: Turned) -> Response:
        if turned.status == 303:
            return see(turned.then)
        session = gate.session(request) if gate is not None else None
        return show.message(request, turned.status, turned.title, turned.text, then=turned.then, session=session)

    app.include_router(status_pages(database, show, last_beats, stale_seconds, disks, certificates, gate))
    for router in routers:
        app.include_router(router)
    if gate is not None and site is not None:
        _forget_strangers(site)
        for pages in (login_pages, result_pages, mark_pages, clinical_pages, work_pages):
            app.include_router(pages(gate, show))
        app.add_middleware(Doorway, web=site.web)
    return app


def _forget_strangers(site: Site) -> None:
    """End the sessions of those whom the settings do not name any more, or name with another role."""
    if site.web.oidc is not None:
        return  # the other login names them; their sessions end by age
    c = web_session.c
    known = [sa.and_(c.login == user.login, c.role == user.role) for user in site.web.users]
    with site.database.begin() as connection:
        connection.execute(sa.delete(web_session).where(sa.not_(sa.or_(*known)) if known else sa.true()))
