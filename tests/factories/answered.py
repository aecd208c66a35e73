"""Answered results, ready to be told of: the messages and reports as a run made them, and what a reader said."""

from __future__ import annotations

import datetime as dt
from typing import Any

from dicom_node.core import codes
from dicom_node.core.artifact import Artifact
from dicom_node.core.feedback import Strength, Verdict
from dicom_node.results.assessments.answered import Answer, Answered
from dicom_node.results.outputs import diagnostic_report, oru_message, text_report
from dicom_node.results.settings import ResultsSettings
from tests.factories.deliverables import context

WHEN = dt.datetime(2026, 11, 3, 8, 30, tzinfo=dt.UTC)


def answer(verdict: Verdict | None = Verdict.REJECTED, finding: str = "", **changes: Any) -> Answer:
    """Return an authenticated radiologist's answer, by default to the whole result."""
    values: dict[str, Any] = {
        "finding": finding,
        "code": codes.ABNORMAL if finding else codes.AI_RESULT,
        "verdict": verdict,
        "strength": Strength.STRONG,
        "number": 17,
        "at": WHEN,
        "label_before": "positive",
        "reason": "wrong_region",
    }
    return Answer(**{**values, **changes})


def sent(variant: str = "", **made: Any) -> tuple[Artifact, ...]:
    """Return a result as it went to a PACS, a FHIR server and a RIS."""
    result = context(**made)
    return text_report.build(result, ""), diagnostic_report.build(result, variant), oru_message.build(result, "")


def answered(*answers: Answer, number: int = 17, before: Artifact | None = None, variant: str = "", **made: Any) -> Answered:
    """Return a result with these answers; a rejection where none is given."""
    settings = made.get("settings") or ResultsSettings()
    said = answers or (answer(),)
    return Answered("rn_" + "1" * 32, number, WHEN, said, sent(variant, **made), settings, before)
