"""The lines of an export: one a label, with the answers it was made of; one a region. Pure.

Free text is in none of them, nor a time: that of an answer tells when the study was. For the same reason the log's own ids, which
begin with a time, stand here as keyed hashes; ``dicom-node learning lineage`` leads back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicom_node.learning.deidentify import Person
from dicom_node.learning.export_rows import Case
from dicom_node.learning.labels import Label, Read
from dicom_node.learning.pseudonyms import Pseudonyms, age_band

#: Of a row of the log: words of closed lists, and numbers.
_COLUMNS = (
    *("verdict", "channel", "context", "reader", "reader_role", "experience_years", "ai_shown", "label_before", "label_after"),
    *("assessment", "confidence", "map_relevant", "reason", "seconds_spent", "reference_standard", "reference_value"),
)


def feedback_name(names: Pseudonyms, feedback_id: str) -> str:
    """Return what stands for an answer's id."""
    return names.name("fb", feedback_id)


def label_line(case: Case, label: Label, person: Person, images: Mapping[str, str], names: Pseudonyms) -> dict[str, Any]:
    """Return the line of a label."""
    return {
        **_whose(case, person, names),
        "images": sorted(images.values()),
        "pipeline": case.pipeline,
        "finding": label.finding,
        "label": label.label,
        "n_readers": label.n_readers,
        "entropy": round(label.entropy, 6),
        "status": label.status.value,
        "basis": label.basis,
        "eligible": label.eligible,
        "weight": label.weight,
        "age_band": age_band(person.years),
        "sex": case.sex,
        "site": site(names),
        "device": names.name("dv", case.device) if case.device else "unknown",
        "ai": _ai(case.summary, label.finding),
        "bundles": sorted({row.bundle_hash for row in case.answers.values() if row.bundle_hash}),
        "feedback_ids": sorted(feedback_name(names, read.feedback_id) for read in label.reads),
        "reads": [_read(read, case.answers.get(read.feedback_id), names) for read in label.reads],
    }


def region_line(
    case: Case, feedback_id: str, region: Mapping[str, Any], person: Person, images: Mapping[str, str], names: Pseudonyms
) -> dict[str, Any]:
    """Return the line of a region; empty where its image is not exported."""
    path = images.get(region.get("sop_instance_uid", ""))
    if path is None:
        return {}
    row = case.answers.get(feedback_id)
    findings = {label.finding for label in case.labels}
    finding = region.get("finding", "")
    return {
        **_whose(case, person, names),
        "image": path,
        "frame": int(region.get("frame", 1)),
        "points": [[float(x), float(y)] for x, y in region.get("points", ())],
        "sign": int(region.get("sign", 1)),
        "finding": finding if finding in findings else "",
        "feedback_id": feedback_name(names, feedback_id),
        "reader": row.reader if row is not None else "",
        "strength": row.strength if row is not None else "weak",
    }


def site(names: Pseudonyms) -> str:
    """Return the site's name in exports: of its key alone."""
    return names.name("si", "this")


def _whose(case: Case, person: Person, names: Pseudonyms) -> dict[str, Any]:
    return {
        "patient": person.pseudonym,
        "study": names.uid(case.study_instance_uid),
        "result": names.name("rs", case.run_key),
        "split": names.split(case.person),
    }


def _ai(summary: Mapping[str, Any], finding: str) -> dict[str, Any]:
    probability = (summary.get("probabilities") or {}).get(finding)
    return {"probability": float(probability) if isinstance(probability, (int, float)) else None}


def _read(read: Read, row: Any, names: Pseudonyms) -> dict[str, Any]:
    said = {name: getattr(row, name) for name in _COLUMNS} if row is not None else {}
    return {"feedback_id": feedback_name(names, read.feedback_id), "value": read.value, **said}
