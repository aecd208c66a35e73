"""What IT can set about the hospital's messages, and about the guard against the wrong patient."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from dicom_node.network.tls import ServerTls
from dicom_node.orders.character_sets import is_known

_FIELD = re.compile(r"^[A-Z][A-Z0-9]{2}-[1-9]\d{0,2}$")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value.strip()))
    except ValueError:
        raise ValueError(f'"{value}" is not an address or a network; write e.g. 10.1.2.3 or 10.1.2.0/24') from None


def _character_set(value: str) -> str:
    if value and not is_known(value):
        raise ValueError(f'"{value}" is not a character set of HL7 table 0211; write e.g. 8859/1 or UNICODE UTF-8')
    return value


def _field(value: str) -> str:
    if not _FIELD.match(value):
        raise ValueError(f'"{value}" is not a field; write e.g. OBR-18')
    return value


class ListenerSettings(BaseModel):
    """The MLLP port where RIS, laboratory and interface engine send messages: ADT, ORM, OMI, ORU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="0.0.0.0", description="Address to listen on. Default: all interfaces, since the RIS is elsewhere.")
    port: int = Field(default=2575, ge=0, le=65535, description="TCP port. Default 2575: registered for HL7.")
    peers: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_listed)] = Field(
        min_length=1,
        description="Addresses or networks (10.1.2.0/24) that may connect. Required: whoever may send can merge patients.",
    )
    tls: ServerTls | None = Field(
        default=None, description="Encrypt the connections. Default: plain TCP, for a closed network only."
    )
    character_set: Annotated[str, AfterValidator(_character_set)] = Field(
        default="",
        description="Character set of messages without MSH-18, e.g. 8859/1. Default: ASCII or UTF-8, others are refused.",
    )
    max_connections: int = Field(default=32, ge=1, description="Connections open at once; one more is closed at once.")
    max_message_bytes: int = Field(
        default=1_048_576, ge=4096, description="Longest message, in bytes. Default 1 MiB: orders and results have no pictures."
    )
    idle_seconds: float = Field(
        default=900, gt=0, description="A connection on which nothing comes is closed after this time, in seconds."
    )
    frame_seconds: float = Field(default=30, gt=0, description="A message that has begun must end within this time, in seconds.")


class FhirLaboratorySettings(BaseModel):
    """Laboratory results as FHIR R4 Observations: pushed to the hook (``feedback.fhir.hook_token_file``), or asked for by runs that
    wait for them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    patient_systems: dict[str, str] = Field(
        min_length=1,
        description="URI of an identifier system -> Issuer of Patient ID that images name beside the same numbers; empty: they "
        "name none. Required: numbers of other systems are other people's.",
    )
    ask: tuple[str, ...] = Field(
        default=(),
        description="Names of fhir_rest destinations that are asked while a run waits (wait_for_labs_minutes); one alone is also "
        "asked whose an Observation is that was pushed with a reference.",
    )
    ask_seconds: float = Field(default=60, ge=1, description="How often they are asked while a run waits. Default 60 s.")


class OrdersSettings(BaseModel):
    """What the node takes from the hospital's messages. Without a listener it takes none, unless a laboratory speaks FHIR."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listener: ListenerSettings | None = Field(default=None, description="The MLLP port. Default: none.")
    fhir: FhirLaboratorySettings | None = Field(
        default=None, description="Laboratory results by FHIR. Default: no Observation of a laboratory is kept."
    )
    patient_id_authority: str = Field(
        default="",
        description="Assigning authority (PID-3.4) of the numbers that images carry as Patient ID. Default: every number of type "
        "MR, PI, PT or without a type; set it where several authorities give numbers.",
    )
    accession_fields: Annotated[tuple[Annotated[str, AfterValidator(_field)], ...], BeforeValidator(_listed)] = Field(
        default=("OBR-18", "IPC-1"),
        min_length=1,
        description="Where messages carry the images' Accession Number; the first that is filled counts. IHE uses OBR-18 and "
        "IPC-1; some RIS use OBR-3 or ORC-3.",
    )


class GuardSettings(BaseModel):
    """Before analysis, and before a result is sent, the archives are asked whose study it is now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ask_archive: bool = Field(
        default=True, description="Compare Patient ID and accession number with the archives (if any). false: merges by HL7 only."
    )
    unreachable: Literal["wait", "proceed"] = Field(
        default="wait",
        description="When an archive cannot be asked: wait: analyse, but send nothing before it answers; proceed: send, and "
        "tell so. Default wait: late is better than addressed to another patient.",
    )
    cache_seconds: float = Field(
        default=30,
        ge=0,
        description="An archive's answer about a study holds for this long, in seconds, so that five deliveries ask once.",
    )
