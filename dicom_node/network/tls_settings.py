"""What IT sets about TLS, wherever this node listens or calls."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class TlsProfile(enum.StrEnum):
    """Which versions and cipher suites are negotiated."""

    BCP195 = "bcp195"  # TLS 1.2 and 1.3 (PS3.15, B.12)
    BCP195_TLS13 = "bcp195_tls13"  # TLS 1.3 only: stricter than the standard, which wants 1.2 offered too


def _whole_path(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError(f'"{value}" is not a whole path; write it from / on, since commands may be called from any folder')
    return value


CertificatePath = Annotated[Path, AfterValidator(_whole_path)]


class ServerTls(BaseModel):
    """TLS where this node listens. Files are PEM; new ones are used by the next connection, without a restart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: CertificatePath = Field(description="PEM file: this node's certificate, then those between it and its authority.")
    private_key: CertificatePath = Field(description="PEM file: its private key, without passphrase, readable by the node only.")
    client_ca: CertificatePath | None = Field(
        default=None, description="PEM file: the authorities whose certificates callers may show. Required to ask for one."
    )
    require_client_certificate: bool = Field(
        default=True, description="Refuse callers without a certificate. Default true: AE titles and addresses prove nothing."
    )
    profile: TlsProfile = Field(
        default=TlsProfile.BCP195, description="bcp195: TLS 1.2 and 1.3 (PS3.15, B.12); bcp195_tls13: 1.3 only, where all can."
    )

    @model_validator(mode="after")
    def _asks_for_what_it_can_judge(self) -> Self:
        if self.require_client_certificate and self.client_ca is None:
            raise ValueError(
                "name client_ca, the authority of the callers' certificates, or write require_client_certificate: false"
            )
        return self


class _CallingTls(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: CertificatePath | None = Field(
        default=None, description="PEM file: the certificate that this node shows to a peer that asks for one."
    )
    private_key: CertificatePath | None = Field(
        default=None, description="PEM file: its private key, without passphrase, readable by the node only."
    )
    profile: TlsProfile = Field(
        default=TlsProfile.BCP195, description="bcp195: TLS 1.2 and 1.3 (PS3.15, B.12); bcp195_tls13: 1.3 only, where all can."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together: name both, or neither")
        return self


class ClientTls(_CallingTls):
    """TLS to a DICOM or HL7 peer. Files are PEM; new ones are used by the next connection, without a restart."""

    ca: CertificatePath = Field(description="PEM file: the authority of the peer's certificate, or that very certificate.")
    server_name: str | None = Field(
        default=None,
        min_length=1,
        description="Name that the peer's certificate must bear. Left out: any certificate of ca will do, since devices seldom "
        "have certificates with the name they are called by.",
    )


class HttpsTls(_CallingTls):
    """TLS to an HTTPS server; its certificate must bear the name in the URL. Files are PEM and followed without a restart."""

    ca: CertificatePath | None = Field(
        default=None, description="PEM file: the authority of the server's certificate. Left out: those that this machine trusts."
    )


AnyTls = ServerTls | ClientTls | HttpsTls


def files_of(settings: AnyTls) -> dict[str, Path]:
    """Return the files that the settings name, by the name of the setting."""
    named = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {name: value for name, value in named.items() if isinstance(value, Path)}
