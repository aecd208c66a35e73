"""START HERE: the way of a study through the node, room after room.

::

    reception  an instance is on disk and in the database, and only then acknowledged     (InstanceStored)
    studies    the deadline passes, the archive agrees where it is asked: complete        (sweep_due_studies)
    routing    rules say which pipelines run, and why the others do not                   (start_study)
    inference  the pipeline runs in a child process                                       (step "analyse")
    results    overlay, reports, segmentations, messages are built                        (step "build")
    delivery   each destination gets its own, one attempt a workflow                      (step "plan", workflow "deliver")
               sent, then proven                                                          (stages/proof.py)

Beside the way, ``orders`` takes HL7 messages; a run may wait for laboratory values before it is queued, as a row with a deadline
(``stages/clinical_data.py``). Before "analyse" and before every attempt ``stages/guard.py`` asks them and the
archives whose study it is now. What an answer does to a result that was given: ``stages/answers/after_answer.py``.

Rows are the truth. A row and the workflow that acts on it are written in one transaction, so a power cut leaves both or neither;
every step may run twice. ``sweep_unfinished`` submits again whatever has a row but no living workflow.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.run import place_in_queue
from dicom_node.delivery import step as delivery
from dicom_node.engine import port
from dicom_node.inference import repository as runs
from dicom_node.inference.findings_store import has_findings
from dicom_node.inference.runner import PipelineProcess
from dicom_node.plugins import load_kind
from dicom_node.results import step as results
from dicom_node.stages.reports import report_is_final
from dicom_node.stages.rooms import FOR_NOW, Rooms
from dicom_node.stages.run import MAX_CRASHES, analyse, build, give_up, plan, wait
from dicom_node.stages.start import start_study
from dicom_node.stages.withdraw import withdraw_void
from dicom_node.store.connect import reading
from dicom_node.studies import step as studies

#: A study that could not be started is looked at again after this time, so that it does not stand in the way of the others.
PUT_OFF_SECONDS = 30.0
#: No study waits longer at a time, if not for its ceiling: neither for what may still come nor for an archive that is asked.
LONGEST_WAIT_SECONDS = 900.0
#: A run that was requested just now has its workflow in the making.
GRACE_SECONDS = 5.0


def register(rooms: Rooms, process: PipelineProcess) -> None:
    """Declare the workflows. Their ids are ``run:<run_key>`` and ``dlv:<delivery_id>:<attempt>``."""
    destinations = rooms.settings.destinations
    turns = delivery.make_turns(destinations)

    @port.step("analyse")
    def analyse_step(key: str) -> None:
        _patiently(rooms, key, lambda: analyse(rooms, process, key))

    @port.step("build")
    def build_step(key: str) -> None:
        _patiently(rooms, key, lambda: build(rooms, key))

    @port.step("plan")
    def plan_step(key: str) -> None:
        _patiently(rooms, key, lambda: plan(rooms, key))

    @port.workflow("run")
    def run(key: str) -> None:
        analyse_step(key)
        build_step(key)
        plan_step(key)

    @port.step("attempt")
    def attempt_step(delivery_id: str, attempt: int) -> None:
        guard = rooms.guard.before_sending
        with contextlib.suppress(delivery.Gone):  # erased while it waited, or on its way
            receipt = delivery.attempt_delivery(
                rooms.database, delivery_id, attempt, destinations, rooms.home.results, turns, guard, report_is_final
            )
            delivery.settle_delivery(rooms.database, delivery_id, attempt, receipt, destinations, rooms.port.submit_delivery)
        rooms.port.ring(port.DELIVERIES)  # what waits behind this one at the destination

    @port.workflow("deliver")
    def deliver(delivery_id: str, attempt: int) -> None:
        attempt_step(delivery_id, attempt)


def warm(settings: NodeSettings) -> None:
    """Import what builds and sends results, so that the first study does not wait for it."""
    for name in {d.kind for d in settings.destinations.values()}:
        load_kind("destination", name)
    for role in {role for d in settings.destinations.values() for role in d.outputs}:
        load_kind("output", role.partition(":")[0])
    results.load_tables()


def _patiently(rooms: Rooms, key: str, step: Callable[[], None]) -> None:
    try:
        step()
    except FOR_NOW as error:
        with contextlib.suppress(sa.exc.SQLAlchemyError):  # when it is the database that fails, the sweep finds the run as it is
            wait(rooms, key, error)
        raise


def sweep_due_studies(rooms: Rooms) -> int:
    """Start every study whose deadline has passed; return how many were due. Safe to call at any time, from one process.

    The newest and the longest overdue take turns: behind a backlog of thousands an urgent study is seen at once, and no old one is
    forgotten. What a rejection made void is withdrawn first, although its study still waits for what follows.
    """
    withdraw_revised(rooms)
    seen: set[str] = set()
    while due := _first_and_last(rooms, seen):
        for study_key in due:
            seen.add(study_key)
            _start(rooms, study_key)
        withdraw_revised(rooms)  # a long backlog must not keep a wrong result standing
    return len(seen)


def withdraw_revised(rooms: Rooms) -> int:
    """Withdraw what was made for an earlier revision of studies that are open; return how many answers."""
    with reading(rooms.database) as connection:
        revised = studies.voided_studies(connection)
    withdrawn = 0
    for study_key in revised:
        try:
            withdrawn += withdraw_void(rooms, study_key)
        except Exception as error:  # broad on purpose: as below; the next sweep tries again
            log.event("withdrawal.put_off", study=study_key, error=type(error).__name__)
    return withdrawn


def _first_and_last(rooms: Rooms, seen: set[str]) -> list[str]:
    with reading(rooms.database) as connection:
        due = [key for key in studies.due_studies(connection, time.time()) if key not in seen]
    return list(dict.fromkeys((due[-1], due[0]))) if due else []


def _start(rooms: Rooms, study_key: str) -> None:
    now = time.time()
    try:
        start_study(rooms, study_key, now)
    except Exception as error:  # broad on purpose: one study that cannot be started must not stop the others
        log.event("study.put_off", study=study_key, error=type(error).__name__)
        text = f"The study cannot be started ({type(error).__name__}); it is tried again every {PUT_OFF_SECONDS:g} s."
        with rooms.database.begin() as connection:
            studies.put_off(connection, study_key, now, PUT_OFF_SECONDS, text)


def start_due_studies(rooms: Rooms) -> float | None:
    """Start what is due; return in how many seconds the next study will be, ``None`` when none waits."""
    sweep_due_studies(rooms)
    with reading(rooms.database) as connection:
        deadline = studies.next_deadline(connection)
    return None if deadline is None else deadline - time.time()


def sweep_unfinished(rooms: Rooms) -> int:
    """Submit again each run and delivery that has a row but no living workflow; return how many.

    Level-triggered on purpose: every pass asks the rows, so a pass that failed or came too early is repaired by the next.
    """
    submitted = 0
    alive = {workflow_id.split(":")[1] for workflow_id in rooms.port.alive("run:")}
    with rooms.database.begin() as connection:
        studies.clock_was_set_back(connection, time.time(), max(LONGEST_WAIT_SECONDS, rooms.settings.studies.ceiling_seconds))
        for stored in runs.unfinished_runs(connection):
            key = stored.request.run_key
            if key in alive or 0 <= time.time() - stored.request.requested_at.timestamp() < GRACE_SECONDS:
                continue
            if stored.state == "running":  # its worker died; what only waits was put back to "queued"
                if stored.crashes >= MAX_CRASHES and has_findings(rooms.home.results / key):
                    give_up(connection, stored, "the worker dies in it")  # analysed, but never built
                    continue
                runs.count_resubmission(connection, key)
            place = place_in_queue(stored.request.priority, stored.request.requested_at.timestamp())
            rooms.port.submit_run(connection, key, place, int(time.time()))
            submitted += 1
    alive = {workflow_id.split(":")[1] for workflow_id in rooms.port.alive("dlv:")}
    with rooms.database.begin() as connection:
        submitted += delivery.resubmit_lost(connection, alive, rooms.port.submit_delivery)
    if submitted:
        rooms.port.ring(port.RUNS)
        rooms.port.ring(port.DELIVERIES)
        log.event("sweep.resubmitted", count=submitted)
    return submitted
