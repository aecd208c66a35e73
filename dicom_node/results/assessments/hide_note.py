"""The note that asks an archive to hide a result that a radiologist rejected. It names that result's objects and nothing else.

The assessment report is not among them: it is the record that a person disagreed. What an archive does with the note is its own
matter: some hide, some delete, some go on showing (docs/how-to/what-an-answer-does.md).
"""

from __future__ import annotations

from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.feedback import HIDE_NOTE
from dicom_node.results.assessments.answered import Answered
from dicom_node.results.withdrawals import rejection_note
from dicom_node.results.withdrawals.rejection_note import Note


def build(answered: Answered, destination: str, title: str) -> Artifact:
    """Build the note for one destination; ``answered.sent``: what lies there."""
    return rejection_note.build(
        Note(
            run_key=answered.run_key,
            role=f"{HIDE_NOTE}:{answered.number}:{destination}",
            title=title,
            description="AI result rejected (RUO)",
            text="AI result rejected by a radiologist. The site asks to hide it.",
            at=answered.at,
            sent=answered.of(DICOM),
            settings=answered.settings,
        )
    )
