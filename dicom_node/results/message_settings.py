"""What IT can set about the FHIR report and the HL7 message."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FhirSettings(BaseModel):
    """How the FHIR report names the patient and the order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patient: Literal["reference", "create"] = Field(
        default="reference",
        description="reference: name the patient by identifier only. create: also create a Patient where none has it.",
    )
    patient_system: str = Field(
        default="", description="URI of the site's patient identifiers, e.g. urn:oid:1.2.3. Needed for create."
    )
    accession_system: str = Field(
        default="", description="URI of the site's accession numbers; empty: the number without a system."
    )
    risk_assessment: bool = Field(
        default=True,
        description="Also write a RiskAssessment where a result is the likelihood of a disease. false: for servers that take none.",
    )

    @model_validator(mode="after")
    def _system_for_create(self) -> FhirSettings:
        if self.patient == "create" and not self.patient_system:
            raise ValueError("patient: create needs patient_system, else two hospitals' numbers would meet in one Patient")
        return self


class Hl7Settings(BaseModel):
    """How the HL7 v2.5.1 message addresses itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sending_application: str = Field(default="AINODE", max_length=20, description="MSH-3.")
    sending_facility: str = Field(default="", max_length=20, description="MSH-4.")
    receiving_application: str = Field(default="", max_length=20, description="MSH-5.")
    receiving_facility: str = Field(default="", max_length=20, description="MSH-6.")
    processing_id: Literal["P", "T", "D"] = Field(default="P", description="MSH-11: P production, T training, D debugging.")
    patient_id_authority: str = Field(default="", description="PID-3.4 where the image names no issuer of the Patient ID.")
    patient_id_type: str = Field(default="MR", description="PID-3.5.")
    accession_field: Literal["none", "OBR-18"] = Field(
        default="none", description="Where the order's accession number appears. Default none: the message then touches no order."
    )
