"""orders -> feedback: what HL7 messages of others say of our results, recorded in the transaction that keeps the message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from dicom_node.config.model import NodeSettings
from dicom_node.core.artifact import HL7
from dicom_node.core.feedback import Channel
from dicom_node.core.identifiers import accession_token
from dicom_node.core.result_message import ReportText, ResultLine, ResultMessage
from dicom_node.core.withdrawal import MESSAGE
from dicom_node.feedback import repository
from dicom_node.feedback.channels import hl7
from dicom_node.feedback.matching import Match, findings_of, match
from dicom_node.feedback.messages import message_book
from dicom_node.feedback.step import Desk, Recorded, record
from dicom_node.feedback.words import ANOTHER_PATIENT, PROBLEMS
from dicom_node.home import Home
from dicom_node.orders.messages import own_result
from dicom_node.orders.reading import read_message
from dicom_node.results import repository as artifacts
from dicom_node.stages.answers.whose_answer import names_another_patient
from dicom_node.store.story import tell_once

Told = tuple[ResultMessage | ReportText, ...]

NO_MESSAGE = "No message of this result is there to compare it with; it does not count."


def hl7_desk(home: Home, settings: NodeSettings) -> Callable[[sa.Connection, Told, str], tuple[bool, str]]:
    """Return what ``orders.step.Inbox.answered`` is: it records, and says whether anything was kept, and what became of it."""
    desk = Desk(home, settings.readers, settings.feedback)

    def answered(connection: sa.Connection, told: Told, sha256: str) -> tuple[bool, str]:
        outcomes = [_take(connection, one, sha256, desk) for one in told]
        said = [one for one in outcomes if one is not None]
        return any(one.state == "read" for one in said), " ".join(dict.fromkeys(one.text for one in said if one.text))

    return answered


def tell_unclear(connection: sa.Connection, outcome: Recorded) -> None:
    """Say in the study's story, once, that an answer came which does not count."""
    if outcome.state not in ("unclear", "quarantined") or not outcome.study_key:
        return
    tell_once(connection, outcome.study_key, "feedback", f"answer.{outcome.state}", outcome.text)


def _take(connection: sa.Connection, message: ResultMessage | ReportText, sha256: str, desk: Desk) -> Recorded | None:
    if isinstance(message, ReportText):
        return _report(connection, message, sha256, desk)
    source = message_book.source_of(desk, Channel.HL7, f"{message.sender}|{message.control_id}|{message.group}")
    outcome = _result(connection, message, sha256, desk)
    message_book.keep(connection, Channel.HL7, source, outcome)
    tell_unclear(connection, outcome)
    return outcome


def _report(connection: sa.Connection, report: ReportText, sha256: str, desk: Desk) -> Recorded | None:
    """Keep the radiologist's own report as evidence, where its accession number is of one result; most are of none."""
    if not repository.runs_of_identifier(connection, accession_token(report.accession_number)):
        return None
    found = match(connection, hl7.targets_of(report))
    if not found.problem and names_another_patient(connection, found.study_key, report.patients):
        outcome = Recorded("unclear", ANOTHER_PATIENT, found.run_key, found.study_key)
        tell_unclear(connection, outcome)
        return outcome
    outcome = record(connection, hl7.report_claim(report, sha256), desk=desk)
    return outcome if outcome.state == "read" else Recorded("nothing", "A report that belongs to no result, or to several.")


def _result(connection: sa.Connection, message: ResultMessage, sha256: str, desk: Desk) -> Recorded:
    if (why := hl7.says_nothing(message)) != "":
        return Recorded("nothing", why)
    found: Match = match(connection, hl7.targets_of(message))
    if found.problem:
        state, text = PROBLEMS[found.problem]
        return Recorded(state, text, found.run_key, found.study_key)
    if names_another_patient(connection, found.study_key, message.patients):
        return Recorded("unclear", ANOTHER_PATIENT, found.run_key, found.study_key)
    (row,) = repository.run_rows(connection, {found.run_key})
    sent = sent_lines(connection, desk.home.results, found.run_key)
    if not sent:
        return Recorded("unclear", NO_MESSAGE, found.run_key, found.study_key)
    heard = hl7.hear(message, sent, findings_of(row), found.run_key, sha256)
    if not heard.claims:
        return Recorded(heard.state, heard.text, found.run_key, found.study_key)
    return message_book.together(message_book.record_news(connection, heard.claims, found.run_key, found.study_key, desk))


def sent_lines(connection: sa.Connection, results: Path, run_key: str) -> list[ResultLine]:
    """Return the observations of every message that told of this result; what took it back told nothing.

    Raises
    ------
    OSError
        A message is damaged, or the disk fails: the sender is asked to send again.
    """
    lines: list[ResultLine] = []
    for role in artifacts.roles_of(connection, run_key, HL7):
        if role != MESSAGE:
            with contextlib.suppress(FileNotFoundError):  # retention deleted it
                message = read_message(artifacts.load_artifact(connection, results, run_key, role).data)
                lines += own_result.lines_of(list(message.segments))
    return lines
