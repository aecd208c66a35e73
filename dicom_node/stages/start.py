"""studies -> routing -> the run's row and its workflow, in one transaction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.core.laboratory import LabInput
from dicom_node.core.run import RunRequest, Selection, place_in_queue, run_key
from dicom_node.core.study import Study
from dicom_node.engine.port import RUNS
from dicom_node.inference import bundles as inference_bundles
from dicom_node.inference import repository as runs
from dicom_node.inference import waiting
from dicom_node.inference.child import WarmUp
from dicom_node.plugins import load_kind
from dicom_node.routing import step as routing
from dicom_node.routing.settings import Rule
from dicom_node.stages.clinical_data import inputs_of_pipeline, takes_labs, wait_until, waiting_sentence
from dicom_node.stages.complete import held_as_incomplete, incomplete_sentence
from dicom_node.stages.opt_outs import held_as_opted_out
from dicom_node.stages.people import known_labs, with_known_age
from dicom_node.stages.reports import most_urgent, report_is_final
from dicom_node.stages.rooms import Rooms
from dicom_node.stages.withdraw import withdraw_void
from dicom_node.store.connect import reading
from dicom_node.store.story import tell
from dicom_node.studies import step as studies
from dicom_node.studies.evidence import Next, Standing
from dicom_node.studies.patients import one_patient


def start_study(rooms: Rooms, study_key: str, now: float) -> None:
    """Route one complete study: reasons, run rows and their workflows in one transaction.

    Everything slow (comparing pixels, reading headers, verifying bundles) comes before it, so reception never waits for the lock;
    an object that arrives after ``now`` moves the deadline, and then the study is started at a later sweep instead.
    """
    settled = studies.settle_arrivals(rooms.database, study_key, rooms.home.path, now=now)
    withdraw_void(rooms, study_key)
    if settled is not studies.Settlement.READY:
        return
    with reading(rooms.database) as connection:
        study, notes = with_known_age(connection, studies.load_study(connection, study_key, rooms.home.path))
    if held_as_opted_out(rooms.database, rooms.home, study, now):
        return
    decision = routing.choose_routes(study, rooms.settings.routing, dt.datetime.now(dt.UTC), rooms.settings.site.tzinfo())
    rules = [route.rule for route in decision.routes]
    found = rooms.archives.look(study, rules, now) if rooms.archives else Standing(Next.GO)
    if found.next is not Next.GO:
        return
    planned = [_plan_run(rooms, study, rule) for rule in rules]
    with rooms.database.begin() as connection:
        if not studies.mark_routed(connection, study_key, now) or studies.hold_where_rejected(connection, study_key):
            return
        if studies.hold_where_deleted(connection, study_key):
            return
        for note in notes:
            tell(connection, study_key, "orders", "patient.known", note)
        for reason in decision.reasons:
            tell(connection, study_key, "routing", "rule.evaluated", reason, decision.held)
        if decision.held:
            studies.hold(connection, study_key, decision.held, decision.summary)
        elif held_as_incomplete(connection, study_key, found, rules):
            return
        for run in planned:
            _request_run(rooms, connection, study, run, incomplete_sentence(found))
    rooms.port.ring(RUNS)


def warm_up(rooms: Rooms) -> WarmUp:
    """Return what the child loads before the first study comes: the pipelines of all rules, with the bundles that can be used."""
    wanted: dict[str, tuple[dict[str, Path], dict[str, Any]]] = {}
    for rule in rooms.settings.routing.rules:
        needs = load_kind("pipeline", rule.pipeline).NEEDS
        chosen = inference_bundles.choose(needs, rule.bundles, rooms.bundle_roots, rule.policy)
        wanted[rule.pipeline] = (dict(chosen.folders), inference_bundles.pipeline_settings(rooms.settings.inference, rule))
    return WarmUp(wanted)


@dataclass(frozen=True)
class _PlannedRun:
    rule: Rule
    selection: Selection
    bundles: inference_bundles.ChosenBundles
    settings: dict[str, Any]
    inputs: tuple[LabInput, ...] = ()  # what it takes from a laboratory
    patient: tuple[str, str] = ("", "")  # Patient ID and issuer, where it takes anything


def _plan_run(rooms: Rooms, study: Study, rule: Rule) -> _PlannedRun:
    """Say which images the pipeline would read and with which bundles."""
    pipeline = load_kind("pipeline", rule.pipeline)
    settings = inference_bundles.pipeline_settings(rooms.settings.inference, rule)
    selection: Selection = pipeline.select_images(study, pipeline.Settings(**settings))
    chosen = inference_bundles.choose(pipeline.NEEDS, rule.bundles, rooms.bundle_roots, rule.policy)
    if not selection.read or not takes_labs(rule.pipeline):
        return _PlannedRun(rule, selection, chosen, settings)
    with reading(rooms.database) as connection:
        patient = one_patient(connection, study.study_key)
        labs = known_labs(connection, study.study_key, patient)
    inputs = inputs_of_pipeline(rule.pipeline, settings, selection.read[0].facts, labs)
    return _PlannedRun(rule, selection, chosen, settings, inputs, patient or ("", ""))


def _request_run(rooms: Rooms, connection: sa.Connection, study: Study, planned: _PlannedRun, incomplete: str = "") -> None:
    """Write the run's row and submit its workflow, unless the images read are those of the last result, or it is to wait."""
    rule, selection, chosen = planned.rule, planned.selection, planned.bundles
    read = tuple(i.sop_instance_uid for i in selection.read)
    last = runs.latest_run(connection, study.study_key, rule.pipeline)
    same = last is not None and set(last.read) == set(read) and set(last.marked) == set(selection.marked)
    if last is not None and same and last.study_revision == study.revision:
        tell(
            connection,
            study.study_key,
            "routing",
            "run.unneeded",
            f"{rule.pipeline}: what arrived changes none of the images read.",
        )
        return
    asked = dt.datetime.now(dt.UTC).replace(microsecond=0)
    refused = selection.refusal or ("pipeline_failed" if chosen.problem else "")
    until = None if refused else wait_until(rule, planned.inputs, asked.timestamp())
    if last is not None and last.state == runs.WAITING:
        until = _instead_of(connection, last, until)
        last = runs.latest_run(connection, study.study_key, rule.pipeline)
    revision = runs.next_revision(connection, study.study_key, rule.pipeline)
    request = RunRequest(
        run_key=run_key(
            *(study.study_instance_uid, selection.read, rule.pipeline, chosen.hashes, chosen.policy_hash, revision),
            marked=selection.marked,
        ),
        study_key=study.study_key,
        study_instance_uid=study.study_instance_uid,
        pipeline=rule.pipeline,
        rule=rule.name,
        revision=revision,
        policy=rule.policy,
        release=rule.release,
        priority=most_urgent(connection, study.study_key, rule.priority),
        after_report=rule.after_report,
        destinations=rule.destinations,
        outputs=rule.outputs,
        requested_at=asked,
        bundles={name: str(folder) for name, folder in chosen.folders.items()},
        predecessor=last.request.run_key if last else "",
        incomplete=incomplete,
    )
    runs.insert_run(
        connection,
        request,
        read=read,
        not_read=selection.not_read,
        refusal=refused,
        detail=selection.detail or chosen.problem,
        study_revision=study.revision,
        settings=planned.settings,
        marked=selection.marked,
        wait_until_utc=until,
        wait_minutes=rule.wait_for_labs_minutes if until is not None else 0,
    )
    waiting.keep_inputs(connection, request.run_key, study.study_key, planned.patient, planned.inputs)
    if until is None:
        rooms.port.submit_run(connection, request.run_key, place_in_queue(request.priority, request.requested_at.timestamp()))
    text = f'{rule.pipeline} requested by rule "{rule.name}", result {revision}, {len(read)} image(s) to read.'
    tell(connection, study.study_key, "routing", "run.requested", text)
    for words in selection.choice:
        tell(connection, study.study_key, "routing", "series.chosen", f"{rule.pipeline}: {words}")
    if report_is_final(connection, study.study_key):
        text = f"The final report for this order is known already; the rule says: {rule.after_report.value}."
        tell(connection, study.study_key, "routing", "report.known", text)
    if until is not None:
        text = waiting_sentence(rule.pipeline, planned.inputs, rule.wait_for_labs_minutes)
        tell(connection, study.study_key, "inference", "run.waits", text)


def _instead_of(connection: sa.Connection, last: runs.StoredRun, until_utc: float | None) -> float | None:
    """End a run that waits and would read other images than the study has now; return until when the next one waits: no longer."""
    request = last.request
    runs.finish_run(connection, request.run_key, "cancelled", None)
    text = f"{request.pipeline}: result {request.revision} is not made. Other images are to be read since it began to wait."
    tell(connection, request.study_key, "inference", "run.cancelled", text)
    return until_utc if until_utc is None or last.wait_until_utc is None else min(until_utc, last.wait_until_utc)
