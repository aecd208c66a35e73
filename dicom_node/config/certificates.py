"""Every certificate that the settings name, wherever in them TLS is set: for ``check`` and for the metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from dicom_node.core.errors import TlsFailure
from dicom_node.network.certificates import expiry
from dicom_node.network.tls_settings import AnyTls, ClientTls, HttpsTls, ServerTls, files_of


class Use(NamedTuple):
    """Where TLS is set, e.g. ``reception.tls``, and what is set there."""

    where: str
    tls: AnyTls


def uses_of_tls(settings: BaseModel) -> Iterator[Use]:
    """Yield every place below these settings where TLS is set."""
    yield from _below("", settings)


def _below(where: str, value: Any) -> Iterator[Use]:
    if isinstance(value, (ServerTls, ClientTls, HttpsTls)):
        yield Use(where, value)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _below(f"{where}.{name}" if where else name, getattr(value, name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _below(f"{where}.{name}", item)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _below(f"{where}[{index}]", item)


def certificate_files(settings: BaseModel) -> Iterator[tuple[str, Path]]:
    """Yield each file that holds certificates, with the setting that names it, e.g. ``reception.tls.certificate``."""
    for use in uses_of_tls(settings):
        for name, path in files_of(use.tls).items():
            if name != "private_key":
                yield f"{use.where}.{name}", path


def seconds_to_expiry(settings: BaseModel) -> dict[str, float]:
    """Return for each setting that names certificates how many seconds the first of them is still valid.

    Below zero: it has expired. A file that cannot be read counts as expired now (0), so that an alarm on the number rings.
    """
    now = time.time()
    left: dict[str, float] = {}
    for setting, path in certificate_files(settings):
        try:
            left[setting] = expiry(path).timestamp() - now
        except TlsFailure:
            left[setting] = 0.0
    return left
