"""The guard against the wrong patient: before analysis, and before anything is sent, whose study is it now?

Asked are the hospital's messages (merges, by HL7) and the archives that hold the study (Patient ID, issuer and accession number). A
difference holds the study until its images come with a corrected header, or until a person releases it; what that person has seen
does not hold it again. A patient who opted out since then is held as well.
"""

from __future__ import annotations

import collections
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from dicom_node import log
from dicom_node.archive.answers import ArchiveBusy, PatientAnswer
from dicom_node.archive.client import ask_patient
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core.abstentions import PERSON_DECIDES, WAITS_FOR_CORRECTION, reason, sentence
from dicom_node.core.errors import PeerTimeout
from dicom_node.core.identifiers import plain
from dicom_node.orders import step as orders
from dicom_node.orders.settings import GuardSettings
from dicom_node.stages import opt_outs
from dicom_node.stages.merges import ENDS, REASON
from dicom_node.store.connect import reading
from dicom_node.store.story import read_story, tell
from dicom_node.store.tables import archive_answer, instance, study
from dicom_node.studies import step as studies
from dicom_node.studies.patients import Addressed, addressed, hold_for_correction, same_order, same_patient

Ask = Callable[[ArchiveSettings, str], PatientAnswer]
#: Says whether the patient with this ID and issuer opted out of analysis.
OptedOut = Callable[[sa.Connection, str, str], bool]

_WAIT = "The archive cannot be asked for now whose study this is; nothing is sent before it answers."
_KEPT_STUDIES = 10_000


@dataclass(frozen=True)
class _Answer:
    """What the archives said of a study, for a while: a reason to hold it, whether one could not be asked, what to tell."""

    reason: str = ""
    archive: str = ""  # which of them gave the reason
    digest: str = ""  # of what it said: a person's release is about this answer, not about the next
    unasked: bool = False
    notes: tuple[str, ...] = ()


