"""What IT can set about when a study is complete."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
