"""Destinations: would each take what rules would send?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dicom_node.commands.checks.line import Line, Mark
from dicom_node.commands.checks.reach import with_reason
from dicom_node.config.model import NodeSettings
from dicom_node.core.delivery import Proof
from dicom_node.core.errors import NodeError
from dicom_node.delivery.answers import REPORTS
from dicom_node.delivery.destinations.dicom_store import Settings as DicomStoreSettings
from dicom_node.delivery.plan import Destination, roles_wanted
from dicom_node.delivery.proof import wanted_proof
from dicom_node.delivery.settings import ArchivingSettings, DestinationSettings
from dicom_node.plugins import load_kind
from dicom_node.studies.rejection import KEY_OBJECT_SELECTION

#: Of the report about an answer (results/assessments/report.py).
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"

_NO_NOTES = "It takes no Key Object Selections: a result that is withdrawn must be hidden there by hand, and is reported as parked"
_NO_HIDING = "It takes no Key Object Selections, so hide_rejected: true can do nothing: allow them there, or write false"
_NO_ASSESSMENTS = (
    "It takes no Basic Text SR: what a radiologist answers to a result cannot be shown there; allow it, or write assessments: false"
)


def _gets_assessments(destination: DestinationSettings, roles: Iterable[str]) -> bool:
    """Say whether reports about answers go there: beside DICOM reports only."""
    return destination.assessments and any(role.partition(":")[0] in REPORTS for role in roles)


def check_destinations(settings: NodeSettings) -> Iterator[Line]:
    """Ask every destination whether it would take what rules would send."""
    for name, destination in settings.destinations.items():
        module = load_kind("destination", destination.kind)
        rules = [rule for rule in settings.routing.rules if name in rule.destinations]
        if not rules:
            yield Line(Mark.NOTE, f"destination {name}", "no rule sends anything here")
        place = Destination(destination, tuple(module.MEDIA_TYPES))
        roles = sorted({role for rule in rules for role in roles_wanted(rule.outputs, [place])})
        sop_classes = dict.fromkeys(uid for role in roles for uid in load_kind("output", role.partition(":")[0]).SOP_CLASS_UIDS)
        try:
            problems = module.check(destination, tuple(sop_classes))
        except NodeError as error:
            problems = [str(error)]
        for problem in problems:
            yield Line(Mark.FAIL, f"destination {name}", with_reason(problem, destination))
        yield from _reports(name, destination, {peer.ae_title for peer in settings.reception.peers})
        if not problems and sop_classes and module.check(destination, (KEY_OBJECT_SELECTION,)):
            wanted = isinstance(destination, ArchivingSettings) and destination.hide_rejected
            yield (
                Line(Mark.FAIL, f"destination {name}", _NO_HIDING) if wanted else Line(Mark.NOTE, f"destination {name}", _NO_NOTES)
            )
        if not problems and _gets_assessments(destination, roles) and module.check(destination, (BASIC_TEXT_SR,)):
            yield Line(Mark.NOTE, f"destination {name}", _NO_ASSESSMENTS)
        if not problems and hasattr(module, "notes"):
            for note in module.notes(destination):
                yield Line(Mark.NOTE, f"destination {name}", note)
        if not problems:
            what = f" It takes {', '.join(roles)}." if roles else ""
            yield Line(Mark.OK, f"destination {name}", module.describe(destination) + what + _proof(destination))


def _proof(destination: DestinationSettings) -> str:
    proof = wanted_proof(destination)
    return {
        Proof.COMMITMENT: " Delivered means: the PACS has committed to keep it.",
        Proof.QUERY: " Delivered means: found in the archive afterwards.",
    }.get(proof, "")


def _reports(name: str, destination: DestinationSettings, senders: set[str]) -> Iterator[Line]:
    if isinstance(destination, DicomStoreSettings) and destination.proof == "commitment":
        archive = destination.commitment_ae_title or destination.ae_title
        if archive not in senders:
            text = f"reports of storage commitment on an association of {archive} would be rejected: add it to reception.peers"
            yield Line(Mark.NOTE, f"destination {name}", text)
