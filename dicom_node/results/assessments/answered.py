"""What people answered to a result, as the builders of report, message and resources see it, and as they all put it in words."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from dicom_node.core import codes
from dicom_node.core.artifact import Artifact
from dicom_node.core.codes import Code
from dicom_node.core.feedback import Strength, Verdict
from dicom_node.results.settings import ResultsSettings

VERDICTS = {
    Verdict.ACCEPTED: codes.ASSESSMENT_ACCEPT,
    Verdict.AMENDED: codes.ASSESSMENT_MODIFY,
    Verdict.REJECTED: codes.ASSESSMENT_REJECT,
}
REASONS = {
    "image_quality": codes.REASON_QUALITY,
    "wrong_region": codes.REASON_REGION,
    "artefact_or_marker": codes.REASON_ARTEFACT,
    "post_treatment": codes.REASON_TREATMENT,
    "other_finding": codes.REASON_OTHER_FINDING,
    "known_finding": codes.REASON_KNOWN,
    "laterality": codes.REASON_LATERALITY,
    "wrong_patient_or_study": codes.REASON_WRONG_STUDY,
    "other": codes.REASON_OTHER,
}
LABELS = {"present": codes.PRESENT, "absent": codes.ABSENT, "unsure": codes.INDETERMINATE}
DECISIONS = {
    "positive": codes.DECISION_POSITIVE,
    "negative": codes.DECISION_NEGATIVE,
    "review": codes.DECISION_REFER,
    "not_assessed": codes.DECISION_NOT_ASSESSED,
}
#: Every text about an answer says it, once.
NOT_THE_REPORT = "This tells what a reader answered to the AI result. It is not the radiologist's report and is not verified."
#: What the result's own texts say while nobody has answered, and what stands in its place afterwards.
REVIEWED = "Preliminary computer output; what a reader answered stands with it."


@dataclass(frozen=True)
class Answer:
    """The answer that stands for one finding; an empty ``finding`` is the whole result.

    ``verdict`` ``None``: an answer that was told earlier was taken back, and none stands. ``at``: aware, whole seconds.
    """

    finding: str
    code: Code  # what it is about
    verdict: Verdict | None
    strength: Strength = Strength.WEAK
    number: int = 0  # of its row in the log
    at: dt.datetime | None = None
    label_before: str = ""
    label_after: str = ""
    reason: str = ""
    comment: str = ""  # empty unless the site's settings let comments out
    reader_name: str = ""  # as DICOM has it; empty unless authenticated and the site's settings let names out
    differs: bool = False  # strong readers differ

    @property
    def verdict_code(self) -> Code:
        """The answer as a code."""
        return VERDICTS[self.verdict] if self.verdict else codes.ANSWER_TAKEN_BACK

    @property
    def by(self) -> Code:
        """Who answered, as a code."""
        return codes.READER_RADIOLOGIST if self.strength is Strength.STRONG else codes.READER_UNKNOWN

    @property
    def sentence(self) -> str:
        """The answer in words, ASCII, without a name and without free text."""
        about = f'the finding "{self.code.meaning}"' if self.finding else "this AI result"
        if self.verdict is None:
            return f"An earlier answer to {about} was taken back; none stands."
        who = "An authenticated radiologist" if self.strength is Strength.STRONG else "A reader not known as a radiologist"
        text = f"{who} {self.verdict.value} {about}"
        if self.label_after:
            text += f", which is said to be {self.label_after.replace('^', ' of ')}"
        text += f". Reason: {REASONS[self.reason].meaning.lower()}." if self.reason in REASONS else "."
        return text + (" Readers differ." if self.differs else "")


@dataclass(frozen=True)
class Answered:
    """An answered result. ``number``: newest row of the log that it tells of; ``at``: when that was recorded, whole seconds, aware.

    ``sent``: the objects and messages of the result, as they left the node. ``before``: the SR that told of earlier answers.
    """

    run_key: str
    number: int
    at: dt.datetime
    answers: tuple[Answer, ...]  # the whole result first
    sent: tuple[Artifact, ...]
    settings: ResultsSettings
    before: Artifact | None = None

    def of(self, media_type: str) -> tuple[Artifact, ...]:
        """Return what was sent of one media type, in order of role."""
        return tuple(a for a in sorted(self.sent, key=lambda a: a.role) if a.media_type == media_type)

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it in words."""
        return (*(f"ANSWER: {answer.sentence}" for answer in self.answers), NOT_THE_REPORT)
