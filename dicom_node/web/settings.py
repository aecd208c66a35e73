"""What IT can set about the web pages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class WebSettings(BaseModel):
    """The node's own pages. They have no login yet, so they listen on this machine only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Loopback address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="TCP port.")

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, value: str) -> str:
        if value not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(
                f'"{value}" is not a loopback address; the pages have no login, so they listen on 127.0.0.1, ::1 or localhost'
            )
        return value
