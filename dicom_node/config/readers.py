"""Readers who could be taken for each other: an answer that fits two people would count for neither; leave it to one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dicom_node.config.document import Loc, Mistake
from dicom_node.feedback.readers import person_name


def readers_taken_twice(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield each login, AE title, number, reference or name that two readers share."""
    readers = data.get("readers")
    known: dict[tuple[str, str], int] = {}
    for index, reader in enumerate(readers if isinstance(readers, list) else []):
        for kind, value, at in _identities(reader):
            first = known.setdefault((kind, value), index)
            if first != index:
                text = f'"{value}" is also of readers[{first}]: what comes under it would count for neither; leave it to one.'
                yield Mistake(("readers", index, *at), text)


def _identities(reader: Any) -> Iterator[tuple[str, str, Loc]]:
    """Yield what a reader is known by: kind, value as compared, where it stands."""
    if not isinstance(reader, Mapping):
        return
    for name in ("login", "ae_titles", "hl7_ids", "fhir_references"):
        yield from ((name, value.strip(), at) for value, at in _texts(reader, name))
    for name in ("name", "dicom_names"):
        yield from (("name", person_name(value), at) for value, at in _texts(reader, name))


def _texts(reader: Mapping[str, Any], name: str) -> Iterator[tuple[str, Loc]]:
    value = reader.get(name)
    if isinstance(value, str) and value.strip():
        yield value, (name,)
    if isinstance(value, list):
        yield from ((one, (name, n)) for n, one in enumerate(value) if isinstance(one, str) and one.strip())
