"""The whole configuration: the rooms' settings, composed."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from dicom_node.delivery.settings import DestinationSettings
from dicom_node.inference.settings import InferenceSettings
from dicom_node.plugins import load_kind, unknown_kind
from dicom_node.reception.settings import ReceptionSettings
from dicom_node.results.settings import ResultsSettings
from dicom_node.routing.settings import RoutingSettings
from dicom_node.studies.settings import StudiesSettings
from dicom_node.web.settings import WebSettings

_OFFSET = re.compile(r"^[+-](0\d|1[0-4]):?[0-5]\d$")


class SiteSettings(BaseModel):
    """Facts about the hospital."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", description="Name of the site, for pages and metrics.")
    timezone: str = Field(description="Time zone of the site, e.g. Asia/Kolkata or +05:30. Required: result times depend on it.")

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if not _OFFSET.match(value) and value not in zoneinfo.available_timezones():
            raise ValueError(f'"{value}" is not a time zone; write a name such as Europe/Berlin or an offset such as +05:30')
        return value

    def tzinfo(self) -> dt.tzinfo:
        """Return the zone as Python has it."""
        if _OFFSET.match(self.timezone):
            sign = -1 if self.timezone[0] == "-" else 1
            digits = self.timezone[1:].replace(":", "")
            return dt.timezone(sign * dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
        return zoneinfo.ZoneInfo(self.timezone)


class NodeSettings(BaseModel):
    """node.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: SiteSettings
    database_url: str = Field(default="", description="Empty: SQLite in the home folder. Else postgresql+psycopg://user@host/name.")
    reception: ReceptionSettings = ReceptionSettings()
    studies: StudiesSettings = StudiesSettings()
    routing: RoutingSettings = RoutingSettings()
    inference: InferenceSettings = InferenceSettings()
    results: ResultsSettings = ResultsSettings()
    destinations: dict[str, SerializeAsAny[DestinationSettings]] = Field(default_factory=dict, description="Where results go, by name.")
    web: WebSettings = WebSettings()

    @field_validator("destinations", mode="before")
    @classmethod
    def _by_kind(cls, value: Any) -> Any:
        """Read each destination with the settings model of its kind."""
        return value

    @model_validator(mode="after")
    def _names_exist(self) -> NodeSettings:
        """Rules name pipelines, outputs and destinations that exist."""
        return self


__all__ = ["NodeSettings", "SiteSettings", "load_kind", "unknown_kind"]
