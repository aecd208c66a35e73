"""The whole configuration: the rooms' settings, composed."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from dicom_node.archive.settings import ArchiveSettings
from dicom_node.config.cross_checks import cross_checks
from dicom_node.config.document import Mistake
from dicom_node.config.fields import destination_model
from dicom_node.config.sentences import did_you_mean, mistakes_of
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.engine.settings import WorkSettings
from dicom_node.feedback.settings import FeedbackSettings, ReaderSettings
from dicom_node.inference.settings import InferenceSettings
from dicom_node.learning.settings import LearningSettings
from dicom_node.orders.settings import GuardSettings, OrdersSettings
from dicom_node.plugins import known_kinds, unknown_kind
from dicom_node.reception.settings import ReceptionSettings
from dicom_node.results.settings import ResultsSettings
from dicom_node.routing.settings import RoutingSettings
from dicom_node.studies.settings import DiskSettings, RetentionSettings, StudiesSettings
from dicom_node.web.settings import WebSettings

_OFFSET = re.compile(r"^([+-]0\d|[+-]1[01]|\+1[23]):?[0-5]\d$|^[+-]12:?00$|^\+14:?00$")
_DATABASES = ("postgresql+psycopg://", "sqlite:///")
_DESTINATION_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")


class SiteSettings(BaseModel):
    """Facts about the hospital."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", description="Name of the site, for pages and metrics.")
    timezone: str = Field(description="Time zone of the site, e.g. Asia/Kolkata or +05:30. Required: result times depend on it.")

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if not _OFFSET.match(value) and value not in zoneinfo.available_timezones():
            text = f'"{value}" is not a time zone; write a name such as Europe/Berlin or an offset such as +05:30.'
            raise ValueError(text + _zone_meant(value))
        return value

    def tzinfo(self) -> dt.tzinfo:
        """Return the zone as Python has it."""
        if _OFFSET.match(self.timezone):
            sign = -1 if self.timezone[0] == "-" else 1
            digits = self.timezone[1:].replace(":", "")
            return dt.timezone(sign * dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
        return zoneinfo.ZoneInfo(self.timezone)


class NodeSettings(BaseModel):
    """node.yaml.

    Validation finds every mistake at once, each in a sentence with its cure (error type ``mistake``). With
    ``context={"thorough": False}`` the outputs and pipelines that are named are not imported.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: SiteSettings = Field(description="Facts about the hospital.")
    database_url: str = Field(
        default="",
        description="Where the node keeps its records. Empty: SQLite in the home folder, which one node needs no more than. "
        "Else postgresql+psycopg://user@host/name; a password can stand in a file named by database_url_file.",
    )
    reception: ReceptionSettings = Field(default=ReceptionSettings(), description="How images come in.")
    studies: StudiesSettings = Field(default=StudiesSettings(), description="When a study is complete.")
    routing: RoutingSettings = Field(default=RoutingSettings(), description="Which studies are analysed, by which pipeline.")
    inference: InferenceSettings = Field(default=InferenceSettings(), description="How pipelines run.")
    work: WorkSettings = Field(default=WorkSettings(), description="How workers share the work, on one machine or several.")
    results: ResultsSettings = Field(default=ResultsSettings(), description="What results look like.")
    archives: dict[str, ArchiveSettings] = Field(
        default_factory=dict, description="Archives that may be asked whether a study is whole, by a name that you choose."
    )
    destinations: dict[str, SerializeAsAny[DestinationSettings]] = Field(
        default_factory=dict, description="Where results go, by a name that rules use."
    )
    orders: OrdersSettings = Field(default=OrdersSettings(), description="What the hospital's messages (HL7 v2) tell the node.")
    guard: GuardSettings = Field(default=GuardSettings(), description="Before results leave: whose study is it now?")
    disk: DiskSettings = Field(default=DiskSettings(), description="When the disk is too full.")
    retention: RetentionSettings = Field(default=RetentionSettings(), description="When received images and records are deleted.")
    readers: tuple[ReaderSettings, ...] = Field(default=(), description="Who answers results. Default: nobody is known.")
    feedback: FeedbackSettings = Field(default=FeedbackSettings(), description="How answers come in, and when they count.")
    learning: LearningSettings = Field(
        default=LearningSettings(), description="How answers become labels, and which cases readers are asked about."
    )
    web: WebSettings = Field(default=WebSettings(), description="The node's own pages.")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(_DATABASES):
            raise ValueError("write postgresql+psycopg://user@host/name, or leave it out for SQLite in the home folder")
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _all_mistakes_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(data, Mapping):
            if isinstance(data, cls):
                return handler(data)
            _raise([Mistake((), "the file must hold settings (name: value), at least site and its timezone.")])
        plain = {str(key): _dumped(value) for key, value in data.items()}
        destinations, mistakes = _read_destinations(plain.get("destinations"))
        mistakes += cross_checks(plain, thorough=bool((info.context or {}).get("thorough", True)))
        settings: Self | None = None
        try:
            settings = handler({**data, "destinations": destinations} if "destinations" in data else data)
        except ValidationError as error:
            mistakes += mistakes_of(error, cls, plain)
        if mistakes or settings is None:
            _raise(mistakes)
        return settings._with_link()

    def _with_link(self) -> Self:
        """Tell results where the pages are, unless that is written: the room of results does not know the pages."""
        if self.results.result_link or not self.web.public_url:
            return self
        return self.model_copy(update={"results": self.results.model_copy(update={"result_link": self.web.public_url})})


def _zone_meant(written: str) -> str:
    """Return `` Did you mean "Europe/Berlin"?`` for a city alone, or a name in other letters; else nothing."""
    known = sorted(zoneinfo.available_timezones())
    word = written.strip().casefold().replace(" ", "_")
    meant = [name for name in known if "/" in name and word in (name.casefold(), name.casefold().rpartition("/")[2])]
    return f' Did you mean "{meant[0]}"?' if meant else did_you_mean(written, known) if "/" in written else ""


def _read_destinations(written: Any) -> tuple[Any, list[Mistake]]:
    """Read each destination with the settings model of its kind; those that cannot be read are mistakes and left out."""
    if not isinstance(written, Mapping):
        return written, []
    read: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for name, raw in written.items():
        loc = ("destinations", str(name))
        if not _DESTINATION_NAME.match(str(name)):
            text = f'"{name}" cannot name a destination; use letters, digits, - and _, at most 32.'
            mistakes.append(Mistake(loc, text, at_key=True))
            continue
        kind = raw.get("kind") if isinstance(raw, Mapping) else None
        if isinstance(kind, str) and kind not in known_kinds("destination"):
            mistakes.append(Mistake((*loc, "kind"), unknown_kind("destination", kind)))
            continue
        model = destination_model(raw) or DestinationSettings
        if isinstance(kind, str) and model is DestinationSettings:
            mistakes.append(
                Mistake((*loc, "kind"), f'"{kind}" is installed but cannot be loaded; install it again with what it needs.')
            )
            continue
        try:
            read[str(name)] = model.model_validate(raw)
        except ValidationError as error:
            root = {"destinations": written}
            mistakes += mistakes_of(error, NodeSettings, root, loc)
    return read, mistakes


def _dumped(value: Any) -> Any:
    """Return settings objects as they would be written."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: _dumped(item) for key, item in value.items()}
    return [_dumped(item) for item in value] if isinstance(value, (list, tuple)) else value


def _raise(mistakes: Iterable[Mistake]) -> NoReturn:
    raise ValidationError.from_exception_data(
        "node.yaml",
        [
            InitErrorDetails(
                type=PydanticCustomError("mistake", "{text}", {"text": one.message, "at_key": one.at_key}), loc=one.loc, input=None
            )
            for one in mistakes
        ],
    )