class Guard:
    """One a process: answers hold for ``cache_seconds``, so that five deliveries ask once."""

    def __init__(
        self,
        database: sa.Engine,
        archives: Mapping[str, ArchiveSettings],
        settings: GuardSettings,
        ask: Ask = ask_patient,
        clock: Callable[[], float] = time.monotonic,
        opted_out: OptedOut = lambda _connection, _patient_id, _issuer: False,
    ) -> None:
        self._database = database
        self._opted_out = opted_out
        self._archives = archives if settings.ask_archive else {}
        self._settings = settings
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: collections.OrderedDict[tuple[str, int], tuple[float, _Answer]] = collections.OrderedDict()
        self._asking: collections.defaultdict[str, threading.Lock] = collections.defaultdict(threading.Lock)

    def before_analysis(self, study_key: str) -> str:
        """Return why the study is held now, ``""`` when nothing is against it. What cannot be asked now is asked before sending."""
        against, _ = self._look(study_key)
        return against

    def before_sending(self, study_key: str) -> str:
        """Return why the study is held now, ``""`` when nothing is against it.

        Raises
        ------
        PeerTimeout
            An archive cannot be asked, and ``guard.unreachable`` is ``wait``: try again later.
        """
        against, unasked = self._look(study_key)
        if not against and unasked and self._settings.unreachable == "wait":
            raise PeerTimeout(_WAIT)
        return against

    def _look(self, study_key: str) -> tuple[str, bool]:
        with reading(self._database) as connection:
            whom = addressed(connection, study_key)
            if whom is None:
                return "", False
            said_no = self._opted_out(connection, whom.patient_id.reveal(), whom.issuer.reveal())
            now = orders.patient_now(connection, whom.patient_id, whom.issuer)
            senders = _senders(connection, study_key) if self._archives else set()
        if said_no:
            return self._hold(study_key, whom, _Answer(opt_outs.REASON)), False
        if now is not None and now.merged_into and now.merged_utc > whom.released_utc:
            return self._hold(study_key, whom, _Answer(REASON)), False
        asked = {name: s for name, s in self._archives.items() if not s.calling_ae or senders & set(s.calling_ae)}
        if not asked:
            return "", False
        answer = self._archives_say(study_key, whom, asked)
        if answer.reason:
            return self._hold(study_key, whom, answer), False
        self._tell(study_key, answer.notes)
        return "", answer.unasked

    def _archives_say(self, study_key: str, whom: Addressed, asked: Mapping[str, ArchiveSettings]) -> _Answer:
        """Ask, or take the answer of a moment ago. Several deliveries of one study wait for one question."""
        key = study_key, whom.revision
        with self._lock:
            turn = self._asking[study_key]
        with turn:
            with self._lock:
                at, answer = self._answers.get(key, (-1e9, _Answer()))
            if self._clock() - at < self._settings.cache_seconds:
                return answer
            answer = self._question(study_key, whom, asked)
            with self._lock:
                self._answers[key] = self._clock(), answer
                while len(self._answers) > _KEPT_STUDIES:
                    (old, _), _ = self._answers.popitem(last=False)
                    self._asking.pop(old, None)
            return answer

    def _question(self, study_key: str, whom: Addressed, asked: Mapping[str, ArchiveSettings]) -> _Answer:
        unasked, notes = False, []
        for name, settings in asked.items():
            try:
                said = self._ask(settings, whom.study_instance_uid)
            except ArchiveBusy:
                unasked = True  # our own limit: nothing to tell
                continue
            except Exception as error:  # PeerError, or a defect: neither sends a result unasked, nor ends the queue
                unasked = True
                log.event("guard.unasked", study=study_key, error=type(error).__name__)
                then = "nothing is sent before it answers" if self._settings.unreachable == "wait" else "the header is trusted"
                notes.append(f"Archive {name} could not be asked whose study this is; {then}.")
                continue
            if not said.found:
                notes.append(f"Archive {name} does not know the study yet; the header is trusted.")
                continue
            against = _difference(whom, said)
            if against and not self._was_released(study_key, whom, name, digest(said)):
                return _Answer(against, name, digest(said))
            notes.append(
                f"Archive {name} says otherwise, as it did when a person released the study."
                if against
                else f"Patient and accession number are those that archive {name} has."
            )
        return _Answer(unasked=unasked, notes=tuple(notes))

    def _was_released(self, study_key: str, whom: Addressed, archive: str, said: str) -> bool:
        """Say whether a person released the study after this very answer had held it."""
        c = archive_answer.c
        query = sa.select(c.answer).where(
            c.study_key == study_key, c.question == "patient", c.archive == archive, c.at_utc <= whom.released_utc
        )
        with reading(self._database) as connection:
            return any(row.answer.get("digest") == said for row in connection.execute(query))

    def _hold(self, study_key: str, whom: Addressed, answer: _Answer) -> str:
        """Hold the study, if it is still the one that was asked about; return the reason in words."""
        text = opt_outs.TEXT if answer.reason == opt_outs.REASON else sentence(answer.reason, ENDS)
        with self._database.begin() as connection:
            row = connection.execute(sa.select(study).where(study.c.study_key == study_key).with_for_update()).one()
            if row.revision != whom.revision:
                return "Since it was requested the study was corrected, or its images were rejected."
            if row.state == "held" and row.hold_reason in PERSON_DECIDES | WAITS_FOR_CORRECTION:
                return reason(row.hold_reason).text
            if answer.archive:
                values = {"study_key": study_key, "at_utc": time.time(), "archive": answer.archive, "question": "patient"}
                connection.execute(
                    sa.insert(archive_answer).values(**values, answer={"digest": answer.digest, "reason": answer.reason})
                )
            if answer.reason == opt_outs.REASON:
                studies.hold(connection, study_key, answer.reason, text)
            else:
                hold_for_correction(connection, row, answer.reason, text)
        log.event("guard.held", study=study_key, reason=answer.reason)
        return reason(answer.reason).text

    def _tell(self, study_key: str, notes: tuple[str, ...]) -> None:
        if not notes:
            return
        with reading(self._database) as connection:
            known = {line.text for line in read_story(connection, study_key)}
        fresh = [note for note in notes if note not in known]
        if fresh:
            with self._database.begin() as connection:
                for note in fresh:
                    tell(connection, study_key, "orders", "guard.asked", note)


def _difference(whom: Addressed, said: PatientAnswer) -> str:
    """Return the reason to hold a study whose header and archive differ. Empty is unknown, no contradiction."""
    if not same_patient(whom.patient_id, whom.issuer, said.patient_id, said.issuer):
        return "patient_changed_in_pacs"
    return "" if same_order(whom.accession_numbers, said.accession_number) else "accession_changed_in_pacs"


def digest(said: PatientAnswer) -> str:
    """Return what an archive said, not to be read back: enough to know the same answer again."""
    parts = (plain(said.patient_id), plain(said.issuer), plain(said.accession_number))
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _senders(connection: sa.Connection, study_key: str) -> set[str]:
    return set(connection.execute(sa.select(instance.c.calling_ae).where(instance.c.study_key == study_key).distinct()).scalars())
