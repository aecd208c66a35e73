"""Makes pages of templates."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from dicom_node.core.abstentions import sentence
from dicom_node.version import VERSION

FOLDER = Path(__file__).parent


class Show:
    """Every page says whose node it is and, where somebody is logged in, who."""

    def __init__(self, site: str, timezone: dt.tzinfo = dt.UTC) -> None:
        self._site = site
        self._timezone = timezone
        self._templates = Jinja2Templates(directory=FOLDER / "templates")
        self._templates.env.filters["clock"] = self._clock
        self._templates.env.filters["age"] = _age
        self._templates.env.globals["sentence"] = sentence

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page."""
        shared = {"site": self._site, "version": VERSION, "session": None}
        return self._templates.TemplateResponse(request, name, {**shared, **values}, status_code=status)

    def _clock(self, at: float | None) -> str:
        """Return a moment as the clocks at the site show it."""
        return f"{dt.datetime.fromtimestamp(at, self._timezone):%Y-%m-%d %H:%M:%S %Z}" if at else ""

    def message(self, request: Request, status: int, title: str, text: str, **values: Any) -> HTMLResponse:
        """Return a page that says one thing; ``then`` is the page to go on with, ``then_words`` what that is."""
        return self.page(request, "message.html", status, title=title, text=text, **values)


def _age(at: float | None) -> str:
    """Return how far a moment is from now, in the largest unit that fits: ``3 h``, ``in 2 days``."""
    if not at:
        return ""
    seconds = time.time() - at
    for size, word in ((86400, "day"), (3600, "h"), (60, "min")):
        number = int(abs(seconds) // size)
        if number:
            words = f"{number} {word}{'s' if word == 'day' and number > 1 else ''}"
            return words if seconds >= 0 else f"in {words}"
    return "now"
