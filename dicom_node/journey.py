"""START HERE: the way of a study through the node, room after room.

::

    reception  an instance is on disk and in the database, and only then acknowledged     (InstanceStored)
    studies    the deadline passes: the study is complete                                 (sweep_due_studies)
    routing    rules say which pipelines run, and why the others do not                   (start_study)
    inference  the pipeline runs in a child process                                       (step "analyse")
    results    overlay, reports, segmentations, messages are built                        (step "build")
    delivery   each destination gets its own, one attempt a workflow                      (step "plan", workflow "deliver")

Rows are the truth. A row and the workflow that acts on it are written in one transaction, so a power cut leaves both or neither;
every step may run twice. ``sweep_unfinished`` submits again whatever has a row but no living workflow.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.artifact import Artifact
from dicom_node.core.errors import BundleError, PipelineError, StoreError
from dicom_node.core.findings import Abstention, Findings
from dicom_node.core.run import RunRequest, Selection, run_key
from dicom_node.core.study import Study
from dicom_node.core.summary import summary_line
from dicom_node.delivery import step as delivery
from dicom_node.engine import port
from dicom_node.home import Home
from dicom_node.inference import bundles as inference_bundles
from dicom_node.inference import repository as runs
from dicom_node.inference.findings_store import drop_arrays, has_findings, load_findings, load_outcome, save_findings
from dicom_node.inference.runner import PipelineJob, PipelineProcess
from dicom_node.plugins import load_kind
from dicom_node.results import repository as artifacts
from dicom_node.results import step as results
from dicom_node.results.context import ResultContext
from dicom_node.routing import step as routing
from dicom_node.routing.settings import Rule
from dicom_node.store.connect import reading
from dicom_node.store.standing import objection
from dicom_node.store.story import read_story, tell
from dicom_node.studies import step as studies

#: How often a pipeline is tried before its failure becomes a refusal. It runs in a child process, so a crash is caught here.
MAX_TRIES = 3
#: Deaths of the worker itself that a run may see. Generous: a power cut counts against every run on the host.
MAX_CRASHES = 20
#: A study that could not be started is looked at again after this time, so that it does not stand in the way of the others.
PUT_OFF_SECONDS = 30.0
#: What passes by itself (disk, database, a node that is stopping): the run waits, and nothing is said about the images.
FOR_NOW = (OSError, sa.exc.SQLAlchemyError, StoreError)


@dataclass(frozen=True)
class Rooms:
    """What the walk needs: the home, its settings, the database, the way to submit work."""

    home: Home
    settings: NodeSettings
    database: sa.Engine
    port: port.Port

    @property
    def bundle_roots(self) -> tuple[Path, ...]:
        """Where bundles are looked for: the site's, then the shipped ones."""
        return (self.home.bundles, *inference_bundles.SHIPPED)


# ---------------------------------------------------------------- studies -> routing -> the run's row and its workflow


def sweep_due_studies(rooms: Rooms) -> int:
    """Start every study whose deadline has passed; return how many were due. Safe to call at any time, from one process."""
    now = time.time()
    with reading(rooms.database) as connection:
        due = studies.due_studies(connection, now)
    for study_key in due:
        try:
            start_study(rooms, study_key, now)
        except Exception as error:  # broad on purpose: one study that cannot be started must not stop the others
            log.event("study.put_off", study=study_key, error=type(error).__name__)
            text = f"The study cannot be started ({type(error).__name__}); it is tried again every {PUT_OFF_SECONDS:g} s."
            with rooms.database.begin() as connection:
                studies.put_off(connection, study_key, now, PUT_OFF_SECONDS, text)
    return len(due)


def start_study(rooms: Rooms, study_key: str, now: float) -> None:
    """Route one complete study: reasons, run rows and their workflows in one transaction.

    Everything slow (comparing pixels, reading headers, verifying bundles) comes before it, so reception never waits for the lock;
    an object that arrives after ``now`` moves the deadline, and then the study is started at a later sweep instead.
    """
    if studies.settle_arrivals(rooms.database, study_key, rooms.home.path, now=now) is not studies.Settlement.READY:
        return
    with reading(rooms.database) as connection:
        study = studies.load_study(connection, study_key, rooms.home.path)
    decision = routing.choose_routes(study, rooms.settings.routing, dt.datetime.now(dt.UTC), rooms.settings.site.tzinfo())
    planned = [_plan_run(rooms, study, route.rule) for route in decision.routes]
    with rooms.database.begin() as connection:
        if not studies.mark_routed(connection, study_key, now):
            return
        for sentence in decision.reasons:
            tell(connection, study_key, "routing", "rule.evaluated", sentence, decision.held)
        if decision.held:
            studies.hold(connection, study_key, decision.held, decision.summary)
        for run in planned:
            _request_run(rooms, connection, study, run)


