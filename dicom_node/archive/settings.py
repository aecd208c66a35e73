"""What IT can set about an archive that the node may ask."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from dicom_node.core.identifiers import check_ae_title
from dicom_node.network.https_settings import HttpAccess, plain_url
from dicom_node.network.tls_settings import ClientTls


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


AeTitle = Annotated[str, AfterValidator(check_ae_title)]


class ArchiveAccess(HttpAccess):
    """How the node proves to a DICOMweb archive who it is, and knows it. At most one way to get a token."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchiveSettings(BaseModel):
    """An archive that the node may ask how many images a study has, whose it is, and for what did not come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["dimse", "dicomweb"] = Field(description="dimse: C-FIND with C-MOVE or C-GET; dicomweb: QIDO-RS and WADO-RS.")
    calling_ae: Annotated[tuple[AeTitle, ...], BeforeValidator(_listed)] = Field(
        default=(), description="Ask about studies that these senders sent; default: about every study."
    )
    max_queries_per_minute: int = Field(
        default=120,
        ge=1,
        description="Questions a minute at most. A study that has had no turn for a minute starts by its quiet time. Default 120: "
        "a study needs two, and a burst of studies must be no burden.",
    )
    timeout_seconds: float = Field(
        default=10, gt=0, description="Longest wait for the answer to one question, in seconds; then the quiet time alone decides."
    )
    fetch_timeout_seconds: float = Field(
        default=300,
        gt=0,
        description="Longest silence while objects are fetched, in seconds; archives may read them from tape. A series has an hour "
        "in all; what is missing then is asked for again.",
    )
    compare_seconds: float = Field(
        default=3, gt=0, description="Pause between two counts, in seconds; only two equal counts in succession are believed."
    )
    ae_title: AeTitle | None = Field(default=None, description="dimse: AE title of the archive.")
    host: str = Field(default="", description="dimse: address or name of the archive.")
    port: int = Field(default=104, ge=1, le=65535, description="dimse: TCP port of the archive.")
    calling_ae_title: AeTitle = Field(default="AINODE", description="dimse: AE title that this node calls itself.")
    retrieve: Literal["c_move", "c_get"] = Field(
        default="c_move",
        description="dimse: how missing objects are fetched. Default C-MOVE: nearly every archive does it; it must know "
        "move_destination, and the archive must be among reception.peers. c_get needs neither.",
    )
    move_destination: AeTitle = Field(default="AINODE", description="dimse: AE title of this node to which C-MOVE sends.")
    tls: ClientTls | None = Field(default=None, description="dimse: encrypt the association. Default: plain TCP.")

    base_url: str = Field(default="", description="dicomweb: base URL, e.g. https://pacs.hospital.example/dicom-web.")

    access: ArchiveAccess = Field(default=ArchiveAccess(), description="dicomweb: token and certificates.")

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        return plain_url(value, "https://pacs.hospital.example/dicom-web") if value else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "dimse" and (self.ae_title is None or not self.host):
            raise ValueError("an archive of kind dimse needs ae_title, host and port")
        if self.kind == "dicomweb" and not self.base_url:
            raise ValueError("an archive of kind dicomweb needs base_url")
        return self
