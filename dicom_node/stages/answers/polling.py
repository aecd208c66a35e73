"""feedback -> archive: does it hold reports, key objects or presentation states that it did not forward?

For archives that forward images only. They are asked within the turns that IT allows, and what is fetched comes in by the door that
everything else does, so that it is read as if it had been sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from dicom_node import log
from dicom_node.archive import client
from dicom_node.archive.answers import ArchiveBusy
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import PeerError
from dicom_node.feedback import polling, polling_rows
from dicom_node.feedback.polling import Asked
from dicom_node.feedback.reports.kinds import DOCUMENTS
from dicom_node.home import Home
from dicom_node.stages.archive_desk import PAUSE_SECONDS, Desk
from dicom_node.store.connect import reading
from dicom_node.studies.archive_answers import senders

#: How often it is looked which studies are due; at most that many are asked about in one go, so that a stop need not wait long.
LOOK_SECONDS = 15.0
MOST_AT_ONCE = 20


class AnswerPolling:
    """Asks the archives of ``feedback.poll_archives``. One a process; nothing to do where none is named."""

    def __init__(self, home: Home, settings: NodeSettings, database: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings.feedback
        self._database = database
        self._clock = clock
        self._desks = [Desk(name, home, settings, database) for name in settings.feedback.poll_archives]

    @property
    def archives(self) -> tuple[str, ...]:
        """Who is asked."""
        return tuple(desk.name for desk in self._desks)

    @property
    def look_seconds(self) -> float:
        """How often ``look`` is worth calling."""
        return min(LOOK_SECONDS, self._settings.poll_seconds)

    def look(self, archive: str) -> int:
        """Ask one archive about the studies that are due; return how many objects were fetched."""
        desk = next(desk for desk in self._desks if desk.name == archive)
        now = self._clock()
        if desk.is_silent(now):
            return 0
        fetched = 0
        for study, asked in self._due(desk, now)[:MOST_AT_ONCE]:
            try:
                fetched += self._ask(desk, study, asked)
            except ArchiveBusy:
                break
            except PeerError as error:
                log.event("archive.failed", peer=desk.name, kind="documents", study=study.study_key, error=type(error).__name__)
                desk.silence, desk.silent_until = "It could not be asked for answers.", now + PAUSE_SECONDS
                break
        return fetched

    def _due(self, desk: Desk, now_utc: float) -> list[tuple[polling_rows.Answered, Asked]]:
        """Return the studies to ask about, the longest overdue first."""
        with reading(self._database) as connection:
            studies = polling_rows.answered_studies(connection, now_utc - self._settings.poll_days * 86400)
            before = polling_rows.asked_before(connection, desk.name)
            found = []
            for study in studies:
                asked = before.get(study.study_key, Asked())
                due = polling.due_utc(
                    asked.at_utc,
                    delivered_utc=study.delivered_utc,
                    answered=study.answered,
                    poll_seconds=self._settings.poll_seconds,
                )
                if (due <= now_utc or asked.at_utc > now_utc) and self._may_ask(connection, desk, study.study_key):
                    found.append((due, study, asked))
        return [(study, asked) for _, study, asked in sorted(found, key=lambda one: one[0])]

    def _may_ask(self, connection: sa.Connection, desk: Desk, study_key: str) -> bool:
        """Ask an archive only about studies of the senders that IT names for it."""
        named = {*desk.settings.calling_ae, desk.source}
        return not desk.settings.calling_ae or not named.isdisjoint(senders(connection, study_key))

    def _ask(self, desk: Desk, study: polling_rows.Answered, asked: Asked) -> int:
        """Ask about one study and fetch what is new; write down what came of it even where fetching fails."""
        with reading(self._database) as connection:
            here = polling_rows.objects_here(connection, study.study_key)
        listed, missing, classes = dict(asked.listed), dict[str, list[str]](), set[str]()
        for series_uid, series in client.ask_count(desk.settings, study.study_instance_uid).series.items():
            if series.modality not in polling.MODALITIES or polling.is_listed(asked, series_uid, series.count):
                continue
            found = client.ask_instances(desk.settings, study.study_instance_uid, series_uid)
            new = polling.wanted(found, here, asked, DOCUMENTS)
            if new:
                missing[series_uid] = sorted(new)
                classes |= set(new.values()) - {""}
            elif series.count is not None:  # all of it is here: nothing to list until it grows
                listed[series_uid] = series.count
        fetched = dict(asked.fetched)
        for uid in (uid for uids in missing.values() for uid in uids):
            fetched[uid] = fetched.get(uid, 0) + 1
        with self._database.begin() as connection:
            polling_rows.note(connection, study.study_key, desk.name, Asked(self._clock(), listed, fetched))
        if not missing:
            return 0
        came = desk.fetch_objects(study.study_instance_uid, missing, classes).completed
        log.event("archive.fetched", peer=desk.name, study=study.study_key, kind="documents", count=came)
        return came
