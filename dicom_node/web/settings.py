"""What IT can set about the web pages."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dicom_node.network.https_settings import plain_url
from dicom_node.network.tls_settings import ServerTls
from dicom_node.web.login_settings import OidcSettings, UserSettings

_ANCESTOR = re.compile(r"https?://[A-Za-z0-9.*-]+(:\d+)?")


class WebTls(ServerTls):
    """TLS of the pages. Files are PEM; new ones are used by the next connection, without a restart."""

    require_client_certificate: bool = Field(
        default=False, description="Refuse browsers without a certificate of client_ca. Default false: people log in."
    )


class WebSettings(BaseModel):
    """The node's own pages. Answering a result needs a login; without one they listen on this machine only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. Default 127.0.0.1, this machine only. Any other needs users or oidc, public_url, and "
        "tls or behind_proxy.",
    )
    port: int = Field(default=8080, ge=0, le=65535, description="TCP port.")
    public_url: str = Field(
        default="",
        description="Address under which people's browsers reach the pages, e.g. https://ainode.hospital.example. Results carry a "
        "link made of it; the link holds no token and leads to the login. Default: results carry no link.",
    )
    tls: WebTls | None = Field(default=None, description="TLS of the pages. Default: none.")
    behind_proxy: bool = Field(
        default=False,
        description="A proxy in front of the node ends TLS and is the only one who can reach the port; its X-Forwarded-For is "
        "believed. Default false.",
    )
    users: tuple[UserSettings, ...] = Field(default=(), description="Who logs in with a password of this node. Default: nobody.")
    oidc: OidcSettings | None = Field(default=None, description="Login by OpenID Connect. Default: none.")
    session_idle_minutes: float = Field(
        default=60, gt=0, description="Who does nothing for so long must log in again. Default 60 minutes."
    )
    session_hours: float = Field(default=12, gt=0, description="Everybody must log in again after so long. Default 12: a shift.")
    frame_ancestors: tuple[str, ...] = Field(
        default=(),
        description="Addresses of viewers that may show the pages within their own, e.g. https://pacs.hospital.example. Browsers "
        "send the login there only where both are of one site. Default: nobody.",
    )

    @field_validator("public_url")
    @classmethod
    def _base(cls, value: str) -> str:
        return plain_url(value, "https://ainode.hospital.example") if value else ""

    @field_validator("frame_ancestors")
    @classmethod
    def _origins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not _ANCESTOR.fullmatch(value):
                raise ValueError(f'"{value}" is not an address such as https://pacs.hospital.example, without a path')
        return values

    @model_validator(mode="after")
    def _nobody_comes_in_unseen(self) -> Self:
        logins = [user.login for user in self.users]
        if len(set(logins)) < len(logins):
            raise ValueError("two users have the same login; give each a name of their own")
        if self.tls is not None and self.behind_proxy:
            raise ValueError("tls and behind_proxy are two ways to the same end: write one of them")
        if is_loopback(self.host) and not self.behind_proxy:
            return self
        if not self.has_login:
            raise ValueError(
                f'"{self.host}" can be reached from elsewhere and nobody would have to log in; add users (dicom-node users hash) '
                "or oidc, or listen on 127.0.0.1"
            )
        if self.tls is None and not self.behind_proxy:
            raise ValueError(
                f'"{self.host}" can be reached from elsewhere and passwords would go in the clear; add tls, or behind_proxy: true '
                "where a proxy ends TLS"
            )
        if self.public_url.startswith("http://"):
            raise ValueError(f'public_url "{self.public_url}" is not https, and passwords would go in the clear; write https')
        if not self.public_url:
            raise ValueError("add public_url, the https address people reach the pages by: other names are turned away")
        return self

    @property
    def has_login(self) -> bool:
        """Whether anybody can log in."""
        return bool(self.users) or self.oidc is not None

    @property
    def secure(self) -> bool:
        """Whether browsers reach the pages by https: cookies are then sent by no other way."""
        return self.tls is not None or self.behind_proxy or self.public_url.startswith("https://")

    @property
    def hosts(self) -> frozenset[str]:
        """Names by which the pages may be called, lower case, without port."""
        named = {"localhost", "127.0.0.1", "::1", self.host.casefold()}
        if self.public_url:
            named.add((urllib.parse.urlsplit(self.public_url).hostname or "").casefold())
        return frozenset(named - {"0.0.0.0", "::", ""})


def is_loopback(host: str) -> bool:
    """Say whether an address is of this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
