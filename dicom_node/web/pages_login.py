"""Log in and out: a password of this node, or the hospital's own login."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from dicom_node import log
from dicom_node.web import sessions
from dicom_node.web.gate import Gate, Turned, form_of, in_thread, safe_page, see
from dicom_node.web.oidc import WAY_SECONDS, LoginRefused, Oidc
from dicom_node.web.passwords import fits
from dicom_node.web.show import Show
from dicom_node.web.throttle import Throttle

CALLBACK = "/login/oidc/back"


def login_pages(gate: Gate, show: Show) -> APIRouter:
    """Return the pages."""
    pages = APIRouter()
    site, throttle = gate.site, Throttle()
    users = {user.login: user for user in site.web.users}
    oidc = Oidc(site.web.oidc, _callback(gate), site.key) if site.web.oidc is not None else None

    def token_of(value: str) -> str:
        return hmac.new(site.key, b"login|" + value.encode(), hashlib.sha256).hexdigest()

    def form(request: Request, then: str, problem: str = "", status: int = 200) -> Response:
        value = request.cookies.get(gate.form_cookie, "") or secrets.token_urlsafe(24)
        answer = show.page(
            request,
            "login.html",
            status,
            then=then,
            problem=problem,
            form_token=token_of(value),
            has_users=bool(users),
            has_oidc=oidc is not None,
        )
        gate.set_cookie(answer, gate.form_cookie, value)
        return answer

    def entered(request: Request, login: str, role: str, then: str) -> Response:
        old = request.cookies.get(gate.cookie, "")
        if old:
            sessions.end(site.database, old)
        value = sessions.begin(site.database, login, role, hours=site.web.session_hours)
        answer = see(safe_page(then or ("/answers" if role == "it" else "/worklist")))
        gate.set_cookie(answer, gate.cookie, value)
        log.event("web.login", kind=role, address=gate.address(request), outcome="entered")
        return answer

    def refused(request: Request, reason: str) -> None:
        log.event("web.login", address=gate.address(request), outcome="refused", reason=reason)

    @pages.get("/login")
    def login_page(request: Request, then: str = "") -> Response:
        return form(request, then)

    @pages.post("/login")
    async def log_in(request: Request, filled: FormData = Depends(form_of)) -> Response:
        return await in_thread(lambda: checked(request, filled))

    def checked(request: Request, filled: FormData) -> Response:
        login, password, then = (str(filled.get(name, "")) for name in ("login", "password", "then"))
        token = token_of(request.cookies.get(gate.form_cookie, ""))
        if not hmac.compare_digest(str(filled.get("form_token", "")).encode("utf-8", "replace"), token.encode()):
            return form(request, then, "The form was too old, or cookies are off. Please try again.", 403)
        address = gate.address(request)
        waits = throttle.waits(login[:64], address)
        if waits:
            refused(request, "too many attempts")
            minutes = math.ceil(waits / 60)
            return form(request, then, f"Too many attempts. Please wait {minutes} min, or ask IT.", 429)
        user = users.get(login)
        if not fits(password, user.password_hash if user is not None else "") or user is None:
            throttle.failed(login[:64], address)
            refused(request, "wrong login or password")
            return form(request, then, "Login or password is wrong.", 401)
        throttle.succeeded(login, address)
        return entered(request, user.login, user.role, then)

    @pages.get("/login/oidc")
    def leave(request: Request, then: str = "") -> Response:
        if oidc is None:
            raise Turned(404, "There is no such page", "This node has no login of that kind.")
        try:
            url, way = oidc.leave(then)
        except LoginRefused as error:
            refused(request, "the other login cannot be used")
            return form(request, then, str(error), 502)
        answer = see(url)
        gate.set_cookie(answer, gate.way_cookie, way, WAY_SECONDS)
        return answer

    @pages.get(CALLBACK)
    def come_back(request: Request, code: str = "", state: str = "") -> Response:
        if oidc is None:
            raise Turned(404, "There is no such page", "This node has no login of that kind.")
        try:
            person, then = oidc.come_back(code, state, request.cookies.get(gate.way_cookie, ""))
        except LoginRefused as error:
            refused(request, "the other login refused, or was not believed")
            answer = form(request, "", str(error), 403)
        else:
            answer = entered(request, person.login, person.role, then)
        gate.drop_cookie(answer, gate.way_cookie)
        return answer

    @pages.post("/logout")
    async def log_out(request: Request, filled: FormData = Depends(form_of)) -> Response:
        return await in_thread(lambda: left(request, filled))

    def left(request: Request, filled: FormData) -> Response:
        session = gate.session(request)
        if session is not None:
            gate.check_form(session, filled)
            sessions.end(site.database, request.cookies.get(gate.cookie, ""))
        answer = see("/login")
        gate.drop_cookie(answer, gate.cookie)
        return answer

    return pages


def _callback(gate: Gate) -> str:
    web = gate.site.web
    scheme = "https" if web.secure else "http"
    host = f"[{web.host}]" if ":" in web.host else web.host
    return (web.public_url or f"{scheme}://{host}:{web.port}") + CALLBACK
