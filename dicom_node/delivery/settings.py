"""What IT can set about a destination, whatever its kind."""

from __future__ import annotations

import enum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Refusals(enum.StrEnum):
    """Which coded refusals a destination gets (CLINIC.md 1)."""

    NONE = "none"  # nothing
    SR = "sr"  # as structured report or message, never as an image
    ALL = "all"  # every output that can tell a refusal


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class DestinationSettings(BaseModel):
    """Common part; each kind extends it. ``kind`` is the file name in delivery/destinations/."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(description="File name in delivery/destinations/: dicom_store, fhir_rest, hl7_mllp, folder.")
    outputs: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="What to send, by file name in results/outputs/; a flavour follows a colon: structured_report:ohif_text.",
    )
    refusals: Refusals = Field(default=Refusals.SR, description='Coded "not analysed" answers: none, sr or all.')
    allow_unvalidated: bool = Field(
        default=False, description="Send results of bundles whose evidence is below external; each then prints UNVALIDATED MODEL."
    )
    max_concurrent: int = Field(default=2, ge=1, description="Attempts at once to this destination.")
    timeout_seconds: float = Field(default=30, gt=0, description="Longest wait for the peer's answer.")
    patience_hours: float = Field(default=72, gt=0, description="Temporary failures are tried again for this long, then parked.")
