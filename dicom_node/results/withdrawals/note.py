"""The rejection note that takes our own objects back from a PACS."""

from __future__ import annotations

from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.withdrawal import NOTE
from dicom_node.results.withdrawals import rejection_note
from dicom_node.results.withdrawals.rejection_note import SOP_CLASS_UID, TITLES, Note
from dicom_node.results.withdrawals.withdrawal import Withdrawal

__all__ = ["SOP_CLASS_UID", "TITLES", "build"]


def build(withdrawal: Withdrawal) -> Artifact:
    """Build the note; its UID depends on the run alone."""
    return rejection_note.build(
        Note(
            run_key=withdrawal.run_key,
            role=NOTE,
            title=withdrawal.settings.withdrawal_title,
            description="AI result withdrawn (RUO)",
            text=f"AI result withdrawn. {withdrawal.cause.sentence}",
            at=withdrawal.at,
            sent=withdrawal.of(DICOM),
            settings=withdrawal.settings,
        )
    )
