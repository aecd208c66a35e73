"""How this node calls an HTTP server: TLS, and a token that is fixed or fetched (OAuth 2.0 client credentials, RFC 6749, 4.4).

Tokens and secrets stand in files or environment variables, are read when they are needed, and are never logged.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import urllib.parse
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import httpx

from dicom_node.core.errors import HttpFailure, PeerTimeout, PeerUnreachable, TlsFailure
from dicom_node.network.http_transport import BoundedTransport
from dicom_node.network.https_settings import HttpAccess, OAuth2Settings
from dicom_node.network.tls import current_context
from dicom_node.network.tls_settings import HttpsTls
from dicom_node.network.tls_words import tls_failure

#: A token is renewed this long before it ends, so that none ends on the way.
_MARGIN_SECONDS = 30.0
#: A token whose server does not say how long it lasts is used this long.
_UNSAID_SECONDS = 300.0
#: An answer that has begun may take so many timeouts until it is whole; a long list does, and so does a server that drips.
_TIMEOUTS_AN_ANSWER = 3


def http_client(
    access: HttpAccess, base_url: str, headers: Mapping[str, str], timeout_seconds: float, answer_seconds: float | None = None
) -> httpx.Client:
    """Return a client for one attempt.

    Parameters
    ----------
    timeout_seconds
        Longest wait for the connection, and each time that nothing moves.
    answer_seconds
        Longest time that a whole answer may take; ``None``: three timeouts. A request has ten minutes to leave.

    Raises
    ------
    TlsFailure
        The TLS files cannot be used.
    HttpFailure
        The fixed token cannot be had. One that is fetched raises at the first request.
    """
    auth: httpx.Auth | None = None
    if access.oauth2 is not None:
        auth = _FetchedToken(access.oauth2, access.tls, timeout_seconds)
    else:
        token = _fixed_token(access)
        auth = _FixedToken(token) if token else None
    # environment variables could send patients through a proxy that nobody named in the configuration
    return httpx.Client(
        base_url=base_url,
        headers=dict(headers),
        auth=auth,
        timeout=timeout_seconds,
        transport=_transport(access.tls, answer_seconds or timeout_seconds * _TIMEOUTS_AN_ANSWER),
        trust_env=False,
    )


def transport_failure(error: httpx.HTTPError, whose: str) -> PeerTimeout | TlsFailure:
    """Return what an exception of httpx means; ``whose`` begins the sentence, e.g. ``The FHIR server``."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return tls_failure(cause, whose=whose)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return PeerTimeout(f"{whose} did not answer in time.")
    if isinstance(error, httpx.ConnectError):
        return PeerUnreachable(f"{whose} cannot be reached.")
    return PeerTimeout(f"{whose} cannot be reached ({type(error).__name__}).")


class _FixedToken(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class _FetchedToken(httpx.Auth):
    """Adds the token; fetches another one, once, when the server answers 401."""

    def __init__(self, settings: OAuth2Settings, tls: HttpsTls | None, timeout_seconds: float) -> None:
        self._settings, self._tls, self._timeout = settings, tls, timeout_seconds

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = _tokens.get(self._settings, self._tls, self._timeout)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            fresh = _tokens.get(self._settings, self._tls, self._timeout, instead_of=token)
            request.headers["Authorization"] = f"Bearer {fresh}"
            yield request


class _Tokens:
    """The tokens of this process, by settings: one token serves many attempts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[OAuth2Settings, threading.Lock] = {}
        self._kept: dict[OAuth2Settings, tuple[str, float]] = {}  # token, monotonic end

    def get(self, settings: OAuth2Settings, tls: HttpsTls | None, timeout_seconds: float, *, instead_of: str = "") -> str:
        """Return a token that holds; ``instead_of`` is one that the server did not take."""
        with self._lock:
            lock = self._locks.setdefault(settings, threading.Lock())
        with lock:  # one fetch at a time for each server; the others then find what it brought
            token, end = self._kept.get(settings, ("", 0.0))
            if token and token != instead_of and time.monotonic() < end:
                return token
            token, seconds = _fetched(settings, tls, timeout_seconds)
            self._kept[settings] = (token, time.monotonic() + seconds)
            return token


_tokens = _Tokens()


def _fetched(settings: OAuth2Settings, tls: HttpsTls | None, timeout_seconds: float) -> tuple[str, float]:
    """Fetch a token; return it and for how many seconds to use it."""
    from authlib.oauth2.auth import ClientAuth  # only where a token is fetched: roles that fetch none start faster
    from authlib.oauth2.rfc6749 import OAuth2Token

    secret = _read(settings.client_secret_file, settings.client_secret_env, "client secret")
    fields = {"grant_type": "client_credentials"} | ({"scope": settings.scope} if settings.scope else {})
    method = "client_secret_post" if settings.secret_in_body else "client_secret_basic"
    form = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
    signer = ClientAuth(settings.client_id, secret, method)
    url, headers, body = signer.prepare("POST", settings.token_url, form, urllib.parse.urlencode(fields))
    try:
        transport = _transport(tls, timeout_seconds * _TIMEOUTS_AN_ANSWER)
        with httpx.Client(timeout=timeout_seconds, transport=transport, trust_env=False) as client:
            response = client.post(url, headers=headers, content=body)
    except httpx.HTTPError as error:
        raise transport_failure(error, "The authorization server") from error
    if response.status_code != 200:
        # 400 invalid_client or 401: a person must mend it, yet the study must not be lost over it: tried again
        raise HttpFailure(
            f"The authorization server gave no token: HTTP {response.status_code}{_error_code(response)}.",
            status=response.status_code,
            temporary=True,
        )
    try:
        answer: dict[str, Any] = OAuth2Token.from_dict(response.json())
        token, lasts = str(answer["access_token"]), float(answer.get("expires_in") or _UNSAID_SECONDS)
    except (ValueError, KeyError, TypeError) as error:
        raise HttpFailure("The authorization server's answer holds no token.", status=200, temporary=True) from error
    if not token.isascii() or not token.isprintable():
        raise HttpFailure("The authorization server's answer holds no token.", status=200, temporary=True)
    return token, max(lasts - _MARGIN_SECONDS, lasts / 2)


def _error_code(response: httpx.Response) -> str:
    """Return the error code, one of a short list (RFC 6749, 5.2)."""
    known = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope")
    try:
        code = response.json().get("error")
    except (ValueError, AttributeError):
        return ""
    return f" ({code})" if code in known else ""


def _fixed_token(access: HttpAccess) -> str:
    if access.token_file is None and access.token_env is None:
        return ""
    return _read(access.token_file, access.token_env, "token")


def _read(path: Path | None, variable: str | None, what: str) -> str:
    if variable is not None:
        value = os.environ.get(variable, "").strip()
        if not value:
            raise HttpFailure(f"The environment variable {variable} holds no {what}.", status=401, temporary=False)
        return value
    try:
        value = (path or Path()).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise HttpFailure(f"The {what} file cannot be read ({type(error).__name__}).", status=401, temporary=False) from error
    if not value:  # just being written, perhaps; without a token nothing is sent
        raise HttpFailure(f"The {what} file is empty.", status=401, temporary=True)
    return value


def _transport(tls: HttpsTls | None, answer_seconds: float) -> BoundedTransport:
    return BoundedTransport(current_context(tls or HttpsTls()), answer_seconds)
