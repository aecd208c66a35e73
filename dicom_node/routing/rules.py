"""Which rules match a study, and why not the others. Pure.

A rule's conditions must hold together on ONE instance: in a study with a CT of the abdomen and a CR of the chest, the rule
"CT of the chest" does not match. A rule matches when some instance is true or unknown for it; an unknown one goes to the
pixel gates of the pipeline. A hold rule holds only when some instance is true for it.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.core.study import Instance, Study
from dicom_node.routing.conditions import Checked, Truth, all_of, check_instance
from dicom_node.routing.freshness import Freshness, freshness
from dicom_node.routing.settings import Conditions, HoldRule, RoutingSettings, Rule

#: Families of SOP classes that hold no image: presentation states, waveforms, SR and KOS, encapsulated documents, raw data and
#: registrations (PS3.4 B.5). An object of these with pixel data still counts as an image.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NOT_IMAGES = tuple(_STORAGE + part for part in ("11.", "9.", "88.", "104.", "66", "67", "481.3", "481.5", "481.8"))


class Outcome(enum.StrEnum):
    """What became of a rule."""

    MATCHED = "matched"  # gives a run
    NO_MATCH = "no_match"  # a condition is false on every instance
    SHADOWED = "shadowed"  # an earlier rule already sends the study to this pipeline
    TOO_OLD = "study_too_old"  # matched, but the study is older than the rule takes
    DATE_UNKNOWN = "study_date_unknown"  # matched, but nobody can say how old the study is
    HELD = "hold_rule"  # the hold rule matched
    NOT_ASKED = "not_asked"  # a hold rule holds the study


@dataclass(frozen=True)
class RuleResult:
    """One rule's answer.

    ``conditions`` are those of the instance that fits best; ``instances`` are the SOP Instance UIDs that the rule matched
    (for programs: never shown); ``text`` is the whole answer in one sentence.
    """

    rule: str
    pipeline: str
    truth: Truth
    outcome: Outcome
    conditions: tuple[Checked, ...]
    text: str
    instances: tuple[str, ...] = ()


def is_image(instance: Instance) -> bool:
    """Say whether an instance is of a kind that holds an image, also where its pixels are missing."""
    return instance.facts.has_pixel_data or not instance.sop_class_uid.startswith(_NOT_IMAGES)


def evaluate_hold(rule: HoldRule, study: Study) -> RuleResult:
    """Say whether a hold rule holds the study: only where its conditions are certainly true on one instance."""
    truth, conditions, matched = _best(rule.when, study.instances, wanted=(Truth.TRUE,))
    if truth is Truth.TRUE:
        text = f'Hold rule "{rule.name}" matches: {_sentences(conditions)} The study is kept and not analysed.'
        return RuleResult(rule.name, "", truth, Outcome.HELD, conditions, text, matched)
    text = f'Hold rule "{rule.name}" does not match: {_sentences(c for c in conditions if c.truth is not Truth.TRUE)}'.rstrip(": ")
    return RuleResult(rule.name, "", truth, Outcome.NO_MATCH, conditions, text)


def evaluate_rule(rule: Rule, study: Study, now: dt.datetime, timezone: dt.tzinfo) -> RuleResult:
    """Say whether a rule matches the study: over its images, or over everything where it holds none."""
    images = tuple(i for i in study.instances if is_image(i))
    candidates = images or study.instances
    truth, conditions, matched = _best(rule.when, candidates, wanted=(Truth.TRUE, Truth.UNKNOWN))

    def result(outcome: Outcome, text: str) -> RuleResult:
        return RuleResult(rule.name, rule.pipeline, truth, outcome, conditions, text, matched)

    if truth is Truth.FALSE:
        why = _sentences(c for c in conditions if c.truth is Truth.FALSE) or "The study holds nothing."
        return result(Outcome.NO_MATCH, f'Rule "{rule.name}" does not match: {why}')
    fresh, sentence = freshness((i for i in candidates if i.sop_instance_uid in matched), rule.max_study_age_hours, now, timezone)
    if fresh is not Freshness.FRESH:
        return result(Outcome(fresh.value), f'Rule "{rule.name}" matches but holds the study: {sentence}')
    if truth is Truth.UNKNOWN:
        unknown = _sentences(c for c in conditions if c.truth is Truth.UNKNOWN)
        return result(Outcome.MATCHED, f'Rule "{rule.name}" may match; the image itself will decide: {unknown}')
    why = _sentences(conditions) or "It has no conditions."
    return result(Outcome.MATCHED, f'Rule "{rule.name}" matches: {why}')


def could_match(rule: Rule, study: Study) -> bool:
    """Say whether what has arrived of a study already fits a rule."""
    candidates = tuple(i for i in study.instances if is_image(i))
    return _best(rule.when, candidates, wanted=(Truth.TRUE, Truth.UNKNOWN))[0] is not Truth.FALSE


def quiet_seconds(study: Study, settings: RoutingSettings) -> float | None:
    """Return the longest quiet time that a rule asks for this study, ``None`` when none of those that could match names one."""
    asked = [rule.quiet_seconds for rule in settings.rules if rule.quiet_seconds is not None and could_match(rule, study)]
    return max(asked, default=None)


def _best(
    when: Conditions, instances: tuple[Instance, ...], wanted: tuple[Truth, ...]
) -> tuple[Truth, tuple[Checked, ...], tuple[str, ...]]:
    """Return the best instance's truth and conditions, and the UIDs of all whose truth is ``wanted``."""
    best: tuple[Truth, tuple[Checked, ...]] = (Truth.FALSE, ())
    best_rank: tuple[int, int] | None = None
    matched = []
    for instance in instances:
        conditions = check_instance(when, instance)
        truth = all_of(c.truth for c in conditions)
        if truth in wanted:
            matched.append(instance.sop_instance_uid)
        rank = (_RANK[truth], sum(_RANK[c.truth] for c in conditions))
        if best_rank is None or rank > best_rank:
            best, best_rank = (truth, conditions), rank
    return *best, tuple(matched)


_RANK = {Truth.FALSE: 0, Truth.UNKNOWN: 1, Truth.TRUE: 2}


def _sentences(conditions: Iterable[Checked]) -> str:
    return " ".join(condition.text for condition in conditions)
