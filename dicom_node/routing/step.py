"""The room's front door: a study goes in, the routes that it takes come out, with every reason."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass

from dicom_node.core.abstentions import REASONS
from dicom_node.core.study import Study
from dicom_node.routing.conditions import Truth
from dicom_node.routing.rules import Outcome, RuleResult, evaluate_hold, evaluate_rule
from dicom_node.routing.settings import RoutingSettings, Rule


@dataclass(frozen=True)
class Route:
    """One run to make: the rule that asks for it. ``certain``: no condition was unknown."""

    rule: Rule
    certain: bool
    reason: str

    @property
    def pipeline(self) -> str:
        """The pipeline that the study goes to."""
        return self.rule.pipeline


@dataclass(frozen=True)
class RoutingDecision:
    """What routing says of a study.

    ``held`` is empty when there are routes, else the key of the reason in ``core/abstentions.py``: ``hold_rule``,
    ``study_too_old``, ``study_date_unknown`` or ``no_rule``. Nothing is sent for a held study.
    """

    routes: tuple[Route, ...]
    held: str
    results: tuple[RuleResult, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence for each rule, in order, and last the sum: ready for the story."""
        return (*(result.text for result in self.results), self.summary)

    @property
    def summary(self) -> str:
        """The decision in one sentence."""
        if self.routes:
            return f"The study goes to {', '.join(route.pipeline for route in self.routes)}."
        return f"The study is not analysed and nothing is sent: {REASONS[self.held].text}"


def choose_routes(study: Study, settings: RoutingSettings, now: dt.datetime, timezone: dt.tzinfo) -> RoutingDecision:
    """Evaluate hold rules, then every rule; the first match of a pipeline wins.

    A first match that finds the study too old is a match: no later rule of the same pipeline takes it.

    Parameters
    ----------
    now
        Aware; what ``max_study_age_hours`` counts from.
    timezone
        The site's, for studies that do not state their own.
    """
    holds = tuple(evaluate_hold(rule, study) for rule in settings.hold)
    if any(result.outcome is Outcome.HELD for result in holds):
        text = 'Rule "{}" is not asked: a hold rule holds the study.'
        skipped = (
            RuleResult(rule.name, rule.pipeline, Truth.UNKNOWN, Outcome.NOT_ASKED, (), text.format(rule.name))
            for rule in settings.rules
        )
        return RoutingDecision((), "hold_rule", (*holds, *skipped))

    routes: list[Route] = []
    results: list[RuleResult] = list(holds)
    first_match: dict[str, str] = {}  # pipeline -> rule
    held: list[str] = []
    for rule in settings.rules:
        result = evaluate_rule(rule, study, now, timezone)
        if result.outcome is not Outcome.NO_MATCH:
            winner = first_match.setdefault(rule.pipeline, rule.name)
            if winner != rule.name:
                text = f'Rule "{rule.name}" matches too, but rule "{winner}" stands before it for {rule.pipeline}.'
                result = dataclasses.replace(result, outcome=Outcome.SHADOWED, text=text)
        if result.outcome is Outcome.MATCHED:
            routes.append(Route(rule, result.truth is Truth.TRUE, result.text))
        elif result.outcome in (Outcome.TOO_OLD, Outcome.DATE_UNKNOWN):
            held.append(result.outcome.value)
        results.append(result)
    return RoutingDecision(tuple(routes), "" if routes else (held or ["no_rule"])[0], tuple(results))
