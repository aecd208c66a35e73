"""The HL7 message that tells of the answer: the one that was sent, again, with the answer beside each observation.

The same filler number (OBR-3), OBX-3 and OBX-4, and the same statuses: P, or X for what was not analysed; never F or C, since the
answer is no final result. The answer is an observation of its own (our code ASSESSMENT) that shares the OBX-4 of what it is about,
so that a receiver groups the two, and a note in words after that.
"""

from __future__ import annotations

import base64
import hashlib

from dicom_node.core import codes
from dicom_node.core.artifact import HL7, Artifact
from dicom_node.core.feedback import ASSESSMENT_MESSAGE
from dicom_node.results.assessments.answered import LABELS, NOT_THE_REPORT, REASONS, REVIEWED, Answer, Answered
from dicom_node.results.hl7_text import coded, escaped
from dicom_node.results.report_text import NOT_REVIEWED

_CONTROL_ID, _AT, _VALUE = 9, 22, 5
_SUB_ID_LENGTH = 20


def build(answered: Answered) -> Artifact:
    """Build the message from the one that was sent; its control id depends on the run and the row number alone."""
    sent = answered.of(HL7)[0]
    role = f"{ASSESSMENT_MESSAGE}:{answered.number}"
    control_id = "AI" + base64.b32encode(hashlib.sha256(f"{role}|{answered.run_key}".encode()).digest())[:18].decode()
    at = answered.at.strftime("%Y%m%d%H%M%S%z")
    segments: list[str] = []
    template: list[str] = []  # the last observation of the order: equipment, time and status are the same for all of them
    for segment in sent.data.decode().split("\r"):
        fields = segment.split("|")
        if template and fields[0] in ("OBR", ""):  # the order's observations end
            segments += _rows(answered, template)
            template = []
        if fields[0] == "MSH":  # MSH-1 is the separator itself, so MSH-n stands at n - 1
            fields[6], fields[_CONTROL_ID] = at, control_id
        elif fields[0] == "OBR":
            fields[_AT] = at
        elif fields[0] == "OBX":
            fields[_VALUE] = fields[_VALUE].replace(escaped(NOT_REVIEWED), escaped(REVIEWED))
            template = fields
        segments.append("|".join(fields))
    segments += _rows(answered, template) if template else []
    return Artifact(answered.run_key, role, HL7, control_id, "\r".join(segments).encode())


def _rows(answered: Answered, template: list[str]) -> list[str]:
    made = []
    for position, answer in enumerate(answered.answers, start=int(template[1]) + 1):
        sub_id = answer.finding.upper()[:_SUB_ID_LENGTH] if answer.finding else "RESULT"
        row = ["OBX", str(position), "CWE", coded(codes.ASSESSMENT), sub_id, coded(answer.verdict_code), *[""] * 5, "P"]
        made.append("|".join([*row, *template[len(row) :]]))
        words = (answer.sentence, *_details(answer), NOT_THE_REPORT)
        made += [f"NTE|{number}||{escaped(line)}" for number, line in enumerate(words, start=1)]
    return made


def _details(answer: Answer) -> list[str]:
    """Return the coded facts as notes of a fixed form, for software that reads no sentences."""
    said = {
        "number in the log": str(answer.number) if answer.number else "",
        "label": LABELS[answer.label_after].meaning if answer.label_after in LABELS else "",
        "reason": REASONS[answer.reason].meaning if answer.reason in REASONS else "",
        "comment": answer.comment,
        "reader": answer.reader_name.replace("^", " ").strip(),
    }
    return [f"{name}: {value}" for name, value in said.items() if value]
