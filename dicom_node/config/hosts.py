"""Hosts of other systems: a name or an address, with neither port nor URL in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dicom_node.config.document import Loc, Mistake

_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$")
_IPV6 = re.compile(r"^[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?$")
_WITH_PORT = re.compile(r"^[^:/]+:\d+$")


def is_host(text: str) -> bool:
    """Say whether this can be the name or the address of a machine."""
    return bool(_NAME.match(text) or (text.count(":") > 1 and _IPV6.match(text)))


def hosts_mistaken(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield a mistake for each ``host`` of a sender, an archive, a destination or somebody who answers that cannot be one."""
    for loc, host in _written(data):
        if isinstance(host, str) and host.strip() and not is_host(host.strip()):
            cure = (
                "write the port under port" if _WITH_PORT.match(host) else "write it alone, e.g. 10.1.2.3 or pacs.hospital.example"
            )
            yield Mistake((*loc, "host"), f'"{host}" is not the name or address of a machine; {cure}.')


def _written(data: Mapping[str, Any]) -> Iterator[tuple[Loc, Any]]:
    answer_ae = _section(_section(data, "feedback"), "answer_ae")
    lists: tuple[tuple[Loc, Any], ...] = (
        (("reception", "peers"), _section(data, "reception").get("peers")),
        (("feedback", "answer_ae", "callers"), answer_ae.get("callers")),
    )
    for loc, listed in lists:
        for index, one in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(one, Mapping):
                yield (*loc, index), one.get("host")
    for section in ("archives", "destinations"):
        for name, one in _section(data, section).items():
            if isinstance(one, Mapping):
                yield (section, name), one.get("host")


def _section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}
