"""What a page view gives its form: a signed note of what was shown, when, to whom. Sent twice, it is still one answer."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Ticket:
    """One view of a result's page."""

    nonce: str
    run_key: str
    login: str
    shown_utc: float  # when the page was made
    blinded: bool  # the AI's result was not on it
    task_id: str = ""

    @property
    def seconds(self) -> float:
        """How long ago the page was made."""
        return max(0.0, time.time() - self.shown_utc)


def issue(key: bytes, run_key: str, login: str, *, blinded: bool, task_id: str = "") -> str:
    """Return the text of a new ticket."""
    ticket = Ticket(secrets.token_urlsafe(18), run_key, login, round(time.time(), 3), blinded, task_id)
    body = base64.urlsafe_b64encode(json.dumps(asdict(ticket)).encode()).decode()
    return f"{body}.{_signed(key, body)}"


def read(key: bytes, text: str, run_key: str, login: str) -> Ticket | None:
    """Return the ticket if this node made it, of this result, for this person."""
    body, _, signature = text.partition(".")
    if not hmac.compare_digest(_signed(key, body).encode(), signature.encode("utf-8", "replace")):
        return None
    try:
        ticket = Ticket(**json.loads(base64.urlsafe_b64decode(body)))
    except (ValueError, TypeError, binascii.Error):
        return None
    return ticket if ticket.run_key == run_key and ticket.login == login else None


def _signed(key: bytes, body: str) -> str:
    return hmac.new(key, b"form|" + body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
