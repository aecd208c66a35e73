"""What IT can set about a destination, whatever its kind."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Refusals(enum.StrEnum):
    """Which coded refusals a destination gets."""

    NONE = "none"  # nothing
    SR = "sr"  # as structured report or message, never as an image
    ALL = "all"  # every output that can tell a refusal


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class DestinationSettings(BaseModel):
    """Common part; each kind extends it. ``kind`` is the file name in delivery/destinations/."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(description="File name in delivery/destinations/: dicom_store, dicomweb_stow, fhir_rest, hl7_mllp, folder.")
    outputs: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="What to send, by file name in results/outputs/; a flavour follows a colon: structured_report:ohif_text.",
    )
    refusals: Refusals = Field(default=Refusals.SR, description='Coded "not analysed" answers: none, sr or all.')
    allow_unvalidated: bool = Field(
        default=False, description="Send results of bundles whose evidence is below external; each then prints UNVALIDATED MODEL."
    )
    assessments: bool = Field(
        default=True,
        description="Send what people answered about a result after it: an assessment SR beside the SR, a new version of the FHIR "
        "report, the HL7 message again. Only where the result went. Default true: else the record would not show that a person "
        "disagreed.",
    )
    max_concurrent: int = Field(default=2, ge=1, description="Attempts at once to this destination.")
    timeout_seconds: float = Field(
        default=30,
        gt=0,
        description="Longest wait, in seconds, for the connection, for the peer's answer, and while nothing moves; an object has "
        "ten minutes to leave, the whole answer of an HTTP server three times this to come. Then it is tried again later.",
    )
    patience_hours: float = Field(
        default=72,
        gt=0,
        description="Temporary failures are tried again for this long, then parked; what takes a result back is never given up.",
    )


class ArchivingSettings(DestinationSettings):
    """Destinations that can be asked whether they keep what they took. ``delivered`` is shown only with the proof named here."""

    hide_rejected: bool = Field(
        default=False,
        description="When a radiologist has rejected a whole result, send a Key Object Selection that asks the archive to hide its "
        "objects. Default false: some archives delete what it names, and nothing can ask them to show it again.",
    )
    hide_title: Literal["113001", "113037", "113038"] = Field(
        default="113001",
        description="Title of that note: 113001 quality reasons, 113037 patient safety reasons, 113038 incorrect worklist entry. "
        "Default 113001, which archives hide most often without deleting.",
    )

    proof: Literal["answer", "query", "commitment"] = Field(
        default="answer",
        description="What makes a result count as delivered: answer = the peer's success status; query = found in the archive "
        "afterwards; commitment = the archive takes responsibility for it (storage commitment). Default answer: every PACS "
        "gives one. `check` says where the PACS offers more.",
    )
    archive: str | None = Field(
        default=None,
        description="Name under archives that is asked for the objects: needed for proof: query, and the second choice where "
        "commitment cannot be had.",
    )
    proof_after_seconds: float = Field(
        default=5,
        ge=0,
        description="Seconds between sending and asking for the proof; doubled each time the archive does not show the object. "
        "Default 5: an archive writes its index a little later, and the objects of a study are asked for together.",
    )
    proof_tries: int = Field(
        default=5,
        ge=1,
        description="How often the proof is asked for. An object that the archive does not keep is sent again that often, then "
        "parked. An archive that only stays silent is asked on, once a day. Default 5.",
    )
    proof_otherwise: Literal["unproven", "answer"] = Field(
        default="unproven",
        description='When the peer can give no such proof at all: unproven = the delivery stays "sent, not proven" and nothing '
        "of the study is deleted; answer = its success status counts. Default unproven: nothing is called delivered that is not.",
    )
