"""What IT can set about inference."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class InferenceSettings(BaseModel):
    """How pipelines run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_seconds: float = Field(default=300, gt=0, description="A run that takes longer is stopped and counts as failed.")
    concurrency: int = Field(
        default=1, ge=1, description="Runs at once. Default 1: one network at a time per GPU or pair of cores."
    )
    threads: int = Field(default=1, ge=1, description="CPU threads of one network. Default 1: steadiest on a shared machine.")
    device: str = Field(
        default="auto", pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda. cuda never falls back silently."
    )
    allow_synthetic: bool = Field(default=False, description="Run bundles that were trained on synthetic images.")
    pipelines: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Settings of a pipeline, by its name.")