@dataclass(frozen=True)
class _PlannedRun:
    rule: Rule
    selection: Selection
    bundles: inference_bundles.ChosenBundles
    settings: dict[str, Any]


def _plan_run(rooms: Rooms, study: Study, rule: Rule) -> _PlannedRun:
    """Say which images the pipeline would read and with which bundles."""
    pipeline = load_kind("pipeline", rule.pipeline)
    settings = inference_bundles.pipeline_settings(rooms.settings.inference, rule)
    selection: Selection = pipeline.select_images(study, pipeline.Settings(**settings))
    chosen = inference_bundles.choose(pipeline.NEEDS, rule.bundles, rooms.bundle_roots, rule.policy)
    return _PlannedRun(rule, selection, chosen, settings)


def _request_run(rooms: Rooms, connection: sa.Connection, study: Study, planned: _PlannedRun) -> None:
    """Write the run's row and submit its workflow, unless the images read are those of the last result."""
    rule, selection, chosen = planned.rule, planned.selection, planned.bundles
    read = tuple(i.sop_instance_uid for i in selection.read)
    last = runs.latest_run(connection, study.study_key, rule.pipeline)
    if last is not None and set(last.read) == set(read) and last.study_revision == study.revision:
        tell(
            connection,
            study.study_key,
            "routing",
            "run.unneeded",
            f"{rule.pipeline}: what arrived changes none of the images read.",
        )
        return
    revision = runs.next_revision(connection, study.study_key, rule.pipeline)
    request = RunRequest(
        run_key=run_key(study.study_instance_uid, selection.read, rule.pipeline, chosen.hashes, chosen.policy_hash, revision),
        study_key=study.study_key,
        study_instance_uid=study.study_instance_uid,
        pipeline=rule.pipeline,
        rule=rule.name,
        revision=revision,
        policy=rule.policy,
        release=rule.release,
        priority=rule.priority,
        destinations=rule.destinations,
        outputs=rule.outputs,
        requested_at=dt.datetime.now(dt.UTC).replace(microsecond=0),
        bundles={name: str(folder) for name, folder in chosen.folders.items()},
        predecessor=last.request.run_key if last else "",
    )
    runs.insert_run(
        connection,
        request,
        read=read,
        not_read=selection.not_read,
        refusal=selection.refusal or ("pipeline_failed" if chosen.problem else ""),
        detail=selection.detail or chosen.problem,
        study_revision=study.revision,
        settings=planned.settings,
    )
    rooms.port.submit_run(connection, request.run_key, int(request.priority))
    text = f'{rule.pipeline} requested by rule "{rule.name}", result {revision}, {len(read)} image(s) to read.'
    tell(connection, study.study_key, "routing", "run.requested", text)


# ---------------------------------------------------------------- inference -> results -> delivery


def _goes_on(connection: sa.Connection, stored: runs.StoredRun) -> bool:
    """Say whether there is anything left to do for the run; one whose study was corrected or held meanwhile is cancelled here."""
    if stored.state not in runs.ACTIVE:
        return False
    request = stored.request
    against = objection(connection, request.study_key, stored.study_revision)
    if against:
        runs.finish_run(connection, request.run_key, "cancelled", None)
        text = f"{request.pipeline}: result {request.revision} is not made. {against}"
        tell(connection, request.study_key, "inference", "run.cancelled", text)
    return not against


def _give_up(connection: sa.Connection, stored: runs.StoredRun, error: str) -> None:
    """Close a run that not even a refusal can be written for: the story says so, and it is not begun again."""
    request = stored.request
    text = f"{request.pipeline}: no answer can be written for a technical reason ({error}); a person must look."
    refusal = _technical_refusal(stored, text)
    runs.finish_run(connection, request.run_key, "failed", summary_line(request.study_key, refusal))
    tell(connection, request.study_key, "results", "run.failed", text, "pipeline_failed")
    log.event("run.failed", run=request.run_key, study=request.study_key, error=error)


def _technical_refusal(stored: runs.StoredRun, problem: str) -> Findings:
    abstention = Abstention("pipeline_failed", problem)
    return Findings(pipeline=stored.request.pipeline, not_read=stored.not_read, abstention=abstention)


