"""What every request passes: is the node called by a name of its own? And what every answer of it carries.

A page of another site that makes a browser call this one by a foreign name (DNS rebinding) is turned away. Nothing may be kept by
browsers, run what the node did not write, or show its pages within another site's, unless ``frame_ancestors`` names that.
"""

from __future__ import annotations

import urllib.parse
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node import log
from dicom_node.web.settings import WebSettings

#: Asked by monitors and other machines, by whatever name: they tell no patient, or have a token of their own.
_ANY_NAME = ("/healthz", "/readyz", "/metrics", "/fhir-hook")
_QUIET = (*_ANY_NAME[:3], "/static")
#: Longest form: a comment and a few dozen drawn regions.
MAX_FORM_BYTES = 262_144


class Doorway:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, web: WebSettings) -> None:
        self._app, self._hosts = app, web.hosts
        frames = " ".join(web.frame_ancestors) or "'none'"
        self._headers = {
            "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
            f"form-action 'self'; base-uri 'none'; frame-ancestors {frames}",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        }
        if not web.frame_ancestors:
            self._headers["X-Frame-Options"] = "DENY"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if not path.startswith(_ANY_NAME) and self._foreign(Headers(scope=scope)):
            answer = PlainTextResponse("This node is not known by that name; see web.public_url in its settings.", 421)
            await answer(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if not path.startswith(_QUIET):
                    _write_log(scope, int(message["status"]))
            await send(message)

        await self._app(scope, receive, told)

    def _foreign(self, headers: Headers) -> bool:
        try:
            name = urllib.parse.urlsplit("//" + headers.get("host", "")).hostname or ""
        except ValueError:
            return True
        return name.casefold().rstrip(".") not in self._hosts


def _write_log(scope: Any, status: int) -> None:
    """Write who asked for what kind of page: never the query, which may hold an accession number, nor a path we do not know."""
    path = getattr(scope.get("route"), "path", "-")
    address = scope["client"][0] if scope.get("client") else ""
    log.event("web.request", kind=scope["method"], path=path, status=status, address=address)
