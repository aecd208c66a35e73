"""What IT can set about STOW-RS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dicom_node.core.identifiers import check_ae_title
from dicom_node.network.tls_settings import ServerTls

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class StowSettings(BaseModel):
    """STOW-RS: objects may also come by HTTP, to /dicomweb/studies. Other machines may only send with a token or a certificate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default="127.0.0.1", description="Address to listen on. Default: this machine only; others need token_file or tls."
    )
    port: int = Field(default=8043, ge=0, le=65535, description="TCP port.")
    token_file: Path | None = Field(
        default=None, description="File with the bearer tokens that may send, one a line; read anew at every request."
    )
    tls: ServerTls | None = Field(default=None, description="Serve https. Default: http.")
    calling_ae: Annotated[str, AfterValidator(check_ae_title)] = Field(
        default="STOW", description="What stands for the sender's AE title in rules and stories: HTTP has none."
    )
    max_requests: int = Field(default=16, ge=1, description="Requests at once; one more is answered 503.")

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        known = self.token_file is not None or (self.tls is not None and self.tls.require_client_certificate)
        if self.host not in LOOPBACK and not known:
            raise ValueError(
                "other machines reach this address: set token_file, or tls with a client certificate, or listen on 127.0.0.1"
            )
        if self.host not in LOOPBACK and self.tls is None:
            raise ValueError("a token would cross the network in clear: set tls, or listen on 127.0.0.1 behind a proxy that does")
        return self
