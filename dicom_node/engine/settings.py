"""What IT can set about the processes that work."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class WorkSettings(BaseModel):
    """How a worker works, on one machine or on several that share a PostgreSQL database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queues: tuple[Literal["runs", "deliveries"], ...] = Field(
        default=("runs", "deliveries"),
        min_length=1,
        description="Queues that this machine takes work from. Default: both. A machine with a GPU may take runs alone.",
    )
    lease_beat_seconds: float = Field(
        default=10, gt=0, description="How often a worker says that it lives, in seconds. PostgreSQL only. Default 10."
    )
    lease_dead_seconds: float = Field(
        default=60,
        gt=0,
        description="Silence, in seconds, after which others take over a worker's runs and deliveries. Default 60: longer than a "
        "restart of the database, shorter than a coffee.",
    )

    @model_validator(mode="after")
    def _beats_before_death(self) -> Self:
        if self.lease_dead_seconds < 3 * self.lease_beat_seconds:
            raise ValueError("lease_dead_seconds must be three times lease_beat_seconds or more: one late beat is no death")
        return self
