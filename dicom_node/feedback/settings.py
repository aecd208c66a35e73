"""What IT can set about answers: who reads, by which ways answers come, when they count."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dicom_node.core.identifiers import check_ae_title

AeTitle = Annotated[str, AfterValidator(check_ae_title)]


class ReaderSettings(BaseModel):
    """A person who answers. Only a radiologist whom a channel can authenticate gives answers that count as labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Name as it stands in assessment reports, e.g. Rao^Asha^^Dr.")
    role: Literal["radiologist", "physician", "trainee", "technologist"] = Field(
        description="What the person is. Only answers of a radiologist are strong."
    )
    experience_years: int | None = Field(
        default=None, ge=0, le=70, description="Years of reading, for the learning log. Default: unknown."
    )
    login: str = Field(default="", description="Name by which the person logs in to the pages. Default: does not.")
    ae_titles: tuple[AeTitle, ...] = Field(
        default=(),
        description="AE titles of workstations that only this person uses: what they send to an answer AE title is theirs.",
    )
    hl7_ids: tuple[str, ...] = Field(
        default=(), description="ID numbers of the person in HL7 messages (XCN-1 of OBX-16 and OBR-32)."
    )
    fhir_references: tuple[str, ...] = Field(default=(), description="References of the person in FHIR, e.g. Practitioner/17.")
    dicom_names: tuple[str, ...] = Field(
        default=(), description="Other spellings of the name as Verifying Observer Name in reports. Default: only name."
    )


class AnswerAeCaller(BaseModel):
    """A system that may send results to the answer AE titles."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ae_title: AeTitle = Field(description="AE title that it calls itself.")
    host: str | None = Field(default=None, description="Address or name it connects from. Left out: any address.")


class AnswerAeSettings(BaseModel):
    """One AE title an answer: sending a result of this node there, from any viewer, is the click."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accept: AeTitle = Field(default="AINODE_ACCEPT", description="AE title that means: the result is right.")
    reject: AeTitle = Field(default="AINODE_REJECT", description="AE title that means: the result is wrong.")
    amend: AeTitle = Field(default="AINODE_AMEND", description="AE title that opens a task on the page, to say what is right.")
    callers: tuple[AnswerAeCaller, ...] = Field(
        default=(), description="Who may send there. Default: nobody, so the AE titles are rejected until somebody is named."
    )
    settle_seconds: float = Field(
        default=5,
        ge=0,
        description="Objects from one sender to one answer AE title within this time are judged together. Default 5 s.",
    )
    two_answers_seconds: float = Field(
        default=60,
        ge=0,
        description="One result sent to two answer AE titles within this time is a machine: no verdict. An answer counts only "
        "after it. Default 60 s.",
    )
    early_seconds: float = Field(
        default=3, ge=0, description="An answer sooner than this after the delivery is a machine. Default 3 s: nobody reads faster."
    )
    most_a_minute: int = Field(default=20, ge=1, description="More answers a minute from one sender are a machine. Default 20.")
    repeat_seconds: float = Field(
        default=600, ge=0, description="The same answer repeated within this time adds nothing. Default 600 s."
    )

    @model_validator(mode="after")
    def _three_titles(self) -> Self:
        if len({self.accept, self.reject, self.amend}) < 3:
            raise ValueError("accept, reject and amend need three different AE titles")
        return self


class AssessmentCode(BaseModel):
    """A code by which a report assesses our result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str = Field(min_length=1, max_length=16, description="Code Value.")
    scheme: str = Field(min_length=1, max_length=16, description="Coding Scheme Designator.")
    means: Literal["accepted", "rejected", "amended"] = Field(description="What it says about the result.")


class FhirAnswersSettings(BaseModel):
    """Answers by FHIR."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hook_token_file: str = Field(
        default="",
        description="File with the bearer tokens, one a line, of servers that may call the hook /fhir-hook. Default: no hook.",
    )
    poll: tuple[str, ...] = Field(
        default=(), description="Names of fhir_rest destinations that are asked for answers. Default: none."
    )
    poll_seconds: float = Field(default=60, ge=1, description="How often they are asked. Default 60 s.")


class FeedbackSettings(BaseModel):
    """How answers come in, and when they count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer_ae: AnswerAeSettings = Field(default=AnswerAeSettings(), description="The answer AE titles.")
    rejecting_titles: tuple[str, ...] = Field(
        default=("113001", "113037"),
        description="Document titles (DCM codes) of a Key Object Selection that, naming nothing but our objects, reject it. "
        "Default: rejected for quality reasons, rejected for patient safety.",
    )
    assessment_codes: tuple[AssessmentCode, ...] = Field(
        default=(), description="Codes that assess a result, beside those the node knows. Default: none."
    )
    fhir: FhirAnswersSettings = Field(default=FhirAnswersSettings(), description="Answers by FHIR.")
    poll_archives: tuple[str, ...] = Field(
        default=(),
        description="Names of archives that are asked for new reports, key objects and presentation states in studies that were "
        "answered by the node; for a PACS that does not forward them. Default: none.",
    )
    poll_seconds: float = Field(
        default=300,
        ge=1,
        description="How often each study is asked about at most; less often as its result grows old and once it was answered. "
        "Default 300 s.",
    )
    poll_days: float = Field(default=7, gt=0, description="For how many days after the result. Default 7.")
