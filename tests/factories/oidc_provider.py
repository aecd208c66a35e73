"""An OpenID Connect provider on loopback, strict where the standard is: PKCE, redirect address, client secret, one use a code."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "ainode", "pr0vider/secret"


class Provider:
    """What it gives can be bent by tests: ``claims`` replace those of the ID token, ``key`` signs it."""

    def __init__(self) -> None:
        self.url = ""
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.shown_keys = [self.key]
        self.claims: dict[str, Any] = {}
        self.algorithm = "RS256"
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}

    def log_in(self, address: str) -> tuple[str, str]:
        """Be the person at the provider's page: return code and state that the browser brings back."""
        asked = {name: values[0] for name, values in urllib.parse.parse_qs(urllib.parse.urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self._codes)}"
        self._codes[code] = asked
        return code, asked["state"]

    def token(self, form: dict[str, list[str]], authorization: str) -> tuple[int, Any]:
        """Return an ID token for a code, once."""
        asked = self._codes.pop(form.get("code", [""])[0], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", [""])[0].encode()).digest()).rstrip(b"=")
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if asked is None or authorization != basic or form.get("redirect_uri") != [asked["redirect_uri"]]:
            return 400, {"error": "invalid_grant"}
        if challenge.decode() != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": "17", "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        claims |= {"preferred_username": "rao", "groups": ["radiology"]} | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": self.key.kid}
        token = jwt.encode(header, claims, self.key, algorithms=[self.algorithm])
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": token}

    def get(self, path: str) -> tuple[int, Any]:
        """Return the discovery document or the keys."""
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            places = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
            return 200, {"issuer": self.url, **{name: self.url + place for name, place in places.items()}}
        if path == "/keys":
            return 200, {"keys": [key.as_dict(private=False) for key in self.shown_keys]}
        return 404, {}


@contextlib.contextmanager
def oidc_provider() -> Iterator[Provider]:
    """Run it."""
    state = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._answer(*state.get(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self._answer(*state.token(urllib.parse.parse_qs(body), self.headers.get("Authorization", "")))

        def _answer(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
