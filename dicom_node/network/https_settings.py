"""What IT sets about an HTTP server that this node calls: certificates, and where the token comes from."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dicom_node.network.tls_settings import HttpsTls


def plain_url(value: str, example: str) -> str:
    """Return a base URL without its last slash.

    Raises
    ------
    ValueError
        It is none, or holds what belongs elsewhere; ``example`` shows how to write one. The value itself is not repeated: it may
        hold a password.
    """
    parts = urllib.parse.urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"write a URL such as {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a base URL has no user, password, query or fragment; for tokens there are settings of their own")
    return value.rstrip("/")


class OAuth2Settings(BaseModel):
    """A token fetched with a client id and secret, used until it ends, and fetched again when the server does not take it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_url: str = Field(description="Token endpoint, e.g. https://login.hospital.example/oauth2/token.")
    client_id: str = Field(min_length=1, description="Client id that the authorization server has given to this node.")
    client_secret_file: Path | None = Field(default=None, description="File that holds the client secret.")
    client_secret_env: str | None = Field(default=None, description="Environment variable that holds the client secret.")
    scope: str = Field(default="", description="Scopes, with blanks between, e.g. system/*.write. Default: the server's choice.")
    secret_in_body: bool = Field(
        default=False, description="Send id and secret in the form (client_secret_post) and not as HTTP Basic. Default: as Basic."
    )

    @field_validator("token_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urllib.parse.urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError("write a URL such as https://login.hospital.example/oauth2/token, without user or password")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("a secret goes there: write https")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.client_secret_file is None) == (self.client_secret_env is None):
            raise ValueError("name client_secret_file or client_secret_env, one of them")
        return self


class HttpAccess(BaseModel):
    """What settings of an HTTP server have in common. At most one of the three ways to get a token."""

    token_file: Path | None = Field(default=None, description="File that holds a bearer token; read anew at every attempt.")
    token_env: str | None = Field(default=None, description="Environment variable that holds a bearer token.")
    oauth2: OAuth2Settings | None = Field(default=None, description="Fetch a bearer token by OAuth 2.0. Default: no token.")
    tls: HttpsTls | None = Field(
        default=None, description="Authority and own certificate for https. Default: the authorities that this machine trusts."
    )

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if sum(way is not None for way in (self.token_file, self.token_env, self.oauth2)) > 1:
            raise ValueError("name one of token_file, token_env and oauth2")
        return self


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")
