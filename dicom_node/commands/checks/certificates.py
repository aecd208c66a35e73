"""What ``check`` says about TLS: which files cannot be used, until when certificates are valid, who else can read a key."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from pydantic import BaseModel

from dicom_node.commands.checks.line import Line, Mark
from dicom_node.config.certificates import Use, uses_of_tls
from dicom_node.core.errors import TlsFailure
from dicom_node.network.certificates import expiry, readable_by_everybody
from dicom_node.network.tls import client_context, server_context
from dicom_node.network.tls_settings import ServerTls, files_of

#: Days before the end from which on it is told: enough to ask an authority for new ones.
SOON_DAYS = 30
_RUNNING = "A node that runs keeps the last good files until this is mended."


def certificate_lines(settings: BaseModel, now: dt.datetime | None = None) -> Iterator[Line]:
    """Yield the lines for every place where TLS is set."""
    for use in uses_of_tls(settings):
        try:
            server_context(use.tls) if isinstance(use.tls, ServerTls) else client_context(use.tls)
        except TlsFailure as failure:
            yield Line(Mark.FAIL, use.where, f"{failure} {_RUNNING}")
            continue
        yield from _expiries(use, now or dt.datetime.now(dt.UTC))
        key = use.tls.private_key
        if key is not None and readable_by_everybody(key):
            yield Line(
                Mark.NOTE, use.where, f"every user of this machine can read {key}: chmod 600, and make the node's user its owner"
            )


def _expiries(use: Use, now: dt.datetime) -> Iterator[Line]:
    for name, path in files_of(use.tls).items():
        if name == "private_key":
            continue
        subject = f"{use.where}.{name}"
        try:
            end = expiry(path)
        except TlsFailure as failure:
            yield Line(Mark.FAIL, subject, str(failure))
            continue
        days = (end - now).total_seconds() / 86400
        until = f"{end:%Y-%m-%d %H:%M} UTC"
        if days < 0:
            yield Line(Mark.FAIL, subject, f"{path} expired at {until}: put a new one in its place; no restart is needed")
        elif days < SOON_DAYS:
            yield Line(Mark.NOTE, subject, f"{path} expires in {days:.0f} days, at {until}; new files need no restart")
        else:
            yield Line(Mark.OK, subject, f"valid until {until} ({days:.0f} days)")
