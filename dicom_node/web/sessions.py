"""Who is logged in: one row a session. The cookie's random value is not kept, only its hash: the database alone opens nothing."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa

from dicom_node.store.connect import reading
from dicom_node.store.tables import web_session

#: A session's last use is written at most this often: pages must not make reception wait for the database.
_SEEN_SECONDS = 30.0


@dataclass(frozen=True)
class Session:
    """A person who is logged in."""

    login: str
    role: str  # reader | admin | it
    form_token: str


def begin(database: sa.Engine, login: str, role: str, *, hours: float) -> str:
    """Return the value of the cookie of a new session; sessions that have ended are forgotten."""
    value, now = secrets.token_urlsafe(32), time.time()
    with database.begin() as connection:
        connection.execute(sa.delete(web_session).where(web_session.c.ends_utc < now))
        connection.execute(
            sa.insert(web_session).values(
                session=_hashed(value),
                login=login,
                role=role,
                form_token=secrets.token_urlsafe(24),
                began_utc=now,
                seen_utc=now,
                ends_utc=now + hours * 3600,
            )
        )
    return value


def find(database: sa.Engine, value: str, *, idle_minutes: float) -> Session | None:
    """Return who is logged in; ``None`` when nobody is, or the session has ended."""
    if not value:
        return None
    now, key = time.time(), _hashed(value)
    with reading(database) as connection:
        row = connection.execute(sa.select(web_session).where(web_session.c.session == key)).first()
    if row is None or row.ends_utc < now or row.seen_utc + idle_minutes * 60 < now:
        return None
    if row.seen_utc + min(_SEEN_SECONDS, idle_minutes * 6) < now:
        with database.begin() as connection:
            connection.execute(sa.update(web_session).where(web_session.c.session == key).values(seen_utc=now))
    return Session(row.login, row.role, row.form_token)


def end(database: sa.Engine, value: str) -> None:
    """Log out."""
    with database.begin() as connection:
        connection.execute(sa.delete(web_session).where(web_session.c.session == _hashed(value)))


def _hashed(value: str) -> str:
    return hashlib.sha256(b"session|" + value.encode()).hexdigest()
