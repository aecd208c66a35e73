"""Environment variables and secret files over what the file says.

``DICOM_NODE__RECEPTION__PORT=104`` sets ``reception.port``; ``__`` stands between names, list positions are numbers, the value
is read as YAML. ``${NAME}`` inside a value is replaced by that environment variable. ``<setting>_file: PATH`` gives
``<setting>`` the text of a file, for ``database_url`` and any setting of a destination.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_node.config import document
from dicom_node.config.document import Loc, Mistake
from dicom_node.config.fields import destination_model

PREFIX = "DICOM_NODE__"
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def apply_environment(data: Any, environ: Mapping[str, str]) -> tuple[Any, dict[Loc, str], list[Mistake]]:
    """Return the settings with every ``DICOM_NODE__…`` variable laid over them.

    Returns
    -------
    data
        New settings.
    origins
        Path of each setting that a variable gave, and the variable's name: messages name it instead of a line.
    mistakes
        Variables that cannot be meant.
    """
    origins: dict[Loc, str] = {}
    mistakes: list[Mistake] = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        try:
            value = document.parse(environ[variable]).data
        except document.Unparsable:
            value = environ[variable]
        parts = [part for part in variable[len(PREFIX) :].split("__") if part]
        if not parts:
            mistakes.append(Mistake((), f"environment variable {variable} names no setting; write e.g. {PREFIX}RECEPTION__PORT."))
            continue
        data, loc = _laid_over(data, parts, value)
        origins[loc] = variable
    return data, origins, mistakes


def expand(data: Any, environ: Mapping[str, str], folder: Path) -> tuple[Any, list[Mistake]]:
    """Return the settings with ``${NAME}`` and ``…_file`` replaced; ``folder`` is what relative paths start from."""
    mistakes: list[Mistake] = []
    data = _referenced(data, (), environ, mistakes)
    if isinstance(data, dict):
        data = _with_files(data, (), frozenset({"database_url"}), folder, mistakes)
        destinations = data.get("destinations")
        if isinstance(destinations, dict):
            read = {}
            for name, raw in destinations.items():
                model = destination_model(raw)
                names = frozenset(model.model_fields) if model else frozenset()
                read[name] = _with_files(raw, ("destinations", name), names, folder, mistakes) if isinstance(raw, dict) else raw
            data = {**data, "destinations": read}
    return data, mistakes


def _laid_over(data: Any, parts: list[str], value: Any) -> tuple[Any, Loc]:
    name, *rest = parts
    if isinstance(data, list) and name.isdecimal() and int(name) < len(data):
        index = int(name)
        child, below = _laid_over(data[index], rest, value) if rest else (value, ())
        return [*data[:index], child, *data[index + 1 :]], (index, *below)
    mapping: dict[str, Any] = data if isinstance(data, dict) else {}
    key = next((k for k in mapping if k.replace("-", "_").casefold() == name.casefold()), name.lower())
    child, below = _laid_over(mapping.get(key), rest, value) if rest else (value, ())
    return {**mapping, key: child}, (key, *below)


def _referenced(data: Any, loc: Loc, environ: Mapping[str, str], mistakes: list[Mistake]) -> Any:
    if isinstance(data, dict):
        return {key: _referenced(value, (*loc, key), environ, mistakes) for key, value in data.items()}
    if isinstance(data, list):
        return [_referenced(value, (*loc, index), environ, mistakes) for index, value in enumerate(data)]
    if not isinstance(data, str):
        return data
    for name in _REFERENCE.findall(data):
        if name not in environ:
            mistakes.append(Mistake(loc, f"environment variable {name} is not set; set it for the node, or write the value here."))
    return _REFERENCE.sub(lambda match: environ.get(match[1], match[0]), data)


def _with_files(settings: dict[str, Any], loc: Loc, names: frozenset[str], folder: Path, mistakes: list[Mistake]) -> dict[str, Any]:
    result = dict(settings)
    for key, value in settings.items():
        target = key.removesuffix("_file")
        if target == key or key in names or target not in names or not isinstance(value, str):
            continue
        del result[key]
        if settings.get(target) is not None:
            mistakes.append(Mistake((*loc, key), f"{target} and {key} both stand here; delete one."))
            continue
        try:
            result[target] = (folder / value).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a text file"
            mistakes.append(Mistake((*loc, key), f"the file cannot be read: {why}. Check path and rights."))
    return result
