"""Who is here, and may they? Cookies, forms' tokens, and what happens to those who are not logged in."""

from __future__ import annotations

import hmac
import urllib.parse
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from dicom_node.web import sessions
from dicom_node.web.doorway import MAX_FORM_BYTES
from dicom_node.web.sessions import Session
from dicom_node.web.site import Site

T = TypeVar("T")

READS = ("reader", "admin")  # who sees patients
RUNS = ("admin", "it")  # who looks after the node


class Turned(Exception):
    """The request ends here, with this answer."""

    def __init__(self, status: int, title: str, text: str, then: str = "") -> None:
        super().__init__(title)
        self.status, self.title, self.text, self.then = status, title, text, then


class Gate:
    """Stands before every page that needs a login."""

    def __init__(self, site: Site) -> None:
        self.site = site
        secure = site.web.secure
        self.cookie = "__Host-ainode" if secure else "ainode"
        self.way_cookie = "__Host-ainode-way" if secure else "ainode-way"
        self.form_cookie = "__Host-ainode-form" if secure else "ainode-form"

    def session(self, request: Request) -> Session | None:
        """Return who is logged in."""
        value = request.cookies.get(self.cookie, "")
        return sessions.find(self.site.database, value, idle_minutes=self.site.web.session_idle_minutes)

    def must_be(self, *roles: str) -> Callable[[Request], Session]:
        """Return a dependency that gives the session of somebody with one of these roles, or turns away."""

        def check(request: Request) -> Session:
            session = self.session(request)
            if session is None:
                if request.method in ("GET", "HEAD"):
                    raise Turned(303, "", "", then=login_address(_asked(request)))
                title = "You are not logged in any more"
                raise Turned(401, title, "Nothing was recorded. Log in, and answer again.", then=login_address(_page_of(request)))
            if roles and session.role not in roles:
                raise Turned(403, "Not for you", "Your login may not see this page. IT can change what it may see.")
            return session

        return check

    def pages_open(self, request: Request) -> None:
        """Dependency of pages without patients: open on a node without login, else for everybody who is logged in."""
        if self.site.web.has_login:
            self.must_be()(request)

    def set_cookie(self, response: Response, name: str, value: str, seconds: float | None = None) -> None:
        """Give the browser a value that scripts cannot read and other sites' forms do not send."""
        age = None if seconds is None else int(seconds)
        response.set_cookie(name, value, max_age=age, path="/", secure=self.site.web.secure, httponly=True, samesite="lax")

    def drop_cookie(self, response: Response, name: str) -> None:
        """Take it back."""
        response.delete_cookie(name, path="/", secure=self.site.web.secure, httponly=True, samesite="lax")

    def address(self, request: Request) -> str:
        """Return where the request comes from: what the proxy says, where one is trusted."""
        if self.site.web.behind_proxy:
            forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            if forwarded:
                return forwarded[:64]
        return request.client.host if request.client else ""

    def check_form(self, session: Session, form: FormData) -> None:
        """Turn away a form that this node did not give to this session (CSRF)."""
        given = str(form.get("form_token", "")).encode("utf-8", "replace")
        if not hmac.compare_digest(given, session.form_token.encode()):
            raise Turned(403, "This form is not ours", "Nothing was recorded. Open the page again, and answer there.")


def only_fetched(request: Request) -> bool:
    """Say whether the browser fetches the page in advance, and nobody has seen it."""
    purpose = request.headers.get("sec-purpose", "") + request.headers.get("purpose", "")
    return "prefetch" in purpose.casefold() or request.method == "HEAD"


async def form_of(request: Request) -> FormData:
    """Dependency: the form of a request, if it is not too long."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > MAX_FORM_BYTES or "transfer-encoding" in request.headers:  # that outweighs the length
        raise Turned(413, "Too much", "Nothing was recorded: the form is too long. Shorten the comment, or draw fewer regions.")
    return await request.form(max_files=0, max_fields=200)


async def in_thread(work: Callable[[], T]) -> T:
    """Do what waits for the database where it does not keep others waiting."""
    return await run_in_threadpool(work)


def login_address(then: str) -> str:
    """Return the address of the login that leads on to a page."""
    return "/login?" + urllib.parse.urlencode({"then": then})


def safe_page(then: str) -> str:
    """Return a page of this node: nobody is led to another site after the login."""
    fine = then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable() and "\\" not in then
    return then if fine and not then.startswith("/login") else "/worklist"


def see(address: str) -> RedirectResponse:
    """Lead the browser to a page, by GET."""
    return RedirectResponse(address, status_code=303)


def _asked(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _page_of(request: Request) -> str:
    """Return the page that a form stands on."""
    return request.url.path.removesuffix("/answer")
