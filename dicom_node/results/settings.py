"""What IT can set about the objects that are made."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dicom_node.results.message_settings import FhirSettings, Hl7Settings


class AssessmentSettings(BaseModel):
    """What the assessment of a result tells of the person who answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader_names: bool = Field(
        default=False,
        description="Name the radiologist, as readers has the name, where the answer was authenticated. Default false: who "
        "answered stands in the node's log.",
    )
    comments: bool = Field(
        default=False, description="Repeat comments. Default false: they are written for the node, and may name a patient."
    )


class ResultsSettings(BaseModel):
    """Identity of the node in what it makes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    manufacturer: str = Field(default="dicom-node", max_length=64, description="Manufacturer written into every object.")
    device_serial_number: str = Field(default="1", max_length=64, description="Serial number of this installation.")
    series_number_base: int = Field(
        default=9000, ge=1, description="Series numbers start after this: 9001 and up never hang first."
    )
    institution_name: str = Field(
        default="", max_length=64, description="Written where the source names no institution; empty: left out."
    )
    withdrawal_title: Literal["113001", "113037", "113038"] = Field(
        default="113001",
        description="Title of the rejection note that takes back a result from a PACS: 113001 quality reasons, 113037 patient "
        "safety reasons, 113038 incorrect worklist entry. Default 113001: archives hide what it names, and some delete what the "
        "others name. It names objects of this node only.",
    )
    assessment: AssessmentSettings = Field(
        default=AssessmentSettings(), description="What goes back about an answer, where a destination takes it."
    )
    result_link: str = Field(
        default="",
        description="Address of the node's pages, written into reports and messages with the result's name, so that a person can "
        "look and answer; it holds no token and leads to the login. Default: web.public_url.",
    )
    fhir: FhirSettings = FhirSettings()
    hl7: Hl7Settings = Hl7Settings()
