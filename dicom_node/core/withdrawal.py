"""Why a result that was given is taken back: a closed list, so that no free text about a patient travels with it."""

from __future__ import annotations

import enum


class Cause(enum.StrEnum):
    """The value is stored, shown and accepted on the command line; ``sentence`` is for people."""

    STUDY_CORRECTED = "study-corrected"  # the study has a new revision: patient, order or pixels
    IMAGES_REJECTED = "images-rejected"  # a rejection note names the images that were read
    WRONG_PATIENT = "wrong-patient"  # a person says so, as with those below
    WRONG_IMAGES = "wrong-images"
    FAULTY_RESULT = "faulty-result"

    @property
    def sentence(self) -> str:
        """The cause in one sentence, ASCII: it stands in objects, messages and the story."""
        return _SENTENCES[self]


_SENTENCES = {
    Cause.STUDY_CORRECTED: "The patient, the order or the images of the study were corrected after this result was made.",
    Cause.IMAGES_REJECTED: "The department rejected the images that this result was made from.",
    Cause.WRONG_PATIENT: "A person found that this result was addressed to the wrong patient.",
    Cause.WRONG_IMAGES: "A person found that this result was made from the wrong images.",
    Cause.FAULTY_RESULT: "A person found this result faulty.",
}

#: What a person may say.
BY_A_PERSON = (Cause.WRONG_PATIENT, Cause.WRONG_IMAGES, Cause.FAULTY_RESULT)

#: Roles of the artifacts that take a result back. They belong to the run that they withdraw.
NOTE, MESSAGE, REPORT = "withdrawal_note", "withdrawal_message", "withdrawal_report"
ROLES = frozenset((NOTE, MESSAGE, REPORT))
