"""``dicom-node explain``: which rules and gates would apply to files, and why, without running anything."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models.bundle
from dicom_node.commands.read_paths import read_studies
from dicom_node.config.load import load_settings
from dicom_node.config.model import NodeSettings, SiteSettings
from dicom_node.core.abstentions import REASONS, sentence
from dicom_node.core.errors import UsageError
from dicom_node.core.run import Release, Selection
from dicom_node.core.study import Instance, Study
from dicom_node.delivery.plan import RELEASABLE_EVIDENCE, Destination, roles_wanted
from dicom_node.home import Home
from dicom_node.inference.bundles import SHIPPED, pipeline_settings
from dicom_node.log import quiet_libraries
from dicom_node.plugins import load_kind
from dicom_node.routing.rules import Outcome
from dicom_node.routing.settings import Conditions, RoutingSettings, Rule
from dicom_node.routing.step import RoutingDecision, choose_routes
from dicom_node.studies.identity import any_conflict

#: What applies where no node is named: the rule that ``init`` writes.
BUILT_IN = NodeSettings(
    site=SiteSettings(timezone="UTC"),
    routing=RoutingSettings(
        rules=(Rule(name="chest radiographs", pipeline="cxr_tb", when=Conditions(modality=("CR", "DX"), body_part=("CHEST",))),)
    ),
)
_APPLIES = (Outcome.MATCHED, Outcome.TOO_OLD, Outcome.DATE_UNKNOWN)


@dataclass(frozen=True)
class PipelineStory:
    """What a pipeline would do with a study under a rule. ``would_run``: the rule is not stopped by the study's date."""

    rule: Rule
    would_run: bool
    selection: Selection
    sending: tuple[str, ...]


@dataclass(frozen=True)
class StudyStory:
    """What would become of a study."""

    study: Study
    conflict: bool
    decision: RoutingDecision
    pipelines: tuple[PipelineStory, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="files or folders")
    parser.add_argument("--home", type=Path, help="folder with node.yaml (default: one built-in rule for chest radiographs)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a study")


def run(options: argparse.Namespace) -> int:
    """Print the story of each study; 0 also where nothing would be analysed."""
    quiet_libraries()
    missing = [str(path) for path in options.paths if not path.exists()]
    if missing:
        raise UsageError(f"no such file or folder: {', '.join(missing)}")
    home = Home(options.home.resolve()) if options.home else None
    settings = load_settings(home.config) if home else BUILT_IN
    roots = (home.bundles, *SHIPPED) if home else SHIPPED
    if home is None and not options.json:
        print("No --home: the built-in rule is used (CR and DX of the chest go to cxr_tb).\n")
    studies, not_read = read_studies(options.paths)
    now = dt.datetime.now(dt.UTC)
    for study in studies:
        story = explain(study, settings, roots, now)
        print(json.dumps(as_json(story), ensure_ascii=False) if options.json else "\n".join(told(story)) + "\n", flush=True)
    for path, reason in not_read:
        line = json.dumps({"file": str(path), "status": "not_read", "reason": reason}, ensure_ascii=False)
        print(line if options.json else f"{path}: not read. {reason}", flush=True)
    if not studies:
        print("Nothing to explain: no DICOM object was found.", file=sys.stderr)
    return 0


def explain(study: Study, settings: NodeSettings, roots: tuple[Path, ...], now: dt.datetime) -> StudyStory:
    """Return what would become of a study, by headers alone."""
    decision = choose_routes(study, settings.routing, now, settings.site.tzinfo())
    rules = {rule.name: rule for rule in settings.routing.rules}
    pipelines = tuple(
        _pipeline(study, rules[result.rule], result.outcome is Outcome.MATCHED, settings, roots)
        for result in decision.results
        if result.outcome in _APPLIES
    )
    return StudyStory(study, any_conflict([i.facts for i in study.instances]), decision, pipelines)


def _pipeline(study: Study, rule: Rule, would_run: bool, settings: NodeSettings, roots: tuple[Path, ...]) -> PipelineStory:
    module = load_kind("pipeline", rule.pipeline)
    selection = module.select_images(study, module.Settings(**pipeline_settings(settings.inference, rule)))
    return PipelineStory(rule, would_run, selection, tuple(_sending(rule, module.NEEDS, settings, roots)))


