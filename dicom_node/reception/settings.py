"""What IT can set about reception."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dicom_node.core.identifiers import check_ae_title, is_uid
from dicom_node.network.tls_settings import ClientTls, ServerTls
from dicom_node.reception.stow_settings import StowSettings


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
    certificate_name: str | None = Field(
        default=None,
        min_length=1,
        description="Name (CN, DNS name or address) that the sender's TLS certificate must bear; then this AE title is accepted "
        "by TLS only. Left out: any certificate of reception.tls.client_ca will do, and plain TCP where it is open.",
    )
    commitment: Literal["no", "new_association", "same_association"] = Field(
        default="no",
        description="May this system ask the node for storage commitment, and where does the report go? no = it is refused. "
        "Default no: who is promised may delete its own copy, so the node then keeps such studies for ever. new_association needs "
        "host and commitment_port.",
    )
    commitment_port: int | None = Field(
        default=None, ge=1, le=65535, description="TCP port at host on which this system takes reports of storage commitment."
    )
    commitment_tls: ClientTls | None = Field(default=None, description="Encrypt that association. Default: plain TCP.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.commitment == "new_association" and (self.host is None or self.commitment_port is None):
            raise ValueError("commitment: new_association needs host and commitment_port, where the report goes")
        return self


class ReceptionTls(ServerTls):
    """DICOM over TLS, on a port of its own. Files are PEM; new ones are used by the next association, without a restart."""

    port: int = Field(default=2762, ge=0, le=65535, description="TCP port. Default 2762: registered for DICOM over TLS.")


class ReceptionSettings(BaseModel):
    """How images come in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default="0.0.0.0", description="Address to listen on. Default: all interfaces, since the PACS is another machine."
    )
    port: int = Field(
        default=11112, ge=0, le=65535, description="TCP port. Default 11112: registered for DICOM and usable without root."
    )
    plaintext: bool = Field(
        default=True,
        description="Listen on port, without TLS. false: only reception.tls is open. Default true: few senders do TLS.",
    )
    tls: ReceptionTls | None = Field(default=None, description="Listen for DICOM over TLS too. Default: plain TCP only.")
    stow: StowSettings | None = Field(default=None, description="Take objects by STOW-RS too. Default: DICOM only.")
    ae_titles: tuple[AeTitle, ...] = Field(default=("AINODE",), min_length=1, description="AE titles this node answers to.")
    peers: tuple[PeerSettings, ...] = Field(default=(), description="Who may send. Default: nobody.")
    extra_sop_classes: tuple[SopClassUid, ...] = Field(
        default=(), description="Storage SOP classes to accept beside the usual ones."
    )
    path: Literal["fast", "plain"] = Field(
        default="fast",
        description=(
            "fast: this node reads the objects itself; plain: the DICOM library does, several times slower, with the whole "
            "object in memory, and it answers only the first of two messages that share a PDU. Otherwise both do the same; plain "
            "is for finding out whether a peer's trouble lies with the fast path."
        ),
    )
    max_associations: int = Field(
        default=64, ge=1, description="Associations open at once; one more is rejected as a temporary local limit."
    )
    max_associations_per_peer: int = Field(
        default=32,
        ge=1,
        description="Associations open at once from one calling AE title. Default 32: half, so that nobody shuts out all others.",
    )
    max_pdu_bytes: int = Field(
        default=131072, ge=4096, description="Largest PDU we ask for. Default 128 KiB: fewer pieces for large images."
    )
    max_object_bytes: int = Field(
        default=4 * 1024**3,
        ge=1024**2,
        description="A larger object is read to its end and refused with 0xC000. Default 4 GiB: beyond every CT, MR or radiograph.",
    )
    network_timeout_seconds: float = Field(
        default=60,
        gt=0,
        description="Longest wait, in seconds, for a request after a connection (at most 30) and for TLS to begin.",
    )
    dimse_timeout_seconds: float = Field(
        default=60,
        gt=0,
        description="A message that was begun must go on within these seconds, by 128 bytes a second; else the node aborts.",
    )
    idle_seconds: float = Field(
        default=300,
        gt=0,
        description="After so many seconds without a message an association is aborted. Default 300: senders pause.",
    )
    diary_days: float = Field(default=90, gt=0, description="How long the diary of associations is kept.")

    @model_validator(mode="after")
    def _peer_within_all(self) -> Self:
        if self.max_associations_per_peer > self.max_associations and "max_associations_per_peer" in self.model_fields_set:
            raise ValueError("max_associations_per_peer is more than max_associations: nobody could ever open so many")
        return self

    @model_validator(mode="after")
    def _some_way_in(self) -> Self:
        if not self.plaintext and self.tls is None:
            raise ValueError("plaintext is false and tls is not set: nothing could come in; set reception.tls")
        return self
