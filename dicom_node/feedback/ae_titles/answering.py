"""Answer AE titles, judged: by the rows, again and again, by one process of the role ``work``. A crash loses nothing.

Nothing counts before ``two_answers_seconds`` have passed after it: what would show that a machine sent it is then known. So a
sender is found mechanical before any answer of that minute was recorded, unless ``two_answers_seconds`` is set below a minute: what
counted before more than ``most_a_minute`` had come stays recorded then, for the log is never rewritten.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Statement, Targets, Verdict
from dicom_node.feedback.ae_titles import answer_objects as objects
from dicom_node.feedback.ae_titles import suspension
from dicom_node.feedback.ae_titles.mechanical import MINUTE, Sent, mechanical
from dicom_node.feedback.channels.answer_ae import Answer, Arrival, answers, meaning
from dicom_node.feedback.matching import match
from dicom_node.feedback.step import Desk, record
from dicom_node.feedback.tasks import AMEND, open_task
from dicom_node.feedback.words import PROBLEMS
from dicom_node.store.connect import reading
from dicom_node.store.story import tell, tell_once

REPEATED = "The same answer came before; it adds nothing."
NO_ANSWER_TITLE = "The AE title that it came to stands for no answer any more."
ASKED = "A person asked, by sending the result to an answer AE title, to say in detail what is right."


def judge_waiting(database: sa.Engine, desk: Desk, idle_seconds: float) -> int:
    """Judge what can be judged now; return how many answers were.

    Parameters
    ----------
    idle_seconds
        After so many seconds without an object an association that was not released is over.

    Raises
    ------
    Exception
        What kept one from being judged, after all others were; the next beat tries again.
    """
    settings = desk.settings.answer_ae
    with reading(database) as connection:
        oldest = objects.oldest_waiting(connection)
        if oldest is None:
            return 0
        back = max(MINUTE, settings.two_answers_seconds, idle_seconds + settings.settle_seconds) + 1
        arrivals = objects.arrivals_since(connection, oldest - back)
        resumed = suspension.resumed_at(connection)
    together = answers(arrivals, settings.settle_seconds, idle_seconds)
    suspended = mechanical(_sent(together, resumed), settings)
    failure: Exception | None = None
    for calling_ae, why in suspended.items():
        try:
            _suspend(database, calling_ae, why, desk.clock())
        except Exception as error:  # broad on purpose: the others are suspended all the same
            log.event("answer.put_off", calling_ae=calling_ae, error=type(error).__name__)
            failure = error
    judged = 0
    for answer in together:
        if not answer.waiting or answer.calling_ae in suspended:
            continue
        if desk.clock() < answer.due_utc(settings.settle_seconds, settings.two_answers_seconds, idle_seconds):
            continue
        try:
            with database.begin() as connection:
                judged += _judge(connection, answer, desk)
        except Exception as error:  # broad on purpose: one answer that cannot be judged must not hide the others
            log.event("answer.put_off", calling_ae=answer.calling_ae, error=type(error).__name__)
            failure = error
    if failure is not None:
        raise failure
    return judged


def _sent(together: Iterable[Answer], resumed: dict[str, float]) -> Iterable[Sent]:
    for number, answer in enumerate(together):
        for one in answer.arrivals:
            if one.is_result and one.received_utc >= resumed.get(one.calling_ae, 0.0):
                new = one.state == "waiting"
                yield Sent(number, one.calling_ae, one.called_ae, one.run_key, one.received_utc, one.delivered, new)


def _suspend(database: sa.Engine, calling_ae: str, why: str, now_utc: float) -> None:
    with database.begin() as connection:
        for study_key in suspension.suspend(connection, calling_ae, why, now_utc):
            text = f"{why} It looks mechanical: no answer of {calling_ae} counts."
            tell_once(connection, study_key, "feedback", "answers.suspended", text)


def _judge(connection: sa.Connection, answer: Answer, desk: Desk) -> bool:
    """Judge one answer, in its own transaction; says whether it was there to be judged."""
    ids = {one.object_id for one in answer.waiting}
    if objects.still_waiting(connection, ids) != ids:
        return False
    if suspension.is_suspended(connection, answer.calling_ae):  # meanwhile
        objects.settle(connection, ids, "suspended", suspension.TEXT)
        return True
    state, text, run_key = _outcome(connection, answer, desk)
    objects.settle(connection, ids, state, text, run_key)
    if state in ("unclear", "quarantined"):
        for study_key in sorted({one.study_key for one in answer.waiting}):
            told = f"Sent to {answer.called_ae}, but it does not count. {text}"
            tell_once(connection, study_key, "feedback", "answer.unclear", told)
    return True


def _outcome(connection: sa.Connection, answer: Answer, desk: Desk) -> tuple[str, str, str]:
    """Return state, sentence and run of an answer; where it counts, it is recorded."""
    said = meaning(answer)
    if said.problem:
        return "nothing" if said.is_nothing else "unclear", said.problem, said.run_key
    settings = desk.settings.answer_ae
    verdicts = {settings.accept: Verdict.ACCEPTED, settings.reject: Verdict.REJECTED, settings.amend: None}
    if answer.called_ae not in verdicts:
        return "unclear", NO_ANSWER_TITLE, said.run_key
    first = answer.waiting[0]
    uids = tuple(sorted({one.sop_instance_uid for one in answer.arrivals if one.is_result}))
    targets = Targets(sop_instance_uids=uids, study_key=first.study_key)
    found = match(connection, targets)
    if found.problem:
        state, text = PROBLEMS[found.problem]
        return state, text, found.run_key or said.run_key
    last = objects.last_answer(connection, found.run_key, answer.calling_ae, first.received_utc)
    if last is not None and last[0] == answer.called_ae and first.received_utc - last[1] <= settings.repeat_seconds:
        return "nothing", REPEATED, found.run_key
    verdict = verdicts[answer.called_ae]
    if verdict is None:
        open_task(connection, AMEND, found.run_key, found.study_key, ASKED)
        tell(connection, found.study_key, "feedback", "answer.amend", ASKED)
        return "read", "A task to say in detail what is right is open.", found.run_key
    recorded = record(connection, _claim(first, targets, verdict), desk=desk)
    return recorded.state, recorded.text, recorded.run_key


def _claim(first: Arrival, targets: Targets, verdict: Verdict) -> Claim:
    return Claim(
        channel=Channel.ANSWER_AE,
        source=f"{first.sop_instance_uid}|{first.called_ae}|{first.association}",
        at=dt.datetime.fromtimestamp(first.received_utc, dt.UTC),
        targets=targets,
        reader=ReaderClaim("ae_title", first.calling_ae),
        statements=(Statement(verdict),),
        digest=first.digest,
    )


def forget_files(database: sa.Engine, before_utc: float, remove: Callable[[str], bool]) -> int:
    """Remove the files of objects that were judged and came before then; return how many. Their rows stay.

    ``remove`` deletes what lies under a storage key and says whether it is gone.
    """
    with reading(database) as connection:
        rows = objects.old_files(connection, before_utc)
    gone = [row.object_id for row in rows if remove(row.storage_key)]
    with database.begin() as connection:
        objects.forget_files(connection, gone)
    return len(gone)
