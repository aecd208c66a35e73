"""studies -> routing -> the run's row and its workflow, in one transaction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.run import RunRequest, Selection, run_key
from dicom_node.core.study import Study
from dicom_node.inference import bundles as inference_bundles
from dicom_node.inference import repository as runs
from dicom_node.plugins import load_kind
from dicom_node.routing import step as routing
from dicom_node.routing.settings import Rule
from dicom_node.stages.rooms import Rooms
from dicom_node.store.connect import reading
from dicom_node.store.story import tell
from dicom_node.studies import step as studies


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
