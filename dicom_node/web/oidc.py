"""Login by OpenID Connect (OpenID Connect Core 1.0, 3.1): authorization code with PKCE (RFC 7636), state and nonce.

What must be remembered between the two halves travels in a signed cookie of ten minutes, so that any process can end what another
began. Nothing of the answer is believed before the ID token's signature, issuer, audience, time and nonce are checked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

import httpx

from dicom_node.core.errors import NodeError
from dicom_node.network.https import http_client
from dicom_node.network.https_settings import HttpAccess
from dicom_node.web.login_settings import OidcSettings

#: How long somebody may take at the other login.
WAY_SECONDS = 600.0
#: Discovery and keys are fetched again after so long, and keys at once when a token names one that is not known.
_FRESH_SECONDS = 3600.0
#: Asymmetric ones only: with the others the client secret would be the key.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_LEEWAY_SECONDS = 60


class LoginRefused(Exception):
    """The other login's answer is not accepted; the message is a sentence for people, without what came."""


@dataclass(frozen=True)
class Person:
    """Who logged in."""

    login: str
    role: str


class Oidc:
    """The hospital's login, as this node uses it. ``callback`` is the address of ours that it sends people back to."""

    def __init__(self, settings: OidcSettings, callback: str, key: bytes) -> None:
        self._settings, self._callback = settings, callback
        self._key = hmac.new(key, b"oidc", hashlib.sha256).digest()
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}

    def leave(self, then: str) -> tuple[str, str]:
        """Return where to send the browser, and the cookie to give it; ``then`` is the page wanted afterwards.

        Raises
        ------
        LoginRefused
            The other login cannot be reached.
        """
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # late: most processes never need it
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        url = prepare_grant_uri(
            self._discovered()["authorization_endpoint"],
            client_id=self._settings.client_id,
            response_type="code",
            redirect_uri=self._callback,
            scope=" ".join(self._settings.scopes),
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        way = {"state": state, "nonce": nonce, "verifier": verifier, "then": then, "ends": time.time() + WAY_SECONDS}
        body = base64.urlsafe_b64encode(json.dumps(way).encode()).decode()
        return str(url), f"{body}.{self._signed(body)}"

    def look(self) -> None:
        """Ask whether the other login is there as it is configured: its document, its keys, our secret.

        Raises
        ------
        LoginRefused
            With what is wrong.
        """
        self._fetched(self._discovered()["jwks_uri"])
        self._secret()

    def come_back(self, code: str, state: str, cookie: str) -> tuple[Person, str]:
        """Return who it is, and the page that was wanted.

        Parameters
        ----------
        code, state
            What the browser brought back; without a code the other login refused.
        cookie
            What ``leave`` gave.

        Raises
        ------
        LoginRefused
            It was not this browser that left, the other login refused, or what it says cannot be believed.
        """
        body, _, signature = cookie.partition(".")
        if not _same(self._signed(body), signature):
            raise LoginRefused("This browser did not begin the login here, or took too long. Please begin again.")
        way = json.loads(base64.urlsafe_b64decode(body))
        if way["ends"] < time.time() or not _same(str(way["state"]), state):
            raise LoginRefused("This login was not begun here, or took too long. Please begin again.")
        if not code:
            raise LoginRefused("The login refused you. Please try again, or tell IT.")
        claims = self._believed(self._id_token(code, str(way["verifier"])), str(way["nonce"]))
        login = claims.get(self._settings.login_claim)
        if not isinstance(login, str) or not login.strip() or len(login) > 128 or not login.isprintable():
            raise LoginRefused("The login says who you are in a way that this node is not set up for. IT can mend login_claim.")
        return Person(login, self._role(claims)), str(way["then"])

    def _id_token(self, code: str, verifier: str) -> str:
        from authlib.oauth2.auth import ClientAuth

        method = "client_secret_basic" if self._settings.client_secret_file else "none"
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._callback, "code_verifier": verifier}
        form = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
        url = self._discovered()["token_endpoint"]
        signer = ClientAuth(self._settings.client_id, self._secret(), method)
        url, headers, body = signer.prepare("POST", url, form, urllib.parse.urlencode(fields))
        try:
            with http_client(HttpAccess(tls=self._settings.tls), "", headers, self._settings.timeout_seconds) as client:
                answer = client.post(url, content=body)
            token = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError, NodeError) as error:
            raise LoginRefused("The login cannot be reached for now. Please try again.") from error
        if not isinstance(token, dict) or not isinstance(token.get("id_token"), str):
            raise LoginRefused("The login gave no proof of who you are. Please try again, or tell IT.")
        return str(token["id_token"])

    def _secret(self) -> str:
        file = self._settings.client_secret_file
        try:
            return file.read_text(encoding="utf-8").strip() if file is not None else ""
        except (OSError, ValueError) as error:
            raise LoginRefused("This node cannot read its secret for the login. Please tell IT.") from error

    def _believed(self, id_token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of the ID token (OpenID Connect Core 1.0, 3.1.3.7)."""
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        refusal = "The login's proof of who you are cannot be believed. Please tell IT."
        document = self._discovered()
        for again in (False, True):  # keys are changed now and then
            try:
                keys = KeySet.import_key_set(self._fetched(document["jwks_uri"], again=again))  # type: ignore[arg-type]
                token = jwt.decode(id_token, keys, algorithms=_ALGORITHMS)
                jwt.JWTClaimsRegistry(
                    leeway=_LEEWAY_SECONDS,
                    iss={"essential": True, "value": self._settings.issuer},
                    aud={"essential": True, "value": self._settings.client_id},
                    exp={"essential": True},
                    nonce={"essential": True, "value": nonce},
                    sub={"essential": True},
                ).validate(token.claims)
            except (JoseError, ValueError, KeyError, TypeError) as error:
                if again:
                    raise LoginRefused(refusal) from error
                continue
            claims = dict(token.claims)
            audience = claims["aud"]
            if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._settings.client_id:
                raise LoginRefused(refusal)
            return claims
        raise LoginRefused(refusal)

    def _role(self, claims: dict[str, Any]) -> str:
        settings = self._settings
        if not settings.role_claim:
            return "reader"
        value: Any = claims
        for part in settings.role_claim.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        groups = {str(item) for item in value} if isinstance(value, list) else {str(value)} if isinstance(value, str) else set()
        for role, wanted in (("admin", settings.admin_groups), ("reader", settings.reader_groups), ("it", settings.it_groups)):
            if groups.intersection(wanted):
                return role
        raise LoginRefused("You are known, but in none of the groups that may use this node. IT can add you to one.")

    def _discovered(self) -> dict[str, Any]:
        url = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        document = self._fetched(url)
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        secure = self._settings.issuer.startswith("https://")
        if document.get("issuer") != self._settings.issuer or not all(isinstance(document.get(n), str) for n in names):
            raise LoginRefused("The login does not call itself as this node knows it. IT can mend web.oidc.issuer.")
        if secure and not all(document[name].startswith("https://") for name in names):
            raise LoginRefused("The login names an address without https. Please tell IT.")
        return document

    def _fetched(self, url: str, *, again: bool = False) -> dict[str, Any]:
        at, document = self._kept.get(url, (0.0, {}))
        if document and not again and time.monotonic() - at < _FRESH_SECONDS:
            return document
        try:
            access = HttpAccess(tls=self._settings.tls)
            with http_client(access, "", {"Accept": "application/json"}, self._settings.timeout_seconds) as client:
                answer = client.get(url)
                answer.raise_for_status()
                document = answer.json()
        except (httpx.HTTPError, ValueError, NodeError) as error:
            raise LoginRefused("The login cannot be reached for now. Please try again, or tell IT.") from error
        if not isinstance(document, dict):
            raise LoginRefused("The login's answer cannot be understood. Please tell IT.")
        self._kept[url] = (time.monotonic(), document)
        return document

    def _signed(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()


def _same(ours: str, given: str) -> bool:
    """Compare in constant time, whatever characters were given."""
    return hmac.compare_digest(ours.encode(), given.encode("utf-8", "replace"))
