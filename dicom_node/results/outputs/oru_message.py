"""HL7 v2.5.1 ORU^R01^ORU_R01: one message, one OBR for every requested procedure.

It never touches an order or a report: the filler number (OBR-3) is our own, the service (OBR-4) our own code, there is no ORC, and
the statuses are P, or X for "not analysed"; never F or C. A new run sends the same filler numbers and OBX-4 again.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from dicom_node.core import codes
from dicom_node.core.artifact import HL7, Artifact
from dicom_node.core.findings import Decision, Finding, Findings
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.results.context import ResultContext
from dicom_node.results.hl7_text import authority, coded, escaped, moment, person_name, text_values
from dicom_node.results.message_facts import (
    certain,
    deciding_bundle,
    decision_code,
    own_number,
    refusal_code,
    refusal_text,
    requested_accessions,
    rounded,
    source_facts,
    study_moment,
)
from dicom_node.results.report_text import report_lines

MEDIA_TYPE = HL7
SOP_CLASS_UIDS: tuple[str, ...] = ()
VARIANTS: tuple[str, ...] = ()
AFTER: tuple[str, ...] = ()


def wanted(findings: Findings) -> bool:
    """A finding and a refusal both give a message."""
    return True


def build(context: ResultContext, variant: str) -> Artifact:
    """Build the message, UTF-8, segments ended by carriage returns.

    Raises
    ------
    hl7apy.exceptions.HL7apyException
        The message breaks the standard (a defect): it is built and checked in hl7apy's strict mode.
    """
    control_id = message_control_id(context.run.run_key)
    return Artifact(
        run_key=context.run.run_key,
        role="oru_message",
        media_type=HL7,
        identifier=control_id,
        data=_message(context, control_id).encode(),
        refusal=context.findings.abstention is not None,
    )


def message_control_id(run_key: str) -> str:
    """Return MSH-10: it depends on the run alone, so a second sending is the same message (20 characters)."""
    return "AI" + base64.b32encode(hashlib.sha256(f"oru|{run_key}".encode()).digest())[:18].decode()


def _message(context: ResultContext, control_id: str) -> str:
    from hl7apy.consts import VALIDATION_LEVEL  # late: its tables take a while to load
    from hl7apy.core import Message

    message = Message("ORU_R01", version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT)
    _header(message.msh, context, control_id)
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    _patient(result.add_group("ORU_R01_PATIENT").pid, context)
    for number, accession in enumerate(requested_accessions(source_facts(context)), start=1):
        order = result.add_group("ORU_R01_ORDER_OBSERVATION")
        _order(order.obr, context, number, accession)
        for position, row in enumerate(_rows(context), start=1):
            _observation(order.add_group("ORU_R01_OBSERVATION"), context, position, row)
    message.validate()
    return str(message.to_er7()).rstrip("\r") + "\r"


def _header(msh: Any, context: ResultContext, control_id: str) -> None:
    settings = context.settings.hl7
    msh.msh_3 = authority(settings.sending_application)
    msh.msh_4 = authority(settings.sending_facility)
    msh.msh_5 = authority(settings.receiving_application)
    msh.msh_6 = authority(settings.receiving_facility)
    msh.msh_7 = moment(context.timestamp)
    msh.msh_9 = "ORU^R01^ORU_R01"
    msh.msh_10 = control_id
    msh.msh_11 = settings.processing_id
    msh.msh_12 = "2.5.1"
    msh.msh_18 = "UNICODE UTF-8"


def _patient(pid: Any, context: ResultContext) -> None:
    facts = source_facts(context)
    settings = context.settings.hl7
    issuer = facts.issuer_of_patient_id.reveal() or settings.patient_id_authority
    pid.pid_1 = "1"
    pid.pid_3 = "^".join([escaped(facts.patient_id.reveal()), "", "", authority(issuer, "&"), escaped(settings.patient_id_type)])
    for name in person_name(facts.patient_name.reveal()) or ['""']:
        pid.add_field("PID_5").value = name
    born = facts.birth_date.reveal()
    if len(born) == 8 and born.isdigit():
        pid.pid_7 = born
    pid.pid_8 = facts.patient_sex if facts.patient_sex in ("M", "F", "O") else "U"


def _order(obr: Any, context: ResultContext, number: int, accession: str) -> None:
    obr.obr_1 = str(number)
    obr.obr_3 = f"{own_number(context, accession)}^{escaped(context.settings.hl7.sending_application)}"
    obr.obr_4 = coded(context.result_code)
    taken = study_moment(source_facts(context), context.zone)
    if taken is not None:
        obr.obr_7 = moment(taken)
    if accession and context.settings.hl7.accession_field == "OBR-18":
        obr.obr_18 = escaped(accession)
    obr.obr_22 = moment(context.timestamp)
    obr.obr_24 = "RAD"
    obr.obr_25 = _status(context.findings)


def _status(findings: Findings) -> str:
    return "X" if findings.abstention else "P"


def _rows(context: ResultContext) -> list[dict[str, Any]]:
    """Return the observations; ``sub`` (OBX-4) is the same in every run."""
    findings = context.findings
    refused = refusal_code(findings)
    decision = decision_code(findings)
    rows = [{"type": "CWE", "code": codes.DECISION, "sub": "RESULT", "values": [coded(decision)] if decision else [], "notes": []}]
    if refused is not None:
        rows[0]["notes"] = [refusal_text(findings)]
        rows.append({"type": "CWE", "code": codes.REFUSAL_REASON, "sub": "REASON", "values": [coded(refused)], "notes": []})
    rows += [_class_row(context, finding) for finding in findings.findings]
    lines = [line for line in report_lines(context) if line]
    text = "\n".join(lines)
    lines = [line for line in context.disclaimer if line not in text] + lines
    rows.append({"type": "TX", "code": context.result_code, "sub": "TEXT", "values": text_values(lines), "notes": []})
    return rows


def _class_row(context: ResultContext, finding: Finding) -> dict[str, Any]:
    row: dict[str, Any] = {
        "type": "NM",
        "code": finding.code,
        "sub": finding.key.upper()[:20],
        "values": [],
        "notes": [finding.note] if finding.note else [],
    }
    if finding.decision is Decision.NOT_ASSESSED or finding.probability is None:
        row["status"] = "X"
        row["notes"] = row["notes"] or ["Not assessed by this model."]
        return row
    row["values"] = [f"{rounded(finding.probability):.4f}"]
    row["unit"] = coded(codes.UNITY)
    if finding.threshold is not None:
        row["range"] = f"<{rounded(finding.threshold):.4f}"
    if certain(context.findings, finding) and context.may_flag:
        row["flag"] = "A" if finding.decision is Decision.POSITIVE else "N"
    return row


def _observation(group: Any, context: ResultContext, position: int, row: dict[str, Any]) -> None:
    obx = group.obx
    obx.obx_1 = str(position)
    obx.obx_2 = row["type"]
    obx.obx_3 = coded(row["code"])
    obx.obx_4 = row["sub"]
    for value in row["values"]:
        obx.add_field("OBX_5").value = value
    for name, field in (("unit", "obx_6"), ("range", "obx_7"), ("flag", "obx_8")):
        if name in row:
            setattr(obx, field, row[name])
    obx.obx_11 = row.get("status", _status(context.findings))
    taken = study_moment(source_facts(context), context.zone)
    if taken is not None:
        obx.obx_14 = moment(taken)
    bundle = deciding_bundle(context.findings)
    if bundle is not None:
        obx.obx_17 = coded(codes.private(bundle.name, bundle.label))
    obx.obx_18 = f"{escaped(context.settings.device_serial_number)}^{PRODUCT_NAME}"
    obx.obx_19 = moment(context.timestamp)
    for number, text in enumerate(row["notes"], start=1):
        note = group.add_segment("NTE")
        note.nte_1 = str(number)
        note.nte_3 = escaped(text)
