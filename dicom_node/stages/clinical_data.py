"""inference -> orders, studies: runs wait for laboratory values; values that come or change too late are told.

Level-triggered: which runs wait stands in their rows, what is known stands in others, and every second they are compared. So
whoever wrote a value (HL7, FHIR, a person on the page) ends the waiting, in whichever process; a crash loses nothing and runs
nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.laboratory import LabInput, listed
from dicom_node.core.run import place_in_queue
from dicom_node.core.study import HeaderFacts, LabValue
from dicom_node.engine.port import RUNS
from dicom_node.inference import repository as runs
from dicom_node.inference import waiting
from dicom_node.orders import step as orders
from dicom_node.orders.laboratory import Changed, Gone
from dicom_node.plugins import load_kind
from dicom_node.routing.settings import Rule
from dicom_node.stages.people import known_labs, newest_values
from dicom_node.stages.rooms import Rooms
from dicom_node.store.connect import reading
from dicom_node.store.story import tell
from dicom_node.store.tables import instance

#: How often it is looked whose waiting is over; and how often where no value was written since: patients may have been merged.
LOOK_SECONDS = 1.0
SELDOM_SECONDS = 10.0
#: Values for studies that were read longer ago are told of no more. A culture takes up to eight weeks.
LATE_DAYS = 90
_ROOM = "inference"


def takes_labs(pipeline: str) -> bool:
    """Say whether a pipeline takes laboratory values; of one that cannot be loaded the run itself tells."""
    try:
        return hasattr(load_kind("pipeline", pipeline), "lab_inputs")
    except Exception:  # broad on purpose: a pipeline may fail in any way while it is imported
        return False


def inputs_of_pipeline(name: str, settings: dict[str, Any], facts: HeaderFacts, labs: tuple[LabValue, ...]) -> tuple[LabInput, ...]:
    """Return what a pipeline takes from a laboratory, as it understands what is known."""
    pipeline = load_kind("pipeline", name)
    found: tuple[LabInput, ...] = pipeline.lab_inputs(facts, labs, pipeline.Settings(**settings))
    return found


def wait_until(rule: Rule, inputs: tuple[LabInput, ...], now_utc: float) -> float | None:
    """Return until when a run of this rule waits; ``None``: it has nothing to wait for."""
    if not rule.wait_for_labs_minutes or all(one.settled for one in inputs):
        return None
    return now_utc + rule.wait_for_labs_minutes * 60


def waiting_sentence(pipeline: str, inputs: tuple[LabInput, ...], minutes: float) -> str:
    """Return what the story says of a run that waits."""
    names = listed(one.name for one in inputs if not one.settled)
    return f"{pipeline}: waits for {names}, {minutes:g} minutes at most. A person can say them on the study's page."


class ClinicalData:
    """Ends the waiting of runs. One a process; what it keeps is only what spares judging twice by the same rows."""

    def __init__(self, rooms: Rooms, clock: Callable[[], float] = time.time) -> None:
        self._rooms, self._clock = rooms, clock
        self._mark: waiting.Mark | None = None
        self._at = 0.0
        self._judged: set[str] = set()  # runs that still waited when the tables of values were as they were then

    def look(self) -> int:
        """Queue every run whose values are known or whose time is over; return how many."""
        now = self._clock()
        with reading(self._rooms.database) as connection:
            found = runs.waiting_runs(connection)
            mark = newest_values(connection) if found else None
        if mark != self._mark or not 0 <= now - self._at < SELDOM_SECONDS:
            self._mark, self._at, self._judged = mark, now, set()
        ended = 0
        for stored in found:
            if stored.request.run_key in self._judged and now < (stored.wait_until_utc or now):
                continue
            try:
                ended += self._judge(stored, now)
            except Exception as error:  # broad on purpose: one run that cannot be judged must not keep the others waiting
                log.event("run.put_off", run=stored.request.run_key, study=stored.request.study_key, error=type(error).__name__)
        if ended:
            self._rooms.port.ring(RUNS)
        return ended

    def _judge(self, stored: runs.StoredRun, now_utc: float) -> bool:
        """Queue a run that need not wait any more; says whether it did."""
        request = stored.request
        # a clock that was set back makes nobody wait longer
        until = min(stored.wait_until_utc or now_utc, now_utc + stored.wait_minutes * 60)
        with reading(self._rooms.database) as connection:
            labs = known_labs(connection, request.study_key, waiting.patient_of(connection, request.run_key))
            facts = _facts_of(connection, request.study_key, stored.read)
        missing = _missing(stored, facts, labs)
        if missing and now_utc < until:
            if stored.wait_until_utc != until:
                with self._rooms.database.begin() as connection:
                    waiting.bring_forward(connection, request.run_key, until)
            self._judged.add(request.run_key)
            return False
        text = f"{request.pipeline}: waits no longer; nothing is left to wait for."
        if missing:
            text = f"{request.pipeline}: {listed(missing)} did not come within {stored.wait_minutes:g} minutes; it goes on without."
        return self._go_on(stored, text, now_utc)

    def _go_on(self, stored: runs.StoredRun, text: str, now_utc: float) -> bool:
        """Queue the run and submit its workflow: one transaction."""
        request = stored.request
        with self._rooms.database.begin() as connection:
            if not waiting.end_wait(connection, request.run_key, now_utc):
                return False  # cancelled meanwhile
            tell(connection, request.study_key, _ROOM, "run.waited", text)
            self._rooms.port.submit_run(connection, request.run_key, place_in_queue(request.priority, now_utc))
        log.event("run.waited", run=request.run_key, study=request.study_key, pipeline=request.pipeline)
        return True


def _missing(stored: runs.StoredRun, facts: HeaderFacts | None, labs: tuple[LabValue, ...]) -> list[str]:
    """Return the names of what is not settled; of nothing where the pipeline cannot be asked any more: the run itself tells why."""
    if facts is None or not takes_labs(stored.request.pipeline):
        return []
    try:
        inputs = inputs_of_pipeline(stored.request.pipeline, stored.settings, facts, labs)
    except Exception as error:  # broad on purpose: settings that another version wrote, or a pipeline's defect
        log.event("run.not_judged", run=stored.request.run_key, study=stored.request.study_key, error=type(error).__name__)
        return []
    return [one.name for one in inputs if not one.settled]


def values_changed(connection: sa.Connection, changed: Changed) -> None:
    """Tell of studies whose run had begun before a value came, or had read one that is corrected or taken back now.

    In the transaction that keeps it.
    """
    now = time.time()
    numbers = {key.partition("|")[0] for key in orders.one_person(connection, changed.patient)}
    for row in waiting.runs_taking(connection, numbers, now - LATE_DAYS * 86400):
        gone = [one for one in changed.gone if one.code in row.codes]
        came = not changed.came.isdisjoint(row.codes)
        if not (gone or came) or changed.patient not in orders.lab_keys(connection, row.number, row.issuer):
            continue
        for one in gone:
            if _had_read(connection, row, one):
                waiting.tell_changed(connection, row, "corrected" if one.corrected else "taken back")
        if came:
            waiting.tell_late(connection, row, "came", now)


def _had_read(connection: sa.Connection, row: sa.Row[Any], gone: Gone) -> bool:
    """Say whether a value held when a run began."""
    read = row.request.get("labs_read")
    known = orders.labs_of(connection, row.number, row.issuer, waiting.Mark(*read).lab_result_id) if read is not None else []
    return any((one.code, one.observed_utc, one.value) == (gone.code, gone.observed_utc, gone.value) for one in known)


def _facts_of(connection: sa.Connection, study_key: str, read: tuple[str, ...]) -> HeaderFacts | None:
    """Return the header of the first image to be read; ``None``: it is there no more."""
    c = instance.c
    query = sa.select(c.facts).where(c.study_key == study_key, c.sop_instance_uid == read[0], c.state == "current")
    facts = connection.execute(query.limit(1)).scalar() if read else None
    return None if facts is None else HeaderFacts.from_json(facts)
