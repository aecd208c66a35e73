"""What IT sets about logging in: local users, and the hospital's own login (OpenID Connect)."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dicom_node.network.https_settings import plain_url
from dicom_node.network.tls_settings import HttpsTls
from dicom_node.web.passwords import is_hash

Role = Literal["reader", "admin", "it"]


class UserSettings(BaseModel):
    """A person who logs in to the pages with a password that the node checks itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    login: str = Field(
        min_length=1, max_length=64, description="Name the person types. For answers that count, name it in readers too."
    )
    role: Role = Field(
        default="reader",
        description="reader: sees results and answers them. admin: that, and opt-outs and answers that wait for a person. "
        "it: the state of the node and of the ways answers come, no patient. Default reader.",
    )
    password_hash: str = Field(description="What the command users hash prints: the password itself stands nowhere.")

    @field_validator("password_hash")
    @classmethod
    def _a_hash(cls, value: str) -> str:
        if not is_hash(value):
            raise ValueError("this is not what the command prints; make one with: dicom-node users hash")
        return value


class OidcSettings(BaseModel):
    """Log in where everybody in the hospital does (OpenID Connect, authorization code with PKCE)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(
        description="Address of the login, e.g. https://login.hospital.example/realms/hospital; its discovery document lies below "
        "it, at /.well-known/openid-configuration."
    )
    client_id: str = Field(min_length=1, description="Client id that the login has given to this node.")
    client_secret_file: Path | None = Field(
        default=None, description="File that holds the client secret. Default: a public client, PKCE alone."
    )
    scopes: tuple[str, ...] = Field(default=("openid", "profile"), description="Scopes asked for. Default: openid, profile.")
    login_claim: str = Field(
        default="preferred_username",
        min_length=1,
        description="Claim of the ID token that is the login, as readers names it. Default preferred_username.",
    )
    role_claim: str = Field(
        default="",
        description="Claim with the person's groups or roles, e.g. groups or realm_access.roles. Default: none is looked at, and "
        "who logs in is a reader.",
    )
    reader_groups: tuple[str, ...] = Field(default=(), description="Values of role_claim that make a reader.")
    admin_groups: tuple[str, ...] = Field(default=(), description="Values of role_claim that make an admin.")
    it_groups: tuple[str, ...] = Field(default=(), description="Values of role_claim that make it. Nobody else may enter.")
    timeout_seconds: float = Field(default=10, gt=0, description="How long the login may take to answer the node. Default 10 s.")
    tls: HttpsTls | None = Field(
        default=None, description="Authority of the login's certificate. Default: the authorities that this machine trusts."
    )

    @field_validator("issuer")
    @classmethod
    def _url(cls, value: str) -> str:
        issuer = plain_url(value, "https://login.hospital.example/realms/hospital")
        parts = urllib.parse.urlsplit(issuer)
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("who logs in is decided there: write https")
        return value  # as it is written: the ID token names it to the letter, last slash and all

    @model_validator(mode="after")
    def _groups_need_a_claim(self) -> Self:
        named = bool(self.reader_groups or self.admin_groups or self.it_groups)
        if named != bool(self.role_claim):
            raise ValueError("role_claim and the groups belong together: name the claim and at least one group, or neither")
        if "openid" not in self.scopes:
            raise ValueError("scopes must hold openid, else the login says nothing of who it is")
        return self
