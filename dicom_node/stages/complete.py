"""studies <-> archive: is the study whole? Asked and fetched beside the sweep, so that a silent archive delays nobody else.

The sweep looks at rows only. Where something is to be asked or fetched it moves the study's deadline on and leaves the work to
the archive's own few threads; what comes of it is a row, and the deadline brings the study back. A process that dies in between
leaves a deadline, which brings it back too.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.study import Study
from dicom_node.home import Home
from dicom_node.routing.settings import Incomplete, Rule
from dicom_node.stages.archive_desk import Desk, Job
from dicom_node.store.connect import reading
from dicom_node.store.story import read_story, tell
from dicom_node.studies import archive_answers as rows
from dicom_node.studies import step as studies
from dicom_node.studies.evidence import Next, Standing, standing

#: A study is looked at again after this time even if nothing came of its question.
LEASE_SECONDS = 60.0
_ROOM = "studies"


class Archives:
    """The archives that may be asked. ``start`` before use, ``stop`` at the end; both cost nothing where there is none."""

    def __init__(self, home: Home, settings: NodeSettings, database: sa.Engine) -> None:
        self._ceiling_seconds = settings.studies.ceiling_seconds
        self._database = database
        self._desks = [Desk(name, home, settings, database) for name in settings.archives]

    def start(self) -> None:
        """Begin to ask."""
        for desk in self._desks:
            desk.start()

    def stop(self) -> None:
        """Ask nothing more; what is under way is left to end by itself."""
        for desk in self._desks:
            desk.stop()

    def look(self, study: Study, rules: Sequence[Rule], now_utc: float) -> Standing:
        """Say whether a study whose quiet time has passed can start; anything but ``GO``: its deadline was moved on.

        Parameters
        ----------
        rules
            Those that match the study; none: nothing is asked.
        """
        with reading(self._database) as connection:
            desk = self._desk(rows.senders(connection, study.study_key)) if rules else None
            if desk is None:
                return Standing(Next.GO)
            ceiling = rows.ceiling_utc(connection, study.study_key)
            answers = rows.answers_since(connection, study.study_key, ceiling - self._ceiling_seconds)
            if answers and answers[-1].question == "waived":  # then what was missing may have been said long ago
                answers = rows.answers_since(connection, study.study_key, 0.0)
            held = rows.held_by_series(connection, study.study_key)
        pause = desk.settings.compare_seconds
        found = standing(answers, held, now_utc=now_utc, ceiling_utc=ceiling, pause_seconds=pause)
        if found.next is Next.ASK and desk.is_silent(now_utc):
            return Standing(Next.GO, problem=desk.silence)
        if found.next is not Next.GO:
            self._postpone(desk, study, tuple(rules), found, now_utc, ceiling)
        return found

    def _desk(self, senders: set[str]) -> Desk | None:
        """Return the first archive that may be asked about a study from these senders."""
        for desk in self._desks:
            named = {*desk.settings.calling_ae, desk.source} if desk.settings.calling_ae else senders
            if senders & named:
                return desk
        return None

    def _postpone(
        self, desk: Desk, study: Study, rules: tuple[Rule, ...], found: Standing, now_utc: float, ceiling_utc: float
    ) -> None:
        """Move the deadline on and give the work to the archive's threads."""
        until = found.at_utc if found.next is Next.WAIT else now_utc + LEASE_SECONDS
        until = min(until, max(ceiling_utc, now_utc + desk.settings.compare_seconds))
        with self._database.begin() as connection:
            moved = rows.put_off_while_asked(connection, study.study_key, now_utc, until)
            if moved and found.next is Next.FETCH:
                text = f'The archive "{desk.name}" lists {_objects(found.short)} that did not come; fetched from there now.'
                if all(line.text != text for line in read_story(connection, study.study_key)):
                    tell(connection, study.study_key, _ROOM, "archive.fetching", text)
        if moved and found.next is not Next.WAIT:
            desk.submit(Job(study, rules, found, until))


def held_as_incomplete(connection: sa.Connection, study_key: str, found: Standing, rules: Sequence[Rule]) -> bool:
    """Tell what came of asking, in the transaction that starts the study; return whether a rule holds it instead."""
    if found.problem and not found.short:
        text = f"The archive could not say whether the study is whole; the quiet time alone decides. {found.problem}"
        tell(connection, study_key, _ROOM, "archive.silent", text)
    if found.agreed:
        tell(connection, study_key, _ROOM, "archive.agreed", "The archive lists nothing for the rules that has not come.")
    if not found.short:
        return False
    asked = {rule.incomplete for rule in rules}
    text = f"{incomplete_sentence(found)} {found.problem}".strip()
    if Incomplete.HOLD in asked and not found.waived:
        studies.hold(connection, study_key, "incomplete_study", f"{text} A rule holds incomplete studies.")
        return True
    alert = Incomplete.ALERT in asked
    tell(connection, study_key, _ROOM, "study.alert" if alert else "study.incomplete", text, "incomplete_study")
    if alert:
        log.event("study.alert", study=study_key, reason="incomplete_study", count=found.short)
    return False


def incomplete_sentence(found: Standing) -> str:
    """Return what the results of an incomplete study say; empty for a whole one."""
    return f"Incomplete: {_objects(found.short)} that the archive lists had not arrived." if found.short else ""


def _objects(count: int) -> str:
    return f"{count} object" if count == 1 else f"{count} objects"
