"""``AET@HOST:PORT`` and ``HOST:PORT`` as people write them on the command line."""

from __future__ import annotations

from typing import NamedTuple

from dicom_node.config.hosts import is_host
from dicom_node.core.errors import UsageError
from dicom_node.core.identifiers import check_ae_title


class Peer(NamedTuple):
    """A DICOM peer; ``port`` is ``None`` where only sending to us is meant."""

    ae_title: str
    host: str
    port: int | None


def parse_peer(text: str, *, port_needed: bool) -> Peer:
    """Return the peer that ``AET@HOST:PORT`` (or ``AET@HOST``) means.

    Raises
    ------
    UsageError
        It cannot be meant; the message says how to write it.
    """
    form = "AET@HOST:PORT, e.g. PACS@10.1.2.3:104" if port_needed else "AET@HOST, e.g. CR1@10.1.2.4"
    title, at, address = text.rpartition("@")
    if not at:
        raise UsageError(f'"{text}" is not of the form {form}')
    try:
        title = check_ae_title(title)
    except ValueError as error:
        raise UsageError(f'"{text}": {error}') from None
    host, port = parse_address(address, form)
    if port is None and port_needed:
        raise UsageError(f'"{text}" names no port; write {form}')
    return Peer(title, host, port)


def parse_address(text: str, form: str = "HOST:PORT, e.g. 10.1.2.3:2575") -> tuple[str, int | None]:
    """Return host and port; IPv6 addresses stand in brackets where a port follows. Raises ``UsageError``."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not is_host(host):
        raise UsageError(f'"{text}" names no host; write {form}')
    if port and not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise UsageError(f'"{port}" is not a port (1 to 65535); write {form}')
    return host, int(port) if port else None
