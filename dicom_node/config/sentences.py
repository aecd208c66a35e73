"""What pydantic found, in words for the person who wrote the file: what is wrong, and the cure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dicom_node.config.document import Loc, Mistake
from dicom_node.config.fields import field_at, model_at

_SECRET = re.compile(r"password|secret|token|credential|database_url|authorization|api_key", re.IGNORECASE)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list such as [A, B]",
    "list": "a list such as [A, B]",
    "dict": "settings by name",
    "mapping": "settings by name",
    "model": "settings (name: value)",
    "enum": "one of the words",
}


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """Return `` Did you mean "…"?`` or nothing."""
    close = difflib.get_close_matches(written, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def mistakes_of(error: ValidationError, root: type[BaseModel], data: Any, prefix: Loc = ()) -> list[Mistake]:
    """Return what pydantic found as mistakes; arguments as of ``mistake``.

    A list whose items are wrong counts as too short as well: pydantic drops them before it counts. That is not repeated.
    """
    errors = error.errors()
    return [mistake(one, root, data, prefix) for one in errors if not (one["type"] == "too_short" and one["input"])]


def mistake(error: ErrorDetails, root: type[BaseModel], data: Any, prefix: Loc = ()) -> Mistake:
    """Return one of pydantic's errors as a mistake with its cure.

    Parameters
    ----------
    root, data
        The model and what was written, to name what is known at that place.
    prefix
        Where the model that complained stands in the file.
    """
    loc: Loc = (*prefix, *error["loc"])
    kind, context, written = error["type"], error.get("ctx", {}), error["input"]
    if kind == "mistake":
        return Mistake(loc, str(context["text"]), at_key=bool(context["at_key"]))
    if kind == "extra_forbidden":
        model = model_at(root, loc[:-1], data)
        known = sorted(model.model_fields) if model else []
        name = str(loc[-1])
        return Mistake(
            loc, f'there is no setting "{name}" here. Known: {", ".join(known)}.{did_you_mean(name, known)}', at_key=True
        )
    field = field_at(root, loc, data)
    meant = f" Meant: {field.description}" if field is not None and field.description else ""
    if kind == "missing":
        return Mistake(loc, f'"{loc[-1]}" is missing; add it.{meant}')
    if kind == "value_error":
        return Mistake(loc, _ended(str(context["error"])))
    shown = _shown(loc, written)
    if written is None:
        return Mistake(loc, f"nothing is written here; write a value, or delete the line.{meant}")
    if kind in ("enum", "literal_error"):
        words = re.findall(r"'([^']*)'", str(context["expected"]))
        return Mistake(loc, f"{shown} is not one of {', '.join(words)}.{did_you_mean(str(written), words)}")
    for word in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        if kind == word:
            limit = next(iter(context.values()))
            relation = word.replace("_equal", " or equal").replace("_", " ").replace("than or equal", "than or equal to")
            return Mistake(loc, f"{shown} must be {relation} {limit}.{meant}")
    if kind in ("too_short", "string_too_short"):
        return Mistake(loc, f"at least {context['min_length']} must stand here.{meant}")
    if kind in ("too_long", "string_too_long"):
        return Mistake(loc, f"{shown} is longer than {context['max_length']} characters; shorten it.{meant}")
    if kind == "finite_number":
        return Mistake(loc, f"{shown} is not a finite number.{meant}")
    wanted = _KINDS.get(kind.partition("_")[0])
    if wanted is not None and kind.endswith(("_type", "_parsing", "_parsing_size", "_from_float")):
        return Mistake(loc, f"{shown} stands where {wanted} belongs.{meant}")
    return Mistake(loc, f"{shown} does not fit.{meant}" if meant else _ended(error["msg"]))


def _ended(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."


def _shown(loc: Loc, written: Any) -> str:
    if any(_SECRET.search(str(part)) for part in loc):
        return "the value"
    if isinstance(written, Mapping):
        return "a mapping (name: value)"
    if isinstance(written, (list, tuple)):
        return "a list"
    text = str(written)
    return f'"{text}"' if len(text) <= 64 else f'"{text[:60]}…"'