def _wait(rooms: Rooms, key: str, error: Exception) -> None:
    """Put a run back that cannot go on for now; the sweep submits it again. Told once."""
    log.event("run.waiting", run=key, error=type(error).__name__)
    with rooms.database.begin() as connection:
        stored = runs.load_run(connection, key)
        text = f"{stored.request.pipeline}: cannot go on for now ({type(error).__name__}); it is tried again."
        if runs.wait_again(connection, key) and all(line.text != text for line in read_story(connection, stored.request.study_key)):
            tell(connection, stored.request.study_key, "inference", "run.waiting", text)


def analyse(rooms: Rooms, process: PipelineProcess, key: str) -> None:
    """Run the pipeline; its findings, or the reason why there are none, lie in the run's folder afterwards."""
    folder = rooms.home.results / key
    with rooms.database.begin() as connection:
        stored = runs.begin_run(connection, key)
        if not _goes_on(connection, stored):
            return
        study = studies.load_study(connection, stored.request.study_key, rooms.home.path)
    if has_findings(folder):
        return
    started = time.monotonic()
    selection = _selection(stored, study)
    if stored.refusal:
        findings = Findings(
            pipeline=stored.request.pipeline, not_read=stored.not_read, abstention=Abstention(stored.refusal, stored.detail)
        )
    else:
        findings_or_none = _run_pipeline(rooms, process, stored, study, selection, folder)
        if findings_or_none is None:
            log.event("run.finished", run=key, study=stored.request.study_key, seconds=round(time.monotonic() - started, 3))
            return
        findings = findings_or_none
    save_findings(folder, findings)


def _run_pipeline(
    rooms: Rooms, process: PipelineProcess, stored: runs.StoredRun, study: Study, selection: Selection, folder: Path
) -> Findings | None:
    """Run it; ``None`` when the child wrote the findings itself, else the refusal that stands for them."""
    request = stored.request
    job = PipelineJob(
        pipeline=request.pipeline,
        study=study,
        selection=selection,
        bundles={name: Path(path) for name, path in request.bundles.items()},
        policy=request.policy,
        folder=folder,
        settings=stored.settings,
    )
    problem = "the analysis stopped the process that ran it, again and again"
    for _ in range(MAX_TRIES if stored.crashes < MAX_CRASHES else 0):
        try:
            process.run(job, rooms.settings.inference.timeout_seconds)
        except PipelineError as error:
            problem = str(error)
            log.event("run.failed", run=request.run_key, study=request.study_key, error=problem)
        except BundleError as error:
            problem = str(error)
            break
        except FOR_NOW:
            raise
        except Exception as error:  # a job that cannot even be handed to the child; the type only, a message may quote the header
            problem = f"unexpected {type(error).__name__}"
            log.event("run.failed", run=request.run_key, study=request.study_key, error=problem)
            break
        else:
            return None
    return _technical_refusal(stored, problem)


def build(rooms: Rooms, key: str) -> None:
    """Build what the destinations take; bytes first, rows second. What is built and whole is not built again.

    A result that cannot be written becomes a coded refusal; when that cannot be written either, the run is closed as failed.
    """
    folder = rooms.home.results / key
    with rooms.database.begin() as connection:
        stored = runs.load_run(connection, key)
        if not _goes_on(connection, stored) or artifacts.are_whole(connection, rooms.home.results, key):
            return
        study = studies.load_study(connection, stored.request.study_key, rooms.home.path)
        predecessors = artifacts.predecessors_of(connection, stored.request.predecessor) if stored.request.predecessor else ()
    try:
        made = _results_of(rooms, stored, study, load_findings(folder), predecessors)
    except FOR_NOW:
        raise
    except Exception as error:  # an output that fails must not leave the study without an answer
        log.event("run.failed", run=key, study=study.study_key, error=type(error).__name__)
        refusal = _technical_refusal(stored, f"the result could not be written ({type(error).__name__})")
        try:
            made = _results_of(rooms, stored, study, refusal, predecessors)
        except FOR_NOW:
            raise
        except Exception as second:
            with rooms.database.begin() as connection:
                _give_up(connection, stored, type(second).__name__)
            return
        save_findings(folder, refusal)
    artifacts.write_artifacts(rooms.home.results, made)
    with rooms.database.begin() as connection:
        artifacts.record_artifacts(connection, made)


def _results_of(
    rooms: Rooms, stored: runs.StoredRun, study: Study, findings: Findings, predecessors: tuple[tuple[str, str, str], ...]
) -> tuple[Artifact, ...]:
    request = stored.request
    targets = _targets(rooms, request)
    context = ResultContext(
        run=request,
        findings=findings,
        study=study,
        settings=rooms.settings.results,
        timezone=rooms.settings.site.tzinfo(),
        unvalidated=is_unvalidated(findings),
        predecessors=predecessors,
    )
    return results.build_results(context, delivery.wanted_roles(request.outputs, targets))