def _sending(rule: Rule, needs: tuple[str, ...], settings: NodeSettings, roots: tuple[Path, ...]) -> Iterator[str]:
    """Yield a sentence for each destination: what would go there, or why nothing does."""
    try:
        bundle = models.bundle.load_bundle(models.bundle.find_bundle(needs[0], rule.bundles.get(needs[0]), roots))
        evidence, label = bundle.evidence, bundle.label
    except models.bundle.BundleError as error:
        yield f"The model cannot be used: {error}."
        return
    if not rule.destinations:
        yield "The rule names no destination: results stay on the node."
    for name in rule.destinations:
        destination = settings.destinations[name]
        place = Destination(destination, tuple(load_kind("destination", destination.kind).MEDIA_TYPES))
        roles = ", ".join(roles_wanted(rule.outputs, [place]))
        if rule.release is Release.SILENT:
            yield f"Nothing would be sent to {name}: the rule is silent, results stay on the node."
        elif evidence != RELEASABLE_EVIDENCE and not destination.allow_unvalidated:
            why = f'the evidence for {label} is "{evidence}", and {name} has allow_unvalidated: false'
            yield f"Nothing would be sent to {name}: {why}."
        else:
            when = "at once" if rule.release is Release.AT_ONCE else "after a person has answered on the node"
            refusals = f" (of a refusal: {destination.refusals.value})"
            yield f"{roles} would be sent to {name} {when}{refusals}."


def told(story: StudyStory) -> Iterator[str]:
    """Yield the story in plain sentences."""
    study = story.study
    series = len(study.series)
    yield f"Study {study.study_key}: {_many(series, 'series', 'series')}, {_many(len(study.instances), 'object', 'objects')}"
    if story.conflict:
        yield f"  Held: {REASONS['patient_conflict'].text} Nothing is analysed and nothing is sent."
        return
    for result in story.decision.results:
        yield f"  {result.text}"
    for one in story.pipelines:
        yield f"  {one.rule.pipeline}{'' if one.would_run else ', if the study were new'}:"
        if one.selection.choice:  # of a CT study: not every slice of it
            yield from (f"    Would {words[:1].lower()}{words[1:]}" for words in one.selection.choice[:1])
            yield from (f"    {words}" for words in one.selection.choice[1:])
            yield from (f"    {sentence}" for sentence in one.sending if one.would_run)
            continue
        for instance in one.selection.read:
            yield f"    Would read {_named(instance)}; the pixels then decide."
        if not one.selection.read:
            refusal = one.selection.refusal
            yield f"    Not analysed, because: {sentence(refusal, one.selection.detail) if refusal else 'No image would be read.'}"
        for left in one.selection.not_read if len(study.instances) > 1 or one.selection.read else ():
            name = _named(study.instance(left.sop_instance_uid))
            yield f"    Would not read {name}: {sentence(left.reason, left.detail)}"
        if one.would_run:
            yield from (f"    {sentence}" for sentence in one.sending)
    yield f"  {story.decision.summary}"


def as_json(story: StudyStory) -> dict[str, Any]:
    """Return the story for programs: one JSON object."""
    study, decision = story.study, story.decision
    held = "patient_conflict" if story.conflict else decision.held
    return {
        "study_key": study.study_key,
        "status": "held" if held else "would_run",
        "code": held,
        "reason": REASONS[held].text if held else decision.summary,
        "rules": [
            {
                "rule": result.rule,
                "pipeline": result.pipeline,
                "outcome": result.outcome.value,
                "truth": result.truth.value,
                "reason": result.text,
                "conditions": [{"condition": c.condition, "truth": c.truth.value, "reason": c.text} for c in result.conditions],
            }
            for result in decision.results
        ],
        "pipelines": [
            {
                "pipeline": one.rule.pipeline,
                "rule": one.rule.name,
                "would_run": one.would_run and not held,
                "read": [instance.path for instance in one.selection.read],
                "why": one.selection.why,
                "marked_slices": len(one.selection.marked),
                "refusal": one.selection.refusal,
                "detail": one.selection.detail,
                "not_read": [
                    {"file": study.instance(left.sop_instance_uid).path, "reason": left.reason, "detail": left.detail}
                    for left in one.selection.not_read
                ],
                "sending": list(one.sending),
            }
            for one in story.pipelines
        ],
    }


def _named(instance: Instance) -> str:
    facts = instance.facts
    known = " ".join(part for part in (facts.modality, facts.body_part, facts.view_position) if part)
    return f"{Path(instance.path).name}{f' ({known})' if known else ''}"


def _many(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
