"""What became of each message (HL7, FHIR) that looked like an answer: the table ``answer_message``. Its text is not kept."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import sqlalchemy as sa

from dicom_node.core.feedback import Channel, Claim, Statement, Verdict
from dicom_node.feedback import repository
from dicom_node.feedback.readers import identify
from dicom_node.feedback.recording import is_label
from dicom_node.feedback.standing import standing
from dicom_node.feedback.step import Desk, Recorded, record
from dicom_node.feedback.words import NOTHING_TO_WITHDRAW
from dicom_node.store.tables import answer_message

_WORDS = {"read": 3, "quarantined": 2, "unclear": 1, "nothing": 0}
REPEATED = "It says again what this person has said before."


def source_of(desk: Desk, channel: Channel, name: str) -> str:
    """Return what a message is known by in the table: a keyed hash of its own name."""
    return desk.home.token("answer message", f"{channel}|{name}")


def known(connection: sa.Connection, channel: Channel, source: str) -> Recorded | None:
    """Return what became of a message that was dealt with before; ``None``: it is new."""
    c = answer_message.c
    row = connection.execute(sa.select(answer_message).where(c.channel == channel.value, c.source == source)).first()
    return None if row is None else Recorded(row.state, row.text, row.run_key, row.study_key, repeated=True)


def is_closed(outcome: Recorded | None) -> bool:
    """Say whether looking at the same message again can bring nothing: it was read, or took back what nobody had said."""
    return outcome is not None and (outcome.state == "read" or outcome.text == NOTHING_TO_WITHDRAW)


def keep(connection: sa.Connection, channel: Channel, source: str, outcome: Recorded) -> None:
    """Write what became of a message; of one that came before, what became of it now."""
    values = {"state": outcome.state, "text": outcome.text, "run_key": outcome.run_key, "study_key": outcome.study_key}
    c = answer_message.c
    same = (c.channel == channel.value) & (c.source == source)
    if connection.execute(sa.update(answer_message).where(same).values(**values)).rowcount == 0:
        row = {**values, "channel": channel.value, "source": source, "at_utc": time.time()}
        connection.execute(sa.insert(answer_message).values(**row))


def record_news(connection: sa.Connection, claims: Iterable[Claim], run_key: str, study_key: str, desk: Desk) -> list[Recorded]:
    """Record what is new in the claims of one message, and return what became of each.

    Systems send whole reports again and again: what a person's last word was already, is not said anew. A withdrawal needs an
    answer that came the same way; without one it is no opinion about anything.
    """
    repository.lock_chain(connection)  # what is compared must not change before it is written
    done = []
    for claim in claims:
        statements = tuple(_news(connection, claim, run_key, desk))
        if claim.statements and not statements:
            withdraws = all(one.verdict is Verdict.WITHDRAWN for one in claim.statements)
            text = NOTHING_TO_WITHDRAW if withdraws else REPEATED
            done.append(Recorded("nothing" if withdraws else "read", text, run_key, study_key, repeated=not withdraws))
            continue
        done.append(record(connection, replace(claim, statements=statements), desk=desk))
    return done


def together(outcomes: list[Recorded]) -> Recorded:
    """Return one outcome for a message: what was read, before what was not."""
    best = max(outcomes, key=lambda one: (_WORDS.get(one.state, 0), not one.repeated))
    numbers = tuple(number for one in outcomes for number in one.numbers)
    return replace(best, text=" ".join(dict.fromkeys(one.text for one in outcomes if one.state == best.state)), numbers=numbers)


def _news(connection: sa.Connection, claim: Claim, run_key: str, desk: Desk) -> Iterable[Statement]:
    reader = identify(claim.reader, desk.readers, desk.home.token).pseudonym
    rows = [row for row in repository.rows_of_run(connection, run_key) if row.channel == claim.channel.value]
    mine = [row for row in rows if reader and row.reader == reader]
    stands = standing(rows)
    for one in claim.statements:
        if one.verdict is Verdict.WITHDRAWN:
            if one.finding not in stands and (one.finding or not stands):
                continue
        else:
            said = [row for row in mine if row.finding in (one.finding, "")]
            exactly = [row for row in said if row.finding == one.finding]
            if said and _says((exactly or said)[-1], one):
                continue
        yield one


def _says(row: sa.Row[tuple[object, ...]], one: Statement) -> bool:
    """Say whether a row is the same word: the same verdict on the finding, or the whole result accepted with all its findings."""
    if row.finding != one.finding:
        return bool(row.verdict == one.verdict == Verdict.ACCEPTED)
    label = one.label_after if is_label(one.label_after) else ""  # as the row has it
    return bool(row.verdict == one.verdict and row.label_after == label and row.assessment == one.assessment)