def plan(rooms: Rooms, key: str) -> None:
    """Plan a delivery for each artifact and destination, and close the run: one transaction."""
    with reading(rooms.database) as connection:
        stored = runs.load_run(connection, key)
        if stored.state not in runs.ACTIVE:
            return
        request = stored.request
        findings = load_outcome(rooms.home.results / key)
        made = artifacts.load_artifacts(connection, rooms.home.results, key)
    line = summary_line(request.study_key, findings)
    evidence = _evidence(findings, request)
    with rooms.database.begin() as connection:
        if not _goes_on(connection, runs.load_run(connection, key)):
            return
        runs.finish_run(connection, key, findings.status, line)
        tell(connection, request.study_key, "inference", f"run.{findings.status}", _outcome(findings, line), line["reason_key"])
        delivery.plan_deliveries(connection, request, evidence, made, _targets(rooms, request), rooms.port.submit_delivery)
    drop_arrays(rooms.home.results / key)
    log.event(
        "run.planned",
        run=key,
        study=request.study_key,
        pipeline=request.pipeline,
        state=findings.status,
        zone=line["zone"],
        code=line["code"],
    )


def _outcome(findings: Findings, line: Mapping[str, Any]) -> str:
    return f"{findings.pipeline}: {line['reason'] or line['headline']}"


def _evidence(findings: Findings, request: RunRequest) -> str:
    """Return the evidence of the bundle that decided; of a refusal by header, of the one that would have."""
    if findings.bundles:
        return findings.bundles[0].evidence
    return inference_bundles.evidence_of([Path(folder) for folder in request.bundles.values()])


def is_unvalidated(findings: Findings) -> bool:
    """Say whether outputs must print UNVALIDATED MODEL: any bundle below external evidence."""
    return any(bundle.evidence != "external" for bundle in findings.bundles)


def _targets(rooms: Rooms, request: RunRequest) -> dict[str, Any]:
    return {name: rooms.settings.destinations[name] for name in request.destinations if name in rooms.settings.destinations}


def _selection(stored: runs.StoredRun, study: Study) -> Selection:
    read = tuple(study.instance(uid) for uid in stored.read)
    return Selection(read=read, not_read=stored.not_read, refusal=stored.refusal, detail=stored.detail)


# ---------------------------------------------------------------- the durable workflows


def register(rooms: Rooms, process: PipelineProcess) -> None:
    """Declare the workflows. Their ids are ``run:<run_key>`` and ``dlv:<delivery_id>:<attempt>``."""

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
        receipt = delivery.attempt_delivery(rooms.database, delivery_id, attempt, rooms.settings.destinations, rooms.home.results)
        delivery.settle_delivery(
            rooms.database, delivery_id, attempt, receipt, rooms.settings.destinations, rooms.port.submit_delivery
        )

    @port.workflow("deliver")
    def deliver(delivery_id: str, attempt: int) -> None:
        attempt_step(delivery_id, attempt)


def _patiently(rooms: Rooms, key: str, step: Callable[[], None]) -> None:
    try:
        step()
    except FOR_NOW as error:
        with contextlib.suppress(sa.exc.SQLAlchemyError):  # when it is the database that fails, the sweep finds the run as it is
            _wait(rooms, key, error)
        raise


def sweep_unfinished(rooms: Rooms) -> int:
    """Submit again each run and delivery that has a row but no living workflow; return how many.

    Level-triggered on purpose: every pass asks the rows, so a pass that failed or came too early is repaired by the next.
    """
    submitted = 0
    alive = {workflow_id.split(":")[1] for workflow_id in rooms.port.alive("run:")}
    with rooms.database.begin() as connection:
        for stored in runs.unfinished_runs(connection):
            key = stored.request.run_key
            if key in alive or not _is_old(stored):
                continue
            if stored.state == "running":  # its worker died; what only waits was put back to "queued"
                if stored.crashes >= MAX_CRASHES and has_findings(rooms.home.results / key):
                    _give_up(connection, stored, "the worker dies in it")  # analysed, but never built
                    continue
                runs.count_resubmission(connection, key)
            rooms.port.submit_run(connection, key, int(stored.request.priority), int(time.time()))
            submitted += 1
    alive = {workflow_id.split(":")[1] for workflow_id in rooms.port.alive("dlv:")}
    with rooms.database.begin() as connection:
        submitted += delivery.resubmit_lost(connection, alive, rooms.port.submit_delivery)
    if submitted:
        log.event("sweep.resubmitted", count=submitted)
    return submitted


def _is_old(stored: runs.StoredRun) -> bool:
    return time.time() - stored.request.requested_at.timestamp() > 5
