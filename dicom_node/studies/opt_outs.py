"""Patients who said no: to analysis, or to learning from their images. The rows name a patient by a keyed hash only.

A patient without a Patient ID cannot be found here: such a study is analysed as any other, and never exported.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from dicom_node.core.errors import UsageError
from dicom_node.core.identifiers import plain
from dicom_node.home import Home
from dicom_node.store.tables import opt_out

ANALYSIS, LEARNING, BOTH = "analysis", "learning", "both"
SCOPES = (ANALYSIS, LEARNING)
COLUMNS = ("patient_id", "issuer", "scope")


class OptOut(NamedTuple):
    """One wish, as a line of a file has it."""

    patient_id: str
    issuer: str
    scope: str  # analysis | learning | both


def add(
    connection: sa.Connection, home: Home, patient_id: str, issuer: str = "", scope: str = BOTH, source: str = "command"
) -> int:
    """Keep that a patient opted out, in the caller's transaction; return how many rows are new (0: it was known).

    Parameters
    ----------
    issuer
        Who issued the Patient ID. It does not narrow the wish: see ``Home.patient_token``.
    scope
        ``analysis``, ``learning`` or ``both``.
    source
        ``command``, ``csv`` or ``http``.

    Raises
    ------
    UsageError
        No Patient ID, or another scope.
    """
    patient = _token(home, patient_id, issuer)
    known = {row.scope for row in of_patient(connection, [patient])}
    fresh = [one for one in _scopes(scope) if one not in known]
    for one in fresh:
        connection.execute(sa.insert(opt_out).values(patient=patient, scope=one, at_utc=time.time(), source=source))
    return len(fresh)


def remove(connection: sa.Connection, home: Home, patient_id: str, issuer: str = "", scope: str = BOTH) -> int:
    """Forget it again, in the caller's transaction; return how many rows there were.

    Raises
    ------
    UsageError
        No Patient ID, or another scope.
    """
    c = opt_out.c
    query = sa.delete(opt_out).where(c.patient == _token(home, patient_id, issuer), c.scope.in_(_scopes(scope)))
    return int(connection.execute(query).rowcount)


def listed(connection: sa.Connection) -> list[sa.Row[Any]]:
    """Return all rows, newest first."""
    return list(connection.execute(sa.select(opt_out).order_by(opt_out.c.at_utc.desc(), opt_out.c.patient, opt_out.c.scope)))


def of_patient(connection: sa.Connection, patients: Iterable[str]) -> list[sa.Row[Any]]:
    """Return the rows of patients named by their tokens (``Home.patient_token``)."""
    return list(connection.execute(sa.select(opt_out).where(opt_out.c.patient.in_(sorted(set(patients))))))


def anybody(connection: sa.Connection, scope: str) -> bool:
    """Say whether there is any opt-out of this scope at all: most sites have none, and then nobody is looked up."""
    return connection.execute(sa.select(opt_out.c.patient).where(opt_out.c.scope == scope).limit(1)).first() is not None


def opted_out(connection: sa.Connection, home: Home, patient_ids: Iterable[str], scope: str) -> bool:
    """Say whether the person with these Patient IDs (those of merged records too) opted out."""
    tokens = {home.patient_token(one) for one in patient_ids if plain(one)}
    return any(row.scope == scope for row in of_patient(connection, tokens))


def read_csv(lines: Iterable[str]) -> list[OptOut]:
    """Read a file of wishes: a header ``patient_id,issuer,scope``, then one a line. Empty scope: both.

    Raises
    ------
    UsageError
        A line is wrong. It says which, why and how it should be, without what stands there; nothing of the file counts then.
    """
    rows = csv.reader(lines, strict=True)
    found: list[OptOut] = []
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        if sorted(header) != sorted(COLUMNS):
            raise UsageError(f"line 1: the columns must be {','.join(COLUMNS)}, separated by commas; add this header line")
        for cells in rows:
            if any(cell.strip() for cell in cells):
                found.append(_read_line(rows.line_num, dict(zip(header, (c.strip() for c in cells), strict=False)), len(cells)))
    except csv.Error:
        raise UsageError(f"line {rows.line_num}: a quotation mark is open; close it, or save the file again as CSV") from None
    except UnicodeDecodeError:
        raise UsageError(f"after line {rows.line_num}: not UTF-8; save the file as CSV UTF-8") from None
    return found


def _read_line(line: int, values: dict[str, str], cells: int) -> OptOut:
    if cells != len(COLUMNS):
        raise UsageError(f"line {line}: {cells} values where {len(COLUMNS)} are expected; leave issuer and scope empty, not out")
    if not plain(values["patient_id"]):
        raise UsageError(f"line {line}: the Patient ID is missing; write it, or delete the line")
    scope = values["scope"].lower() or BOTH
    if scope not in (*SCOPES, BOTH):
        raise UsageError(f"line {line}: the scope is not known; write analysis, learning or both")
    return OptOut(values["patient_id"], values["issuer"], scope)


def _scopes(scope: str) -> Sequence[str]:
    if scope not in (*SCOPES, BOTH):
        raise UsageError("the scope is not known; say analysis, learning or both")
    return SCOPES if scope == BOTH else (scope,)


def _token(home: Home, patient_id: str, issuer: str) -> str:
    if not plain(patient_id):
        raise UsageError("the Patient ID is missing: an opt-out of nobody would hold nothing")
    return home.patient_token(patient_id, issuer)
