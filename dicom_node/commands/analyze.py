"""``dicom-node analyze``: analyse files without a network; every result object goes into a folder."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from pathlib import Path
from typing import Any

from dicom_node.commands.read_paths import read_studies
from dicom_node.core.artifact import DICOM, file_stem
from dicom_node.core.errors import BundleError, UsageError
from dicom_node.core.findings import probability_text
from dicom_node.core.run import Priority, Release, RunRequest, Selection, run_key
from dicom_node.core.study import Study
from dicom_node.core.summary import held_line, not_read_line, summary_line
from dicom_node.inference import bundles as inference_bundles
from dicom_node.inference.runner import PipelineJob, run_pipeline
from dicom_node.inference.settings import InferenceSettings
from dicom_node.log import quiet_libraries
from dicom_node.plugins import known_kinds, load_kind, unknown_kind
from dicom_node.results.context import ResultContext
from dicom_node.results.settings import ResultsSettings
from dicom_node.results.step import build_results
from dicom_node.routing.settings import Rule
from dicom_node.stages.run import is_unvalidated
from dicom_node.studies.identity import any_conflict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="files or folders")
    parser.add_argument("--pipeline", required=True, help="pipeline, by its file name, e.g. cxr_tb")
    parser.add_argument("--out", type=Path, required=True, help="folder for the result objects")
    parser.add_argument("--policy", default="screening", help="operating point of the bundle; default screening")
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="a bundle folder to use instead of the shipped one"
    )
    parser.add_argument("--timestamp", help="time of the run, ISO 8601; default: the newest date and time in the images")
    parser.add_argument("--json", action="store_true", help="print one JSON object a study")


def run(options: argparse.Namespace) -> int:
    """Analyse; 0 also for refusals, 2 when called wrongly."""
    quiet_libraries()
    if options.pipeline not in known_kinds("pipeline"):
        raise UsageError(unknown_kind("pipeline", options.pipeline))
    missing = [str(path) for path in options.paths if not path.exists()]
    if missing:
        raise UsageError(f"no such file or folder: {', '.join(missing)}")
    stamp = _timestamp(options.timestamp) if options.timestamp else None
    studies, unreadable = read_studies(options.paths)
    for study in studies:
        line = analyze(study, options.pipeline, options.policy, tuple(options.bundle), options.out, stamp)
        print(json.dumps(line, ensure_ascii=False) if options.json else _told(line), flush=True)
    for path, why in unreadable:
        line = {**not_read_line(why), "file": str(path)}
        print(json.dumps(line, ensure_ascii=False) if options.json else f"{path}: not analysed: {why}", flush=True)
    return 0


def analyze(
    study: Study, pipeline_name: str, policy: str, bundle_folders: tuple[Path, ...], out: Path, stamp: dt.datetime | None
) -> dict[str, Any]:
    """Analyse one study as the node would, revision 1, and write every object that it would make.

    Raises
    ------
    BundleError
        A bundle is damaged, or has no such policy.
    """
    if any_conflict([i.facts for i in study.instances]):
        return held_line(study.study_key, "patient_conflict")
    pipeline = load_kind("pipeline", pipeline_name)
    settings = inference_bundles.pipeline_settings(InferenceSettings(), Rule(name="analyze", pipeline=pipeline_name))
    selection: Selection = pipeline.select_images(study, pipeline.Settings(**settings))
    chosen = inference_bundles.choose(pipeline.NEEDS, {}, inference_bundles.SHIPPED, policy, bundle_folders)
    if chosen.unknown_policy:
        raise UsageError(chosen.problem)
    if chosen.problem:
        raise BundleError(chosen.problem)
    key = run_key(
        *(study.study_instance_uid, selection.read, pipeline_name, chosen.hashes, chosen.policy_hash, 1), marked=selection.marked
    )
    findings = run_pipeline(PipelineJob(pipeline_name, study, selection, chosen.folders, policy, out, settings))
    request = RunRequest(
        run_key=key,
        study_key=study.study_key,
        study_instance_uid=study.study_instance_uid,
        pipeline=pipeline_name,
        rule="analyze",
        revision=1,
        policy=policy,
        release=Release.SILENT,
        priority=Priority.ROUTINE,
        destinations=(),
        outputs=(),
        requested_at=stamp or newest_time(study),
        bundles={name: str(path) for name, path in chosen.folders.items()},
    )
    context = ResultContext(
        run=request,
        findings=findings,
        study=study,
        settings=ResultsSettings(),
        timezone=dt.UTC,
        unvalidated=is_unvalidated(findings),
    )
    objects: list[dict[str, str]] = []
    messages: list[dict[str, str]] = []
    out.mkdir(parents=True, exist_ok=True)
    for artifact in build_results(context, known_kinds("output")):
        file = out / f"{study.study_key}-{file_stem(artifact.role)}{artifact.suffix}"
        file.write_bytes(artifact.data)
        if artifact.media_type == DICOM:
            objects.append({"sop_class": artifact.sop_class_uid, "sop_instance_uid": artifact.identifier, "file": str(file)})
        else:
            messages.append({"kind": artifact.kind, "identifier": artifact.identifier, "file": str(file)})
    return summary_line(study.study_key, findings, objects, messages)


def newest_time(study: Study) -> dt.datetime:
    """Return the newest content, acquisition or study time in the headers (UTC where no offset is told), so that bytes repeat."""
    newest = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    for instance in study.instances:
        facts = instance.facts
        zone = _offset(facts.timezone_offset)
        for text in (facts.content_datetime, facts.acquisition_datetime, facts.study_date + facts.study_time):
            try:
                at = dt.datetime.strptime(text.split(".")[0][:14], "%Y%m%d%H%M%S").replace(tzinfo=zone)
            except ValueError:
                continue  # absent or unreadable: the other times decide
            newest = max(newest, at.astimezone(dt.UTC))
    return newest


def _offset(text: str) -> dt.timezone:
    try:
        return dt.datetime.strptime(text, "%z").tzinfo or dt.UTC  # type: ignore[return-value]
    except ValueError:
        return dt.UTC


def _timestamp(text: str) -> dt.datetime:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f'--timestamp "{text}" is not ISO 8601, e.g. 2026-11-01T10:20:00+01:00') from None
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def _told(line: dict[str, Any]) -> str:
    if line["status"] == "analysed":
        chances = ", ".join(f"{key} {probability_text(value)}" for key, value in line["probabilities"].items())
        return f"{line['study_key']}: {line['headline']} ({chances}; zone: {line['zone']}) {len(line['objects'])} objects"
    return f"{line['study_key']}: {line['status'].replace('_', ' ')}: {line['reason']} {len(line['objects'])} objects"
