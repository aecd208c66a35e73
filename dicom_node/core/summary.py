"""The one line that every command, page and test reads about a study's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dicom_node.core.abstentions import reason, sentence
from dicom_node.core.findings import Findings, NotRead

#: Images left out that are listed one by one; a CT study may leave a thousand for one reason.
_LISTED = 20


def summary_line(
    study_key: str, findings: Findings, objects: Iterable[dict[str, str]] = (), messages: Iterable[dict[str, str]] = ()
) -> dict[str, Any]:
    """Return ``{study_key, status, code, reason, decision, zone, probabilities, bundle, policy, objects, messages, …}``.

    ``probabilities`` holds assessed classes only; ``objects`` items are ``{sop_class, sop_instance_uid, file}``,
    ``messages`` (FHIR, HL7) are ``{kind, identifier, file}``.
    """
    abstention = findings.abstention
    said = reason(abstention.reason) if abstention else None
    return {
        "study_key": study_key,
        "pipeline": findings.pipeline,
        "status": findings.status,
        "code": said.code.value if said else "",
        "reason_key": said.key if said else "",
        "reason": sentence(said.key, abstention.detail) if said and abstention else "",
        "headline": findings.headline,
        "decision": findings.decision,
        "zone": findings.zone.value if findings.zone else "",
        "probabilities": {f.key: round(f.probability, 6) for f in findings.findings if f.probability is not None},
        "not_assessed": [f.key for f in findings.findings if f.probability is None],
        "bundle": findings.bundles[0].label if findings.bundles else "",
        "policy": findings.policy.name if findings.policy else "",
        "guarantee": findings.policy.guarantee if findings.policy else "",
        "flags": [flag.key for flag in findings.flags],
        "read": len(findings.read),
        "not_read": _left(findings.not_read),
        "objects": list(objects),
        "messages": list(messages),
    }


def _left(not_read: Sequence[NotRead]) -> list[dict[str, Any]]:
    """Return why images were left, one item each; of more than ``_LISTED`` one item a reason, with the number of its ``images``."""
    if len(not_read) <= _LISTED:
        return [{"reason": one.reason, "detail": one.detail} for one in not_read]
    counted = Counter((one.reason, one.detail) for one in not_read)
    return [{"reason": key, "detail": detail, "images": count} for (key, detail), count in counted.items()]


def not_read_line(why: str) -> dict[str, Any]:
    """Return the line of a file that belongs to no study because it cannot be read."""
    said = reason("unreadable")
    empty = {"decision": "", "zone": "", "probabilities": {}, "bundle": "", "policy": "", "objects": [], "messages": []}
    return {"study_key": "", "status": "not_analysed", "code": said.code.value, "reason_key": said.key, "reason": why, **empty}


def held_line(study_key: str, reason_key: str, detail: str = "") -> dict[str, Any]:
    """Return the line of a study that is kept but not analysed, and about which nothing is sent."""
    said = reason(reason_key)
    return {
        "study_key": study_key,
        "status": "held",
        "code": said.code.value,
        "reason_key": said.key,
        "reason": sentence(reason_key, detail),
        "decision": "",
        "zone": "",
        "probabilities": {},
        "bundle": "",
        "policy": "",
        "objects": [],
        "messages": [],
    }
