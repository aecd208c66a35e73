"""The settings reference, made from the models: ``python -m dicom_node.config.reference > docs/reference/settings.md``."""

from __future__ import annotations

import enum
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import PurePath
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dicom_node.config.model import NodeSettings
from dicom_node.core.run import Priority
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.plugins import known_kinds, load_kind

_INTRODUCTION = """\
# Settings

Everything that can stand in `HOME/node.yaml`. This page is made from the settings models by
`python -m dicom_node.config.reference`; do not edit it by hand. `dicom-node init` writes a commented file to start from,
`dicom-node check` tries it, `dicom-node schema` prints the JSON Schema for editors.

- An unknown setting, a duplicate name or a value that does not fit is an error; all errors are shown at once, each with line,
  column and cure.
- A single value may stand for a list of one wherever the type says "list" in rules and outputs.
- Environment variables override the file: `DICOM_NODE__RECEPTION__PORT=104` sets `reception.port`, with `__` between names.
- `${NAME}` inside a value is replaced by the environment variable `NAME`. For `database_url` and every setting of a
  destination, `<setting>_file: PATH` takes the value from a file.
"""

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any", PurePath: "path"}


def settings_reference() -> str:
    """Return the page as Markdown."""
    return "\n".join([_INTRODUCTION, *_sections(NodeSettings, ""), *_destinations(), *_pipelines()]).rstrip() + "\n"


def _sections(model: type[BaseModel], path: str, remark: str = "") -> Iterator[str]:
    """Yield a table of the plain settings, then a section for each group of settings below. ``remark`` ends the heading."""
    plain = {name: i for name, i in model.model_fields.items() if _group(i.annotation) is None or _optional(i.annotation)}
    if path:
        yield f"## `{path}`{remark}\n"
        yield _paragraph(model)
    if plain:
        yield from _table(plain, path)
    for name, info in model.model_fields.items():
        group = _group(info.annotation)
        if group is not None and name != "destinations":
            below, suffix = group
            yield from _sections(below, (f"{path}." if path else "") + name + suffix)


def _destinations() -> Iterator[str]:
    yield "## `destinations.NAME`\n"
    yield "Where results go. `NAME` is free (letters, digits, `-`, `_`); rules use it. What every kind has:\n"
    yield from _table(DestinationSettings.model_fields, "destinations.NAME")
    for kind in known_kinds("destination"):
        model: type[BaseModel] = load_kind("destination", kind).Settings
        yield f"## `destinations.NAME` with `kind: {kind}`\n"
        yield _paragraph(model)
        own = {k: v for k, v in model.model_fields.items() if k not in DestinationSettings.model_fields}
        yield from _table(own, "destinations.NAME")
        for name, info in own.items():
            group = _group(info.annotation)
            if group is not None:
                yield from _sections(group[0], f"destinations.NAME.{name}{group[1]}", f" with `kind: {kind}`")


def _pipelines() -> Iterator[str]:
    for name in known_kinds("pipeline"):
        model: type[BaseModel] = load_kind("pipeline", name).Settings
        yield from _sections(model, f"inference.pipelines.{name}")


def _table(fields: dict[str, FieldInfo], path: str) -> Iterator[str]:
    yield "| setting | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, info in fields.items():
        full = f"{path}.{name}" if path else name
        default = "required" if info.is_required() else f"`{_value(info.get_default(call_default_factory=True))}`"
        yield f"| `{full}` | {_type(info)} | {default} | {_cell(info.description or '')} |"
    yield ""


def _paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split()).replace("``", "`") + "\n"


def _group(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """Return the settings model below a field and how its path goes on, ``None`` for a plain setting."""
    if _optional(annotation):
        branches = [branch for branch in typing.get_args(annotation) if branch is not type(None)]
        return _group(branches[0]) if len(branches) == 1 else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    if typing.get_origin(annotation) is tuple:
        item = typing.get_args(annotation)[0]
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item, "[]"
    if typing.get_origin(annotation) is dict:
        item = typing.get_args(annotation)[1]
        item = typing.get_args(item)[0] if typing.get_origin(item) is Annotated else item
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item, ".NAME"
    return None


def _optional(annotation: Any) -> bool:
    """Say whether a setting may be left out altogether; a group that may be has a line of its own before its section."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _type(info: FieldInfo) -> str:
    limits = []
    for constraint in info.metadata:
        for kind, attribute, words in ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below")):
            if isinstance(constraint, kind):
                limits.append(f"{words} {getattr(constraint, attribute)}")
    return ", ".join([_annotation(info.annotation), *limits])


def _annotation(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _annotation(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_annotation(branch) for branch in arguments if branch is not type(None))
    if origin is tuple:
        return f"list of {_annotation(arguments[0])}"
    if origin is dict:
        return (
            "settings by name"
            if arguments[1] is Any or typing.get_origin(arguments[1]) is dict
            else f"{_annotation(arguments[1])} by name"
        )
    if origin is typing.Literal:
        return ", ".join(str(word) for word in arguments)
    if annotation is Priority:
        return ", ".join(member.name.lower() for member in Priority)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(str(member.value) for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "settings"
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return "path"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _value(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, Priority):
        return value.name.lower()
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return "{}" if value == {} else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    sys.stdout.write(settings_reference())
