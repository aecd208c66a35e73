"""What tells of an answer, each where something of its kind was sent; one that cannot be built must not keep the others back."""

from __future__ import annotations

from collections.abc import Iterable

from dicom_node.core.artifact import FHIR, Artifact
from dicom_node.core.feedback import ASSESSMENT, ASSESSMENT_MESSAGE
from dicom_node.results.assessments import message as assessment_message
from dicom_node.results.assessments import report as assessment
from dicom_node.results.assessments import resources as assessment_report
from dicom_node.results.assessments.answered import Answered
from dicom_node.results.withdrawals.take_back import Built


def build_answer(answered: Answered, roles: Iterable[str]) -> Built:
    """Build the artifacts of these roles: ``assessment:17``, ``assessment_message:17``, ``assessment_report:17[:variant]``."""
    made: list[Artifact] = []
    failed: list[str] = []
    for role in sorted(set(roles)):
        try:
            made.append(_built(answered, role))
        except Exception as error:  # as when taking back; the name only, a message may quote a header
            failed.append(f"{role.partition(':')[0].replace('_', ' ')} ({type(error).__name__})")
    return Built(tuple(made), tuple(failed))


def _built(answered: Answered, role: str) -> Artifact:
    kind, _, rest = role.partition(":")
    if kind == ASSESSMENT:
        return assessment.build(answered)
    if kind == ASSESSMENT_MESSAGE:
        return assessment_message.build(answered)
    variant = rest.partition(":")[2]
    sent = next(a for a in answered.of(FHIR) if a.role.partition(":")[2] == variant)
    return assessment_report.build(answered, sent)
