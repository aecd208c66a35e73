"""The tables. Rows are the truth; the engine only runs them. Times are UTC, seconds since 1970 (float), one clock a host."""

from __future__ import annotations

from dicom_node.store.tables.answers import (
    answer_channel,
    answer_message,
    answer_object,
    answer_poll,
    exposure,
    golden_case,
    opt_out,
    task,
    verdict,
    verdict_private,
    web_session,
)
from dicom_node.store.tables.base import SCHEMA_VERSION, metadata, schema
from dicom_node.store.tables.orders import lab_result, message, order, patient
from dicom_node.store.tables.peers import archive_answer, association, commitment, lease
from dicom_node.store.tables.runs import artifact, delivery, lab_input, result_number, run
from dicom_node.store.tables.studies import instance, lab_answer, refused_object, slice_mark, story, study

__all__ = [
    "SCHEMA_VERSION",
    "answer_channel",
    "answer_message",
    "answer_object",
    "answer_poll",
    "archive_answer",
    "artifact",
    "association",
    "commitment",
    "delivery",
    "exposure",
    "golden_case",
    "instance",
    "lab_answer",
    "lab_input",
    "lab_result",
    "lease",
    "message",
    "metadata",
    "opt_out",
    "order",
    "patient",
    "refused_object",
    "result_number",
    "run",
    "schema",
    "slice_mark",
    "story",
    "study",
    "task",
    "verdict",
    "verdict_private",
    "web_session",
]
