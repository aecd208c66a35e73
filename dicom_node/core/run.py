"""A run: one pipeline on one study, in one revision."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections import Counter
from dataclasses import dataclass, field

from dicom_node.core.abstentions import sentence
from dicom_node.core.findings import NotRead
from dicom_node.core.identifiers import NAMESPACE
from dicom_node.core.study import Instance, Mark
from dicom_node.version import VERSION


class Release(enum.StrEnum):
    """When the results of a rule leave the node."""

    SILENT = "silent"  # analysed, kept, shown on the node only
    AFTER_ANSWER = "after_answer"  # sent once a person has answered on the node
    AT_ONCE = "at_once"  # sent when built


class AfterReport(enum.StrEnum):
    """What becomes of a result when the radiologist's final report is known."""

    HOLD = "hold"  # nothing is sent; it stands on the list of discrepancies
    QUIET = "quiet"  # stored in the archive, without message and without flag


class Priority(enum.IntEnum):
    """Order in every queue: smaller is sooner."""

    STAT = 1
    URGENT = 5
    ROUTINE = 10


_YEAR_2026 = 1_767_225_600
_SPAN = 1 << 29  # seconds: seventeen years


def place_in_queue(priority: Priority, requested_utc: float) -> int:
    """Return a number by which runs are taken, the smallest first: STAT before urgent before routine.

    Of several STAT runs the newest is first: after an outage the patient who is here now comes before those of the night. Of all
    others the oldest is first. At most 1.7e9: queues count to 2**31 - 1.
    """
    age = min(max(0, int(requested_utc) - _YEAR_2026), _SPAN - 1)
    if priority is Priority.STAT:
        return _SPAN - age
    return (1 if priority is Priority.URGENT else 2) * _SPAN + 1 + age


@dataclass(frozen=True)
class Selection:
    """Which instances a pipeline would read, by header alone, and why it leaves the others.

    Several in ``read`` are candidates of equal standing: the pixel gates decide. Empty ``read`` with ``refusal`` set means
    "nothing here can be read" and gives one coded refusal.
    """

    read: tuple[Instance, ...]
    not_read: tuple[NotRead, ...] = ()
    refusal: str = ""  # reason key when ``read`` is empty
    detail: str = ""
    marked: tuple[Mark, ...] = ()  # slices that a person marked, where the pipeline reads such
    why: str = ""  # what was chosen and why, one sentence without identifiers; the study's story tells it

    @property
    def choice(self) -> tuple[str, ...]:
        """What was chosen and why, how many slices a person marked, and what was left, equal reasons counted; else nothing."""
        if not self.why:
            return ()
        marks, read = len(self.marked), {one.sop_instance_uid for one in self.read}
        slices = f"A person marked {marks} {'slice' if marks == 1 else 'slices'}" if marks else "Nobody marked a slice"
        elsewhere = sum(uid not in read for uid, _ in self.marked)
        slices += f" ({elsewhere} in other series)." if elsewhere else "."
        left = Counter(sentence(one.reason, one.detail) for one in self.not_read)
        not_read = (f"Not read: {words}" + (f" ({count} images)" if count > 1 else "") for words, count in left.items())
        return (f"read {self.why} {slices}", *not_read)


@dataclass(frozen=True)
class RunRequest:
    """What inference is asked to do; everything that decides the result is in here or in what it names by hash."""

    run_key: str
    study_key: str
    study_instance_uid: str
    pipeline: str
    rule: str
    revision: int
    policy: str
    release: Release
    priority: Priority
    destinations: tuple[str, ...]
    outputs: tuple[str, ...]  # empty: whatever the destinations take
    requested_at: dt.datetime  # the run's time stamp: every created object carries it; aware
    bundles: dict[str, str] = field(default_factory=dict)  # bundle name -> folder
    predecessor: str = ""  # run key of the result that this one replaces
    after_report: AfterReport = AfterReport.HOLD
    incomplete: str = ""  # one sentence: what the archive lists and had not arrived


def run_key(
    study_instance_uid: str,
    read: tuple[Instance, ...],
    pipeline: str,
    bundle_hashes: tuple[str, ...],
    policy_hash: str,
    revision: int,
    marked: tuple[Mark, ...] = (),
) -> str:
    """Return the name of a run: the same inputs, model bytes, policy, node and revision give the same name.

    Everything that leaves the node derives its UID from this key and its role, so a second sending is the same SOP Instance.
    """
    sources = sorted(f"{i.sop_instance_uid}:{i.digest}" for i in read)
    marks = sorted(f"mark:{uid}:{frame or ''}" for uid, frame in marked)  # other slices to read, another run
    parts = (study_instance_uid, *sources, *marks, pipeline, *sorted(bundle_hashes), policy_hash, VERSION, str(revision))
    return "rn_" + uuid.uuid5(NAMESPACE, "|".join(parts)).hex
