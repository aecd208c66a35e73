"""What IT can set about reception."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dicom_node.core.identifiers import check_ae_title, is_uid


def _uid(value: str) -> str:
    if not is_uid(value):
        raise ValueError(f'"{value}" is not a UID (PS3.5, 9.1)')
    return value


AeTitle = Annotated[str, AfterValidator(check_ae_title)]
SopClassUid = Annotated[str, AfterValidator(_uid)]


class PeerSettings(BaseModel):
    """A system that may send to this node. Who is not listed is rejected: "calling AE title not recognized"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ae_title: AeTitle = Field(description="AE title that the sender calls itself.")
    host: str | None = Field(
        default=None, description="Address or name the sender connects from. Left out: any address, which IT should avoid."
    )


class ReceptionSettings(BaseModel):
    """How images come in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default="0.0.0.0", description="Address to listen on. Default: all interfaces, since the PACS is another machine."
    )
    port: int = Field(
        default=11112, ge=0, le=65535, description="TCP port. Default 11112: registered for DICOM and usable without root."
    )
    ae_titles: tuple[AeTitle, ...] = Field(default=("AINODE",), min_length=1, description="AE titles this node answers to.")
    peers: tuple[PeerSettings, ...] = Field(default=(), description="Who may send. Default: nobody.")
    extra_sop_classes: tuple[SopClassUid, ...] = Field(
        default=(), description="Storage SOP classes to accept beside the usual ones."
    )
    max_associations: int = Field(
        default=64, ge=1, description="Associations open at once; one more is rejected as a temporary local limit."
    )
    max_pdu_bytes: int = Field(
        default=131072, ge=4096, description="Largest PDU we ask for. Default 128 KiB: fewer pieces for large images."
    )
    network_timeout_seconds: float = Field(default=60, gt=0, description="A silent association is aborted after this time.")
    dimse_timeout_seconds: float = Field(default=60, gt=0, description="Longest wait for the rest of a message.")
