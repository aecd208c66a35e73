"""An OAuth 2.0 authorization server for client credentials on loopback, with a resource that takes its tokens."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "s3cret/with+signs"


class TokenServer:
    """An authorization server at /token and a resource at every other path; both remember what they were asked."""

    def __init__(self) -> None:
        self.tokens_given: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self.authorizations: list[str] = []
        self.good_tokens: set[str] = set()
        self.token_answer: tuple[int, Any] | None = None
        self.lifetime = 3600
        self.url = ""

    def give_token(self, body: bytes, authorization: str) -> tuple[int, Any]:
        form = urllib.parse.parse_qs(body.decode())
        self.forms.append(form)
        if self.token_answer is not None:
            return self.token_answer
        basic = base64.b64encode(f"node:{SECRET}".encode()).decode()
        by_form = form.get("client_id") == ["node"] and form.get("client_secret") == [SECRET]
        if authorization != f"Basic {basic}" and not by_form:
            return 401, {"error": "invalid_client", "error_description": "no such client: node"}
        token = f"token-{len(self.tokens_given)}"
        self.tokens_given.append(token)
        self.good_tokens = {token}
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}

    def resource(self, authorization: str) -> tuple[int, Any]:
        self.authorizations.append(authorization)
        good = authorization.removeprefix("Bearer ") in self.good_tokens
        return (200, {"fine": True}) if good else (401, {"error": "invalid_token"})


@contextlib.contextmanager
def token_server(context: ssl.SSLContext | None = None) -> Iterator[TokenServer]:
    """Run it, with TLS where a context is given."""
    state = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = self.headers.get("Authorization", "")
            status, told = state.give_token(body, said) if self.path == "/token" else state.resource(said)
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    state.url = f"{'https' if context else 'http'}://localhost:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
