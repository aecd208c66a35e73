"""What IT can set about learning from answers: which cases are put before readers, and by when."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DueHours(BaseModel):
    """Within how many hours each worklist wants its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mandatory_audit: float = Field(default=24, gt=0, description="High-risk cases that were called normal. Default 24 h.")
    gray_zone: float = Field(default=4, gt=0, description="Results that need a person before they are reported. Default 4 h.")
    high_confidence_confusion: float = Field(
        default=168, gt=0, description="A certain result that a person contradicts: failure analysis. Default 168 h: a week."
    )
    low_consensus: float = Field(default=72, gt=0, description="Readers differ: one more is asked. Default 72 h.")
    random_audit: float = Field(default=168, gt=0, description="Cases drawn at random. Default 168 h.")


class WorklistSettings(BaseModel):
    """Which results are put before readers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(
        default=True, description="Fill the worklists. Default true: a list asks, it sends nothing and holds nothing back."
    )
    due_hours: DueHours = Field(default=DueHours(), description="By when each list wants its answer.")
    least_certain_normal: float = Field(
        default=0.60,
        ge=0.5,
        le=1,
        description="A result called normal with less certainty than this is audited. Default 0.60.",
    )
    very_certain: float = Field(
        default=0.95,
        ge=0.5,
        le=1,
        description="A certainty above this that a reader or a reference test contradicts is analysed as a failure. Default 0.95.",
    )
    random_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of all results drawn at random: the only sample that tells how well the model does here. Default 0.05.",
    )
    golden_share: float = Field(
        default=0.02,
        ge=0,
        le=0.5,
        description="Share of a reader's cases whose answer is known, hidden among the random ones. Default 0.02; "
        "none before golden cases are named (dicom-node learning golden add).",
    )
    look_back_days: float = Field(
        default=14,
        gt=0,
        description="How old a result may be that is still put on a list, after a standstill too. Default 14 days.",
    )


class LearningSettings(BaseModel):
    """How answers become labels, and which cases are asked about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    worklists: WorklistSettings = Field(default=WorklistSettings(), description="Which results are put before readers.")
    strategy: Literal["random", "uncertainty", "coreset", "badge", "hybrid"] = Field(
        default="hybrid",
        description="How dicom-node learning next chooses among unanswered results. Default hybrid: uncertainty, nearness to the "
        "threshold, disagreement, novelty and rare groups together.",
    )
    random_part: float = Field(
        default=0.10, ge=0, le=1, description="Share of each such batch drawn at random, whatever the strategy. Default 0.10."
    )
