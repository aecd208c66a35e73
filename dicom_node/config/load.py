"""node.yaml -> settings, or all its mistakes at once, each with its line, its column and a cure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dicom_node.config.document import Document, Loc, Mistake, Unparsable, dotted, parse
from dicom_node.config.fields import model_at
from dicom_node.config.model import NodeSettings
from dicom_node.config.overrides import apply_environment, expand
from dicom_node.core.errors import ConfigError

_UNREADABLE = {
    FileNotFoundError: "there is no such file; make one with: dicom-node init",
    PermissionError: "this user may not read it; call dicom-node as the user whose node it is (sudo -u), or give the right",
    IsADirectoryError: "this is a folder; --home names the folder that holds the file node.yaml",
}


def load_settings(path: Path, environ: Mapping[str, str] | None = None, *, thorough: bool = True) -> NodeSettings:
    """Read the configuration file.

    Parameters
    ----------
    path
        ``HOME/node.yaml``.
    environ
        Environment variables; default: the process's own.
    thorough
        Also import the outputs and pipelines that are named, and ask whether their settings fit.

    Raises
    ------
    ConfigError
        One line for each mistake: ``node.yaml:31:15 routing.rules[2].pipeline: what is wrong. The cure.``
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {_UNREADABLE.get(type(error), error.strerror)}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path.name}:{line}:1 the file: this line is not UTF-8; save the file as UTF-8.") from None
    return parse_settings(text, path.name, os.environ if environ is None else environ, path.parent, thorough=thorough)


def parse_settings(
    text: str, name: str = "node.yaml", environ: Mapping[str, str] | None = None, folder: Path = Path(), *, thorough: bool = True
) -> NodeSettings:
    """Read the configuration from text; ``name`` is what messages call the file. Raises ``ConfigError``."""
    environ = environ or {}
    try:
        document = parse(text)
    except Unparsable as error:
        raise ConfigError(f"{name}:{error.line}:{error.column} the file: {error.message}") from None
    data, origins, of_variables = apply_environment({} if document.root is None else document.data, environ)
    data, of_files = expand(data, environ, folder)
    data = _without_empty(data, (), data)
    mistakes = [*document.mistakes, *of_variables, *of_files]
    try:
        settings = NodeSettings.model_validate(data, context={"thorough": thorough})
    except ValidationError as error:
        mistakes += [Mistake(e["loc"], e["ctx"]["text"], at_key=e["ctx"]["at_key"]) for e in error.errors()]
    if mistakes:
        raise ConfigError("\n".join(_lines(document, name, origins, mistakes)))
    return settings


def _lines(document: Document, name: str, origins: Mapping[Loc, str], mistakes: list[Mistake]) -> list[str]:
    """Return one line a mistake, in the order of the file, none twice."""
    placed = set()
    for one in mistakes:
        variable = next((v for loc, v in origins.items() if one.loc[: len(loc)] == loc), None)
        if variable is not None:
            placed.add((0, 0, f"environment {variable} {dotted(one.loc)}: {one.message}"))
        else:
            line, column = document.position(one.loc, at_key=one.at_key)
            placed.add((line, column, f"{name}:{line}:{column} {dotted(document.written(one.loc))}: {one.message}"))
    return [text for _, _, text in sorted(placed)]


def _without_empty(data: Any, loc: Loc, root: Any) -> Any:
    """Leave out known settings with nothing written behind the colon: they are as good as absent."""
    if isinstance(data, list):
        return [_without_empty(value, (*loc, index), root) for index, value in enumerate(data)]
    if not isinstance(data, dict):
        return data
    model = model_at(NodeSettings, loc, root)
    known = model.model_fields if model else {}
    return {key: _without_empty(value, (*loc, key), root) for key, value in data.items() if value is not None or key not in known}
