"""feedback -> FHIR servers: what has changed of our reports and Observations, and which Tasks were made about results?

For servers that do not call the hook. A server is asked at its pace, at once after an empty notification, and once more where a
delivery met a version that somebody else wrote: that version is read before anything else happens to it.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.errors import HttpFailure, NodeError
from dicom_node.core.fhir_names import OBSERVATION_SYSTEM, REPORT_SYSTEM, written_by_us
from dicom_node.delivery.destinations import fhir_rest
from dicom_node.delivery.fhir_update import searches
from dicom_node.feedback.channels import fhir
from dicom_node.feedback.messages.fhir_people import subject_of
from dicom_node.feedback.reports.assessment_codes import table
from dicom_node.feedback.step import Desk
from dicom_node.home import Home
from dicom_node.results import repository as artifacts
from dicom_node.stages.answers.fhir_server import FhirServer, TooMuch
from dicom_node.stages.answers.resources import Json, take
from dicom_node.store.connect import reading
from dicom_node.store.tables import answer_poll, artifact, delivery

#: How often it is looked who is to be asked.
LOOK_SECONDS = 1.0
#: What changed shortly before the last look is asked for again: clocks differ, and an index may lag behind.
OVERLAP_SECONDS = 300.0
#: At the first look.
FIRST_SECONDS = 7 * 86_400.0
_AT_ONCE = 20
_SHORTEST_SECONDS = 60.0


class FhirPolling:
    """Asks the servers of ``feedback.fhir.poll``. One a process."""

    def __init__(self, home: Home, settings: NodeSettings, database: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        self._home, self._database, self._clock = home, database, clock
        self._seconds = settings.feedback.fhir.poll_seconds
        self._polled = settings.feedback.fhir.poll
        self._desk = Desk(home, settings.readers, settings.feedback)
        self._servers = {name: one for name, one in settings.destinations.items() if isinstance(one, fhir_rest.Settings)}
        self._read: dict[str, int] = {}  # parked deliveries whose foreign version was read: the attempt that met it
        self._parked_at: dict[str, float] = {}

    def look(self) -> int:
        """Ask whoever is due; return how many answers were recorded."""
        new = 0
        for name in self._polled:
            if self._is_due(name):
                new += self._guarded(name, partial(self._ask, name))
        for name in self._servers:
            if not 0 <= self._clock() - self._parked_at.get(name, 0.0) < self._seconds:
                self._parked_at[name] = self._clock()
                new += self._guarded(name, partial(self._ask_parked, name))
        return new

    def _is_due(self, name: str) -> bool:
        with reading(self._database) as connection:
            row = connection.execute(sa.select(answer_poll).where(answer_poll.c.name == name)).first()
        if row is None or row.asked_utc is None or not 0 <= self._clock() - row.asked_utc < self._seconds:
            return True
        return row.wanted_utc is not None and row.wanted_utc >= row.asked_utc

    def _guarded(self, name: str, ask: Callable[[], int]) -> int:
        """Ask one server; what keeps it from answering is told once, and never keeps the others from being asked."""
        try:
            return ask()
        except (NodeError, OSError, ValueError) as error:
            problem = str(error) if isinstance(error, NodeError) else f"unexpected {type(error).__name__}"
            if self._note(name, asked_utc=self._clock(), problem=problem):
                log.event("fhir.not_asked", destination=name, error=type(error).__name__, reason=problem)
            return 0

    def _note(self, name: str, **values: object) -> bool:
        """Write how a server's turn went; says whether its problem is another one now."""
        with self._database.begin() as connection:
            before = connection.execute(sa.select(answer_poll).where(answer_poll.c.name == name)).first()
            if before is None:
                connection.execute(sa.insert(answer_poll).values(name=name, **values))
            else:
                connection.execute(sa.update(answer_poll).where(answer_poll.c.name == name).values(**values))
        return values.get("problem", "") != (before.problem if before is not None else "")

    def _ask(self, name: str) -> int:
        """Ask for everything that changed since the last look, less an overlap: what was read before adds nothing.

        Where that is too much at once (a server that was away for long), for the first part of the time, and soon for the rest.
        """
        began = self._clock()
        with reading(self._database) as connection:
            known = connection.execute(sa.select(answer_poll.c.since_utc).where(answer_poll.c.name == name)).scalar()
        since, until = (known or began - FIRST_SECONDS) - OVERLAP_SECONDS, None
        with FhirServer(self._servers[name]) as server:
            while True:
                try:
                    resources = self._changed(server, since, until)
                    break
                except TooMuch:
                    until = since + ((until or began) - since) / 2
                    if until - since < _SHORTEST_SECONDS:
                        raise
            new = self._take(resources, server)
        # the server's clock may be behind ours: what it writes now has its time
        mark = min(began, server.now_utc or began) if until is None else until + OVERLAP_SECONDS
        self._note(name, asked_utc=began if until is None else None, since_utc=mark, problem="")
        return new

    def _changed(self, server: FhirServer, since_utc: float, until_utc: float | None) -> list[Json]:
        changed = [("_lastUpdated", f"ge{_moment(since_utc)}")]
        if until_utc is not None:
            changed.append(("_lastUpdated", f"lt{_moment(until_utc)}"))
        reports = server.search("DiagnosticReport", ("identifier", f"{REPORT_SYSTEM}|"), *changed)
        observations = server.search("Observation", ("identifier", f"{OBSERVATION_SYSTEM}|"), *changed)
        return [*reports, *observations, *self._provenances(server, [*reports, *observations]), *server.search("Task", *changed)]

    def _provenances(self, server: FhirServer, found: Sequence[Json]) -> Iterator[Json]:
        """Yield who vouches for versions that name nobody themselves."""
        nobodys = [one for one in found if fhir.targets_of(one) is not None and fhir.says_nothing(one) == fhir.NOBODY]
        for start in range(0, len(nobodys), _AT_ONCE):
            some = nobodys[start : start + _AT_ONCE]
            names = [f"{one['resourceType']}/{one['id']}" for one in some]
            # some servers index a reference with its version, others without
            names += [f"{name}/_history/{one.get('meta', {}).get('versionId', '')}" for name, one in zip(names, some, strict=True)]
            yield from server.search("Provenance", ("target", ",".join(names)))

    def _ask_parked(self, name: str) -> int:
        """Read what stands at the server where a delivery was refused because somebody else wrote it."""
        d = delivery.c
        refused = sa.select(delivery, artifact.c.role).join(artifact, artifact.c.artifact_id == d.artifact_id)
        refused = refused.where(d.destination == name, d.state == DeliveryState.DEAD.value, d.detail.contains(fhir_rest.CHANGED))
        with reading(self._database) as connection:
            rows = [row for row in connection.execute(refused) if self._read.get(row.delivery_id) != row.attempt]
        if not rows:
            return 0
        new = 0
        with FhirServer(self._servers[name]) as server:
            for row in rows[:_AT_ONCE]:
                with reading(self._database) as connection:
                    sent = artifacts.load_artifact(connection, self._home.results, row.run_key, row.role)
                held = [one for url in searches(json.loads(sent.data)).values() for one in server.get_all(url)]
                mine = [one for one in held if one.get("resourceType") in ("DiagnosticReport", "Observation")]
                new += self._take([*mine, *self._provenances(server, mine)], server)
                self._read[row.delivery_id] = row.attempt
        return new

    def _take(self, resources: Sequence[Json], server: FhirServer) -> int:
        if not resources:
            return 0
        resolved = {name: server.resource(name) for name in _focuses(resources)}  # no request while the database is locked
        about = [*resources, *(one for one in resolved.values() if one is not None)]
        resolved |= {name: _patient(server, name) for name in self._patients(about)}
        with self._database.begin() as connection:
            done = take(connection, resources, self._desk, vouched=server.vouches, resolve=resolved.get)
        return sum(len(one.numbers) for one in done)

    def _patients(self, resources: Sequence[Json]) -> set[str]:
        """Return the patients of what may be an answer: whether they are those of the studies is asked before it counts."""
        codes = table(self._desk.settings.assessment_codes)
        mine = (one for one in resources if fhir.targets_of(one) is not None and not written_by_us(one))
        tasks = (one for one in resources if one.get("resourceType") == "Task" and fhir.answers_a_result(one, codes))
        return {name for one in (*mine, *tasks) if (name := subject_of(one)[0])}


def _focuses(resources: Sequence[Json]) -> set[str]:
    """Return the reports and Observations that Tasks with a coded outcome are about."""
    found = set()
    for task in resources:
        if task.get("resourceType") == "Task" and (task.get("output") or task.get("businessStatus")):
            reference = str((task.get("focus") or {}).get("reference") or "").partition("/_history")[0]
            name = "/".join(reference.split("/")[-2:])
            if name.startswith(("DiagnosticReport/", "Observation/")):
                found.add(name)
    return found


def _patient(server: FhirServer, name: str) -> Json | None:
    """Return a patient; ``None`` where this node may not read patients: then nothing is known against the answer."""
    try:
        return server.resource(name)
    except HttpFailure as error:
        if error.status in (401, 403):
            return None
        raise


def _moment(utc: float) -> str:
    return dt.datetime.fromtimestamp(utc, dt.UTC).isoformat(timespec="seconds")
