"""An answered result as it is now: its answers, what was told of them, and whether it still stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.artifact import Artifact
from dicom_node.core.feedback import TELLING, told_number
from dicom_node.feedback import repository as log_rows
from dicom_node.feedback.matching import current_result
from dicom_node.feedback.standing import Standing, standing
from dicom_node.inference import repository as runs
from dicom_node.results import repository as artifacts
from dicom_node.stages.rooms import Rooms
from dicom_node.store.story import tell
from dicom_node.store.tables import artifact, run, verdict

ROOM = "feedback"


@dataclass(frozen=True)
class AnsweredCase:
    """A result that stands, with every answer to it."""

    stored: runs.StoredRun
    rows: tuple[Any, ...]  # of the log, in order
    standing: dict[str, Standing]
    told: dict[str, Standing]  # what stood when it was told of last
    roles: frozenset[str]  # of the artifacts that there are

    @property
    def number(self) -> int:
        """The newest row."""
        return int(self.rows[-1].number)

    @property
    def at(self) -> dt.datetime:
        """When the newest row was recorded, whole seconds."""
        return moment(self.rows[-1].at_utc)

    @property
    def name(self) -> str:
        """The result, for a sentence."""
        return f"{self.stored.request.pipeline}: result {self.stored.request.revision}"


def moment(utc: float) -> dt.datetime:
    """Return seconds since 1970 as a date-time, whole seconds."""
    return dt.datetime.fromtimestamp(utc, dt.UTC).replace(microsecond=0)


def load_case(connection: sa.Connection, run_key: str) -> AnsweredCase | None:
    """Return the case; ``None`` when the result does not stand any more: then nobody is told what was thought of it."""
    if current_result(connection, run_key) is None:
        return None
    rows = tuple(log_rows.rows_of_run(connection, run_key))
    roles = frozenset(connection.execute(sa.select(artifact.c.role).where(artifact.c.run_key == run_key)).scalars())
    told = max((told_number(role) for role in roles if role.partition(":")[0] in TELLING), default=0)
    earlier = standing([row for row in rows if row.number <= told])
    return AnsweredCase(runs.load_run(connection, run_key), rows, standing(rows), earlier, roles)


def is_still(connection: sa.Connection, case: AnsweredCase) -> bool:
    """Say whether the result stands and no answer came since. No withdrawal begins before the caller's transaction ends."""
    key = case.stored.request.run_key
    connection.execute(sa.select(run.c.run_key).where(run.c.run_key == key).with_for_update())
    newest = connection.execute(sa.select(sa.func.max(verdict.c.number)).where(verdict.c.run_key == key)).scalar()
    return newest == case.number and current_result(connection, key) is not None


def readable(
    rooms: Rooms, connection: sa.Connection, run_key: str, roles: Iterable[str]
) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
    """Return artifacts of a run, and those whose bytes are gone or damaged, in words."""
    sent, lost = [], []
    for role in roles:
        try:
            sent.append(artifacts.load_artifact(connection, rooms.home.results, run_key, role))
        except OSError as error:
            lost.append(f"{role.partition(':')[0].replace('_', ' ')}: {type(error).__name__}")
    return tuple(sent), tuple(lost)


def tell_unanswered(connection: sa.Connection, study_key: str, predecessor: str, revision: int) -> None:
    """Say of a new result that the answers to the one before do not count for it."""
    if predecessor and log_rows.rows_of_run(connection, predecessor):
        text = f"Result {revision} has not been answered: what was said of the result before it does not count for it."
        tell(connection, study_key, ROOM, "result.unanswered", text)
