"""inference -> results -> delivery: the three steps of a run. Each may run twice and then changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.artifact import Artifact
from dicom_node.core.errors import BundleError, DeviceError, PipelineError
from dicom_node.core.findings import Abstention, Findings, Flag
from dicom_node.core.run import RunRequest, Selection
from dicom_node.core.study import Study
from dicom_node.core.summary import summary_line
from dicom_node.delivery import step as delivery
from dicom_node.engine.port import DELIVERIES
from dicom_node.inference import bundles as inference_bundles
from dicom_node.inference import repository as runs
from dicom_node.inference import waiting
from dicom_node.inference.findings_store import drop_arrays, has_findings, load_findings, load_outcome, save_findings
from dicom_node.inference.runner import PipelineJob, PipelineProcess
from dicom_node.inference.shown import keep_shown
from dicom_node.results import repository as artifacts
from dicom_node.results import step as results
from dicom_node.results.context import ResultContext
from dicom_node.stages.answers.case import tell_unanswered
from dicom_node.stages.clinical_data import takes_labs
from dicom_node.stages.flags import FLAGS, may_raise_flag
from dicom_node.stages.people import newest_values, with_known_age, with_known_labs
from dicom_node.stages.reports import report_is_final
from dicom_node.stages.rooms import FOR_NOW, Rooms
from dicom_node.store.connect import reading
from dicom_node.store.standing import objection
from dicom_node.store.story import read_story, tell
from dicom_node.studies import step as studies

#: How often a pipeline is tried before its failure becomes a refusal. It runs in a child process, so a crash is caught here.
MAX_TRIES = 3
#: Deaths of the worker itself that a run may see. Generous: a power cut counts against every run on the host.
MAX_CRASHES = 20


def _goes_on(connection: sa.Connection, stored: runs.StoredRun) -> bool:
    """Say whether there is anything left to do for the run; one whose study was corrected or held meanwhile is cancelled here."""
    if stored.state not in runs.ACTIVE:
        return False
    request = stored.request
    against = objection(connection, request.study_key, stored.study_revision)
    if against and runs.finish_run(connection, request.run_key, "cancelled", None):
        text = f"{request.pipeline}: result {request.revision} is not made. {against}"
        tell(connection, request.study_key, "inference", "run.cancelled", text)
    return not against


def give_up(connection: sa.Connection, stored: runs.StoredRun, error: str) -> None:
    """Close a run that not even a refusal can be written for: the story says so, and it is not begun again."""
    request = stored.request
    text = f"{request.pipeline}: no answer can be written for a technical reason ({error}); a person must look."
    refusal = _technical_refusal(stored, text)
    if not runs.finish_run(connection, request.run_key, "failed", summary_line(request.study_key, refusal)):
        return
    tell(connection, request.study_key, "results", "run.failed", text, "pipeline_failed")
    log.event("run.failed", run=request.run_key, study=request.study_key, error=error)


def _technical_refusal(stored: runs.StoredRun, problem: str) -> Findings:
    abstention = Abstention("pipeline_failed", problem)
    return Findings(pipeline=stored.request.pipeline, not_read=stored.not_read, abstention=abstention)


def wait(rooms: Rooms, key: str, error: Exception) -> None:
    """Put a run back that cannot go on for now; the sweep submits it again. Told once."""
    log.event("run.waiting", run=key, error=type(error).__name__)
    with rooms.database.begin() as connection:
        stored = runs.load_run(connection, key)
        why = str(error) if isinstance(error, DeviceError) else type(error).__name__
        text = f"{stored.request.pipeline}: cannot go on for now ({why}); it is tried again."
        if runs.wait_again(connection, key) and all(line.text != text for line in read_story(connection, stored.request.study_key)):
            tell(connection, stored.request.study_key, "inference", "run.waiting", text)


def analyse(rooms: Rooms, process: PipelineProcess, key: str) -> None:
    """Run the pipeline; its findings, or the reason why there are none, lie in the run's folder afterwards."""
    folder = rooms.home.results / key
    with rooms.database.begin() as connection:
        stored = runs.begin_run(connection, key)
        if not _goes_on(connection, stored):
            return
        study, _ = with_known_age(connection, studies.load_study(connection, stored.request.study_key, rooms.home.path))
        if takes_labs(stored.request.pipeline):
            mark = waiting.begin_reading(connection, key, newest_values(connection))
            study = replace(with_known_labs(connection, study, mark), waited_minutes=stored.wait_minutes)
    if has_findings(folder):
        return
    if rooms.guard.before_analysis(stored.request.study_key):
        with rooms.database.begin() as connection:
            _goes_on(connection, stored)  # it is held now: cancelled
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
        # device and threads belong to the machine that runs it, not to the one that routed the study
        settings={**stored.settings, "threads": rooms.settings.inference.threads, "device": rooms.settings.inference.device},
    )
    problem = "the analysis stopped the process that ran it, again and again"
    for _ in range(MAX_TRIES if stored.crashes < MAX_CRASHES else 0):
        try:
            spent = process.run(job, rooms.settings.inference.timeout_seconds)
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
            log.event("run.computed", run=request.run_key, study=request.study_key, model_seconds=round(spent, 4))
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
        findings = _findings_of(stored, folder)
        may_flag = may_raise_flag(rooms, stored, study, findings)
        made = _results_of(rooms, stored, study, findings, predecessors, may_flag=may_flag)
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
                give_up(connection, stored, type(second).__name__)
            return
        save_findings(folder, refusal)
    artifacts.write_artifacts(rooms.home.results, made)
    with rooms.database.begin() as connection:
        artifacts.record_artifacts(connection, made)
        facts = [instance.facts for instance in study.instances]
        numbers = [number for one in facts for number in (one.accession_number, *one.requested_accessions)]
        artifacts.record_accessions(connection, key, numbers)


def _findings_of(stored: runs.StoredRun, folder: Path) -> Findings:
    """Return what the pipeline found, and that the study was incomplete where it was; kept, so that every list says it too."""
    findings = load_findings(folder)
    if not stored.request.incomplete:
        return findings
    warned = findings.warned(Flag("incomplete_study", stored.request.incomplete))
    if warned is not findings:
        save_findings(folder, warned)
    return warned


def _results_of(
    rooms: Rooms,
    stored: runs.StoredRun,
    study: Study,
    findings: Findings,
    predecessors: tuple[tuple[str, str, str], ...],
    *,
    may_flag: bool = True,
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
        may_flag=may_flag,
    )
    wanted = delivery.wanted_roles(request.outputs, targets)
    return results.build_results(context, wanted if may_flag else [role for role in wanted if role not in FLAGS])


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
    evidence = evidence_of_result(findings, request)
    with rooms.database.begin() as connection:
        if not _goes_on(connection, runs.load_run(connection, key)) or not runs.finish_run(connection, key, findings.status, line):
            return
        tell(connection, request.study_key, "inference", f"run.{findings.status}", _outcome(findings, line), line["reason_key"])
        tell_unanswered(connection, request.study_key, request.predecessor, request.revision)
        reported = report_is_final(connection, request.study_key)
        targets = _targets(rooms, request)
        delivery.plan_deliveries(connection, request, evidence, made, targets, rooms.port.submit_delivery, reported=reported)
    rooms.port.ring(DELIVERIES)
    keep_shown(rooms.home.results / key)  # after the deliveries have begun; a page that finds nothing makes it of the arrays
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


def evidence_of_result(findings: Findings, request: RunRequest) -> str:
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
    return Selection(read=read, not_read=stored.not_read, refusal=stored.refusal, detail=stored.detail, marked=stored.marked)
