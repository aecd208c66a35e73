"""Taking a result back: made from the bytes that were sent, so it is addressed exactly as they were.

Source images and settings may be others by now; whom the result was told about stands in the result itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.core.artifact import DICOM, FHIR, HL7, Artifact
from dicom_node.results.withdrawals import message as withdrawal_message
from dicom_node.results.withdrawals import note as withdrawal_note
from dicom_node.results.withdrawals import report as withdrawal_report
from dicom_node.results.withdrawals.withdrawal import Withdrawal


@dataclass(frozen=True)
class Built:
    """What was built, and the kinds that could not be (names of exceptions, never their texts: those may quote a header)."""

    artifacts: tuple[Artifact, ...]
    failed: tuple[str, ...]


_BUILDERS: dict[str, Callable[[Withdrawal], Artifact]] = {
    DICOM: withdrawal_note.build,
    HL7: withdrawal_message.build,
    FHIR: withdrawal_report.build,
}


def build_withdrawal(withdrawal: Withdrawal) -> Built:
    """Build a rejection note, an HL7 message and a FHIR transaction, each where something of its kind was sent."""
    made: list[Artifact] = []
    failed: list[str] = []
    for media_type, build in _BUILDERS.items():
        if not withdrawal.of(media_type):
            continue
        try:
            made.append(build(withdrawal))
        except Exception as error:  # one that cannot be built must not keep the others, or the withdrawal itself, from happening
            failed.append(f"{media_type} ({type(error).__name__})")
    return Built(tuple(made), tuple(failed))
