"""A kind's name -> its module: our own folder first, then installed entry points. Only kinds that are named are imported."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.resources
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

#: What can be extended: package that holds our own kinds, entry point group for other packages.
FAMILIES: dict[str, tuple[str, str]] = {
    "pipeline": ("pipelines", "dicom_node.pipelines"),
    "output": ("dicom_node.results.outputs", "dicom_node.outputs"),
    "destination": ("dicom_node.delivery.destinations", "dicom_node.destinations"),
}


@functools.cache
def _installed(group: str) -> tuple[EntryPoint, ...]:
    """Return what installed packages offer; asked once a process, since reading every package's metadata takes 30 ms."""
    return tuple(entry_points(group=group))


def known_kinds(family: str) -> tuple[str, ...]:
    """Return the names that may stand in the configuration, sorted. Nothing is imported but the folder's own package."""
    package, group = FAMILIES[family]
    ours = {
        entry.name.removesuffix(".py")
        for entry in importlib.resources.files(package).iterdir()
        if entry.name.endswith(".py") and not entry.name.startswith("_")
    }
    return tuple(sorted(ours | {point.name for point in _installed(group)}))


def unknown_kind(family: str, name: str) -> str:
    """Return the sentence that tells a person what may be written instead."""
    kinds = known_kinds(family)
    close = difflib.get_close_matches(name, kinds, n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    return f'there is no {family} "{name}". Known: {", ".join(kinds)}.{hint}'


def load_kind(family: str, name: str) -> ModuleType:
    """Import and return the module of one kind.

    Raises
    ------
    LookupError
        No such kind; the message lists those there are.
    """
    package, group = FAMILIES[family]
    if name not in known_kinds(family):
        raise LookupError(unknown_kind(family, name))
    for point in _installed(group):
        if point.name == name:
            module = point.load()
            assert isinstance(module, ModuleType), f"entry point {group}:{name} must name a module"
            return module
    return importlib.import_module(f"{package}.{name}")
