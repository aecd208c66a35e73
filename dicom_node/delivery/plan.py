"""Which artifact goes where, which is withheld, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dicom_node.core.artifact import DICOM, FHIR, HL7, Artifact, kind_of, plain_role
from dicom_node.core.delivery import REPORTED, DeliveryState
from dicom_node.core.feedback import tells_of_answer
from dicom_node.core.run import AfterReport, Release, RunRequest
from dicom_node.delivery.settings import DestinationSettings, Refusals

#: What a destination gets that names no outputs, by what it can carry. For a PACS: the overlay and one report.
DEFAULT_ROLES: dict[str, tuple[str, ...]] = {
    DICOM: ("secondary_capture", "text_report"),
    FHIR: ("diagnostic_report",),
    HL7: ("oru_message",),
}

#: The only evidence that needs no permission to leave the node.
RELEASABLE_EVIDENCE = "external"

_REPORT_KINDS = frozenset({"text_report", "structured_report", "diagnostic_report", "oru_message"})


@dataclass(frozen=True)
class Destination:
    """A destination as planning sees it: its settings and what its kind can carry."""

    settings: DestinationSettings
    media_types: tuple[str, ...]

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles it takes: those IT named, else the default of what it can carry."""
        if self.settings.outputs:
            return self.settings.outputs
        return tuple(role for media_type in self.media_types for role in DEFAULT_ROLES.get(media_type, ()))


@dataclass(frozen=True)
class PlannedDelivery:
    """One artifact and destination. ``detail`` is the sentence that says why it is withheld."""

    role: str
    destination: str
    state: DeliveryState
    detail: str = ""


def roles_wanted(rule_outputs: Sequence[str], destinations: Iterable[Destination]) -> tuple[str, ...]:
    """Return the roles to build: what any destination takes, narrowed by the rule; sorted, each once.

    Without a destination (results stay on the node) it is what the rule names, else the defaults of a PACS.
    """
    places = tuple(destinations)
    taken = {role for place in places for role in place.roles if _narrowed(role, rule_outputs)}
    if not places:
        taken = set(rule_outputs or DEFAULT_ROLES[DICOM])
    return tuple(sorted(taken))


def plan(
    run: RunRequest,
    evidence: str,
    artifacts: Iterable[Artifact],
    destinations: Mapping[str, Destination],
    *,
    reported: bool = False,
) -> tuple[PlannedDelivery, ...]:
    """Return every delivery of a run's artifacts, to be sent or withheld; what a destination does not take is not in the list.

    Parameters
    ----------
    evidence
        Evidence of the deciding bundle: ``demo``, ``internal`` or ``external``. Whatever is not ``external`` is held to be less.
    destinations
        Those of the run, by name.
    reported
        The radiologist's final report is known.
    """
    built = tuple(artifacts)
    planned = []
    for name, destination in destinations.items():
        for artifact in built:
            if plain_role(artifact.role) in destination.roles and _narrowed(artifact.role, run.outputs):
                detail = _withheld_because(run, evidence, artifact, destination)
                if reported and not detail:
                    detail = too_late(run.after_report, artifact.kind, artifact.media_type)
                state = DeliveryState.WITHHELD if detail else DeliveryState.QUEUED
                planned.append(PlannedDelivery(artifact.role, name, state, detail))
    return tuple(planned)


def too_late(after_report: AfterReport, kind: str, media_type: str) -> str:
    """Return why something is not sent once the final report is known; ``""`` for what is sent all the same."""
    disturbs = media_type == HL7 or kind == "key_objects"
    return REPORTED if after_report is AfterReport.HOLD or disturbs else ""


def words(roles: Iterable[str]) -> str:
    """Return roles for people; of what tells of an answer the kind, whichever row of the log it is about."""
    named = ((kind_of(role) if tells_of_answer(role) else role).replace("_", " ").replace("#", " ") for role in roles)
    return ", ".join(named)


def _narrowed(role: str, rule_outputs: Sequence[str]) -> bool:
    """Say whether a rule lets this role through; a rule names kinds or single flavours, and none means all."""
    return not rule_outputs or plain_role(role) in rule_outputs or kind_of(role) in rule_outputs


def _withheld_because(run: RunRequest, evidence: str, artifact: Artifact, destination: Destination) -> str:
    if artifact.media_type not in destination.media_types:
        return f'A destination of kind "{destination.settings.kind}" cannot carry this output.'
    if run.release is Release.SILENT:
        return "The rule is silent: results stay on the node."
    if run.release is Release.AFTER_ANSWER:
        return "The rule releases results after a person has answered on the node; nobody has."
    if evidence != RELEASABLE_EVIDENCE and not destination.settings.allow_unvalidated:
        return f'The evidence for the model is "{evidence or "unknown"}"; this destination does not say allow_unvalidated: true.'
    if artifact.refusal and destination.settings.refusals is Refusals.NONE:
        return 'The destination takes no "not analysed" answers (refusals: none).'
    if artifact.refusal and destination.settings.refusals is Refusals.SR and artifact.kind not in _REPORT_KINDS:
        return 'The destination takes "not analysed" answers as reports only (refusals: sr).'
    return ""
