"""What ``check`` says of user and clock: as whom it looks, and what time the node takes it to be."""

from __future__ import annotations

import datetime as dt
import os
import pwd
from collections.abc import Iterator

from dicom_node.commands.checks.line import Line, Mark
from dicom_node.config.model import NodeSettings
from dicom_node.home import Home


def is_anothers(home: Home) -> bool:
    """Say whether the home belongs to another user than the one who asks: then nothing may be made in it, least of all by root."""
    return home.path.stat().st_uid != os.geteuid()


def user_lines(home: Home) -> Iterator[Line]:
    """Say it when another user asks, whose rights are others than the node's, and when every user can look into the home."""
    if is_anothers(home):
        owner = _name(home.path.stat().st_uid)
        text = f"{home.path} belongs to {owner}, and this is {_name(os.geteuid())}, whose rights differ: ask as {owner}"
        yield Line(Mark.NOTE, "user", f"{text} (sudo -u {owner})")
    if home.path.stat().st_mode & 0o005:
        text = f"every user of this machine can look into {home.path}, where patients' images lie: chmod 700"
        yield Line(Mark.NOTE, "user", text)


def clock_lines(settings: NodeSettings, now: dt.datetime | None = None) -> Iterator[Line]:
    """Show the site's time, for somebody who looks at a watch: result times and the age of studies depend on it."""
    here = (now or dt.datetime.now(dt.UTC)).astimezone(settings.site.tzinfo())
    yield Line(Mark.OK, "clock", f"{here:%Y-%m-%d %H:%M} at the site ({settings.site.timezone})")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user has no name
        return f"user {uid}"
