"""What IT can set about when a study is complete."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StudiesSettings(BaseModel):
    """When a study counts as complete: nothing new for a while, and never later than the ceiling."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quiet_seconds: float = Field(
        default=10, gt=0, description="Quiet time for radiographs (CR, DX) and other small studies, in seconds."
    )
    quiet_seconds_ct: float = Field(
        default=60, gt=0, description="Quiet time once the study holds CT, in seconds: series are sent with pauses."
    )
    ceiling_seconds: float = Field(default=900, gt=0, description="A study starts at the latest this long after its first image.")


class DiskSettings(BaseModel):
    """When the disk is too full. Reception refuses while there is still room to finish what was begun."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    warn_free_percent: float = Field(
        default=10,
        ge=0,
        lt=100,
        description="Below this share of free space people are told (log, metrics, page, check) and retention runs at once, in "
        "percent. Default 10.",
    )
    warn_free_gb: float = Field(
        default=20,
        ge=0,
        description="The same in GiB; the larger of the two that is still below a third of the disk counts. Default 20: about two "
        "days of radiographs and a little CT.",
    )
    refuse_free_gb: float = Field(
        default=1,
        ge=0,
        description="Below this many GiB free, C-STORE is answered 0xA700 (out of resources), so that the sender keeps its "
        "object and tries again. Default 1: what is being received, analysed and recorded can still be finished.",
    )


class RetentionSettings(BaseModel):
    """When received images and old records are deleted. Only what is delivered with its proof, and not kept for anything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days_after_delivery: float | None = Field(
        default=None,
        gt=0,
        description="Days that received objects stay after their study's last object and last delivery; the rows, the story and "
        "the results stay longer. Default: for ever; `init` writes 30. A study is kept whatever its age while a delivery "
        "is open, unproven or given up, while it waits for a person or an answer, under legal hold, or if the node "
        "committed to it towards a modality.",
    )
    keep_days_when_disk_is_low: float | None = Field(
        default=None,
        gt=0,
        description="The same while the disk is below its warning mark. Default: as keep_days_after_delivery.",
    )
    keep_results_days: float | None = Field(
        default=None,
        gt=0,
        description="Days that the files of results stay after the same conditions; their rows and story stay. Default: for ever.",
    )
    keep_days_after_answer: float = Field(
        default=30,
        ge=0,
        description="Days that received objects stay after an answer to a result of their study, so that they can be exported for "
        "learning with it. They stay as long as somebody is asked to answer, too. Default 30.",
    )
    keep_records_days: float = Field(
        default=90,
        gt=0,
        description="Days that questions to archives, notes of HL7 messages and ended storage commitments stay. Default 90.",
    )
    keep_refused_days: float = Field(
        default=90, gt=0, description="Days that the list of objects refused at the door stays. Default 90."
    )

    @model_validator(mode="after")
    def _sooner_when_low(self) -> Self:
        usual, low = self.keep_days_after_delivery, self.keep_days_when_disk_is_low
        if usual is not None and low is not None and low > usual:
            raise ValueError("keep_days_when_disk_is_low is more than keep_days_after_delivery: a low disk asks for fewer days")
        return self
