"""What a person says about a result: the words that every channel, the log, the labels and the objects sent back share."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field

from dicom_node.core.phi import Phi


class Verdict(enum.StrEnum):
    """A person's answer to one finding, or to a whole result."""

    ACCEPTED = "accepted"  # the finding is right
    REJECTED = "rejected"  # the finding is wrong
    AMENDED = "amended"  # right in part: ``Statement.label_after`` says what is right
    WITHDRAWN = "withdrawn"  # an answer, or the object it was about, is taken back: no opinion
    DEFERRED = "deferred"  # seen, answered later


#: What counts as an opinion on the AI's finding.
OPINIONS = frozenset((Verdict.ACCEPTED, Verdict.REJECTED, Verdict.AMENDED))


class Strength(enum.StrEnum):
    """How far an answer can be relied on."""

    STRONG = "strong"  # of an authenticated radiologist
    WEAK = "weak"  # of anybody else, or nobody knows of whom: kept, shown, never a label


class Channel(enum.StrEnum):
    """The way an answer came. The value is the module's name in ``feedback/channels``."""

    ANSWER_AE = "answer_ae"  # our result was sent to an AE title that stands for an answer
    KEY_OBJECTS = "key_objects"  # Key Object Selection
    PRESENTATION_STATE = "presentation_state"  # GSPS: regions, never a verdict
    EDITED_REPORT = "edited_report"  # successor of our SR
    ASSESSMENT = "assessment"  # SR with a code of the assessment table; Content Assessment Results
    HL7 = "hl7"
    FHIR = "fhir"
    WEB = "web"


class Context(enum.StrEnum):
    """Under which circumstances the reader looked."""

    BLINDED_FIRST_READ = "blinded_first_read"  # before the AI's result was shown
    AFTER_AI = "after_ai"
    ADJUDICATION = "adjudication"  # to settle readers who differ
    GOLDEN_CASE = "golden_case"  # the answer is known; the reader is not told
    RANDOM_AUDIT = "random_audit"


class ReferenceStandard(enum.StrEnum):
    """What the truth is known from."""

    NONE = "none"
    CULTURE = "culture"
    PCR = "pcr"
    PATHOLOGY = "pathology"
    FOLLOW_UP = "follow_up"


#: Why a reader disagrees: codes that may be exported; anything else is a comment, which never is.
REASONS = (
    "image_quality",
    "wrong_region",
    "artefact_or_marker",
    "post_treatment",
    "other_finding",
    "known_finding",
    "laterality",
    "wrong_patient_or_study",
    "other",
)


@dataclass(frozen=True)
class Region:
    """A weak region of interest.

    ``points``: (column, row) in pixels of the source image, origin at the middle of the first pixel's top left corner as DICOM
    counts (PS3.3, C.10.5.1.2); a closed polygon, or two points: the corners of a box.
    """

    sop_instance_uid: str
    points: tuple[tuple[float, float], ...]
    finding: str = ""  # key, or empty: not said
    sign: int = 1  # +1: this is it; -1: this is not
    frame: int = 1


@dataclass(frozen=True)
class ReaderClaim:
    """Who answers, as the message says it. Matched with ``readers`` by ``kind`` and ``identity``."""

    kind: str = ""  # login | ae_title | hl7 | fhir | dicom; empty: not said
    identity: str = ""  # login, calling AE title, XCN-1, Practitioner reference, person name of the verifying observer
    name: str = ""  # as the message has it; staff, kept in the erasable table all the same
    authenticated: bool = False  # the channel itself vouches for the person (login, verified SR, signed interpreter)


@dataclass(frozen=True)
class Statement:
    """What is said of one finding; an empty ``finding`` means the whole result."""

    verdict: Verdict
    finding: str = ""  # key as in the bundle: "abnormal"
    label_after: str = ""  # present | absent | unsure | a code as code^scheme; empty: not said
    assessment: float | None = None  # 0..1 in five steps: how likely the reader holds the finding
    confidence: int | None = None  # 1..5
    map_relevant: str = ""  # yes | no | unsure; empty: not said


@dataclass(frozen=True)
class Targets:
    """What of ours a message refers to. Several kinds may be given; all must mean one result."""

    run_key: str = ""  # the web page and the messages that echo our own identifiers know it
    sop_instance_uids: tuple[str, ...] = ()
    tracking_uids: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()  # FHIR identifier values, HL7 filler numbers (OBR-3), MSH-10 of ours
    accession_number: Phi = Phi("")  # only where nothing better is said; several results: quarantined
    study_key: str = ""  # the study that the message itself belongs to, where it says so: a result of another one is not meant


@dataclass(frozen=True)
class Claim:
    """One message, understood: not yet matched, not yet recorded."""

    channel: Channel
    source: str  # idempotence key: the same source never gives a second row (a SOP UID, control id + set id, id + version)
    at: dt.datetime  # aware: when the person said it, else when it came
    targets: Targets
    reader: ReaderClaim = ReaderClaim()
    statements: tuple[Statement, ...] = ()  # none: regions or evidence only
    regions: tuple[Region, ...] = ()
    reason: str = ""  # one of REASONS
    comment: str = ""  # free text: erasable, never exported
    context: Context = Context.AFTER_AI
    ai_shown: bool = True
    ai_shown_at: dt.datetime | None = None
    seconds_spent: float | None = None
    reference_standard: ReferenceStandard = ReferenceStandard.NONE
    reference_value: str = ""  # positive | negative
    reference_date: str = ""  # DA
    digest: str = ""  # of the raw object or message
    evidence: dict[str, str] = field(default_factory=dict)  # e.g. {"report_text": …}: kept erasable, for concordance


@dataclass(frozen=True)
class FeedbackRecorded:
    """One row of the log, as other rooms see it: one finding, or the whole result, answered by one person once."""

    number: int
    feedback_id: str
    at_utc: float
    run_key: str
    study_key: str
    finding: str
    verdict: Verdict
    strength: Strength
    channel: Channel
    context: Context
    reader: str  # pseudonym rd_…; empty: unknown
    reader_role: str
    label_before: str
    label_after: str
    reason: str
    supersedes: str = ""


#: Kinds of the artifacts that tell of the answers to a result. They belong to the run that was answered; the role is the kind with
#: the number of the newest row of the log that it tells of: ``assessment:17``. Never an answer themselves, whoever sends them back.
ASSESSMENT, ASSESSMENT_REPORT, ASSESSMENT_MESSAGE = "assessment", "assessment_report", "assessment_message"
#: The note by which a destination is asked to hide a rejected result: ``hide_note:17:pacs``.
HIDE_NOTE = "hide_note"
TELLING = frozenset((ASSESSMENT, ASSESSMENT_REPORT, ASSESSMENT_MESSAGE))
ANSWER_KINDS = TELLING | {HIDE_NOTE}


def tells_of_answer(role: str) -> bool:
    """Say whether an artifact of this role tells of an answer, or acts on one; else it is of the result itself."""
    return role.partition(":")[0] in ANSWER_KINDS


def told_number(role: str) -> int:
    """Return the number of the newest row of the log that an artifact tells of; 0 for one of the result itself."""
    return int(role.split(":")[1]) if tells_of_answer(role) else 0
