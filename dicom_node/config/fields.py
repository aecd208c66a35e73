"""Which settings may stand at a place of the configuration: for messages, for empty values and for the reference."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dicom_node.config.document import Loc
from dicom_node.plugins import known_kinds, load_kind


def destination_model(raw: Any) -> type[BaseModel] | None:
    """Return the settings model of a destination as written, ``None`` where its kind is not known."""
    kind = raw.get("kind") if isinstance(raw, Mapping) else getattr(raw, "kind", None)
    if not isinstance(kind, str) or kind not in known_kinds("destination"):
        return None
    try:
        model = load_kind("destination", kind).Settings
    except ImportError:  # a kind of another package that lacks something; the model says so where it is used
        return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def model_at(root: type[BaseModel], loc: Loc, data: Any) -> type[BaseModel] | None:
    """Return the settings model whose fields may stand at ``loc``."""
    annotation: Any = root
    for depth, part in enumerate(loc):
        if depth == 1 and loc[0] == "destinations":
            written = data.get("destinations") if isinstance(data, Mapping) else None
            annotation = destination_model(written.get(part)) if isinstance(written, Mapping) else None
        else:
            annotation = _below(annotation, part)
        if annotation is None:
            return None
    annotation = _bare(annotation)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def field_at(root: type[BaseModel], loc: Loc, data: Any) -> FieldInfo | None:
    """Return the description of the setting at ``loc``; list positions count as their list."""
    while loc and isinstance(loc[-1], int):
        loc = loc[:-1]
    if not loc:
        return None
    model = model_at(root, loc[:-1], data)
    return model.model_fields.get(str(loc[-1])) if model else None


def _below(annotation: Any, part: str | int) -> Any:
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        info = annotation.model_fields.get(str(part))
        return info.annotation if info else None
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (tuple, list) and isinstance(part, int):
        return arguments[0]
    if origin is dict and isinstance(part, str):
        return arguments[1]
    return None


def _bare(annotation: Any) -> Any:
    """Return the annotation without ``Annotated`` and ``| None``."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Union, types.UnionType):
            branches = [branch for branch in typing.get_args(annotation) if branch is not type(None)]
            if len(branches) != 1:
                return annotation
            annotation = branches[0]
        else:
            return annotation
