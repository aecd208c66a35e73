"""What IT can set about routing: rules as data."""

from __future__ import annotations

import enum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from dicom_node.core.run import AfterReport, Priority, Release


def _listed(value: Any) -> Any:
    """Let a single value stand for a list of one."""
    return value if isinstance(value, (list, tuple)) or value is None else [value]


def _priority(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return Priority[value.upper()]
        except KeyError:
            raise ValueError(f'"{value}" is not a priority; write stat, urgent or routine') from None
    return value


def _no_blanks(value: tuple[str, ...]) -> tuple[str, ...]:
    if any(not item.strip() for item in value):
        raise ValueError("an empty text stands here; write a value, or leave the setting out")
    return value


def _priority_word(value: Priority) -> str:
    return value.name.lower()


Values = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_no_blanks)]
RulePriority = Annotated[
    Priority,
    BeforeValidator(_priority),
    PlainSerializer(_priority_word, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "enum": [p.name.lower() for p in Priority]}),
]


class Conditions(BaseModel):
    """When a rule applies. Every named condition must hold; each is true, false or unknown (tag absent or empty).

    Texts match without regard to case; ``*`` and ``?`` are wildcards in descriptions, stations and AE titles.
    An unknown condition does not rule the study out: the pixel gates of the pipeline decide.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: Values = Field(default=(), description="Modality, e.g. CR, DX.")
    body_part: Values = Field(default=(), description="Body Part Examined or Anatomic Region Sequence, e.g. CHEST.")
    view: Values = Field(default=(), description="View Position or View Code Sequence: PA, AP, LL, RL.")
    calling_ae: Values = Field(default=(), description="AE title of the sender.")
    called_ae: Values = Field(default=(), description="AE title that was called.")
    station: Values = Field(default=(), description="Station Name.")
    manufacturer: Values = Field(default=(), description="Manufacturer.")
    study_description: Values = Field(default=(), description="Study Description.")
    series_description: Values = Field(default=(), description="Series Description.")
    patient_id: Values = Field(default=(), description="Patient ID, for phantoms: e.g. QA*, PHANTOM*.")
    patient_name: Values = Field(default=(), description="Patient's Name, for phantoms.")
    min_age_years: float | None = Field(default=None, ge=0, description="Youngest age, in years.")
    max_age_years: float | None = Field(default=None, ge=0, description="Oldest age, in years.")

    @property
    def named(self) -> tuple[str, ...]:
        """The conditions that are set."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) not in ((), None))

    @model_validator(mode="after")
    def _ages_in_order(self) -> Conditions:
        if self.min_age_years is not None and self.max_age_years is not None and self.min_age_years > self.max_age_years:
            raise ValueError("min_age_years is above max_age_years, so nobody fits; exchange them")
        return self


class Incomplete(enum.StrEnum):
    """What becomes of a study of which the archive lists more than came, and could not be fetched."""

    ANALYSE = "analyse"  # started, and every result says that it was incomplete
    HOLD = "hold"  # kept until more arrives or a person releases it
    ALERT = "alert"  # as analyse, and an alert in log and metrics


class Rule(BaseModel):
    """Which studies go to which pipeline, and where the results go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Name of the rule, shown in every story.")
    when: Conditions = Field(default=Conditions(), description="Conditions; none means every study.")
    pipeline: str = Field(description="Pipeline, by its file name in pipelines/.")
    policy: str = Field(default="screening", description="Operating point of the bundle, by name.")
    bundles: dict[str, str] = Field(default_factory=dict, description="Bundle name -> version to run; default: the highest found.")
    release: Release = Field(default=Release.SILENT, description="When results leave the node: silent, after_answer or at_once.")
    priority: RulePriority = Field(default=Priority.ROUTINE, description="stat, urgent or routine: order in every queue.")
    outputs: Values = Field(default=(), description="Narrows what destinations take; default: whatever each takes.")
    destinations: Values = Field(default=(), description="Names of destinations.")
    max_study_age_hours: float = Field(
        default=48, gt=0, le=1_000_000, description="Older studies (prefetched priors, migrations) are held and nothing is sent."
    )
    quiet_seconds: float | None = Field(
        default=None, gt=0, description="Quiet time for studies that could match this rule, in seconds; default: as under studies."
    )
    incomplete: Incomplete = Field(
        default=Incomplete.ANALYSE,
        description="What to do when an archive lists images that did not come and cannot be fetched: analyse (default: a late "
        "answer helps nobody; the result says that it is incomplete), hold, or alert (as analyse, with an alert). Never discarded.",
    )
    after_report: AfterReport = Field(
        default=AfterReport.HOLD,
        description="When a final report for the accession number is known (HL7 ORU): hold (default: nothing is sent, the result "
        "stands under `studies --discrepancies`), or quiet (stored in the archive, no message and no flag).",
    )
    max_flag_age_hours: float = Field(
        default=24,
        gt=0,
        le=1_000_000,
        description="Results of older studies are sent without a flag (OBX-8, key objects), in hours. Default 24: what is worked "
        "off after an outage is no news.",
    )
    max_flags_per_hour: int = Field(
        default=30,
        ge=0,
        description="Flags an hour of this rule; results above it are sent without. Default 30: one in two minutes.",
    )
    wait_for_labs_minutes: float = Field(
        default=0,
        ge=0,
        le=1440,
        description="How long a run waits for laboratory values that its pipeline takes and nobody has told yet, in minutes; then "
        "it goes on without and says so. Values that come, or a person on the study's page, end it at once. Default 0: never.",
    )
    accept_age_unknown: bool = Field(default=False, description="Analyse although the patient's age is unknown.")
    accept_ap: bool = Field(
        default=False, description="Read AP views; needs an operating point valid for AP, else every result is for review."
    )


class HoldRule(BaseModel):
    """Studies to receive and keep, but never to analyse: phantoms, quality control."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Name of the hold rule, shown in every story.")
    when: Conditions = Field(description="Conditions; at least one must be named, and only true ones hold.")

    @field_validator("when")
    @classmethod
    def _names_a_condition(cls, value: Conditions) -> Conditions:
        if not value.named:
            raise ValueError(
                "a hold rule without a condition would hold every study; name at least one, e.g. patient_id: [PHANTOM*]"
            )
        return value


class RoutingSettings(BaseModel):
    """All rules. Every matching rule runs, one run per pipeline: the first match of a pipeline wins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hold: tuple[HoldRule, ...] = Field(default=(), description="Studies never to analyse.")
    rules: tuple[Rule, ...] = Field(default=(), description="Rules, in order.")
