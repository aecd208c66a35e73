"""What IT can set about the objects that are made."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from dicom_node.results.message_settings import FhirSettings, Hl7Settings


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
    fhir: FhirSettings = FhirSettings()
    hl7: Hl7Settings = Hl7Settings()
