"""From a claim to rows: what goes into the log, what into its erasable part. Pure: no tables, no files.

The log takes words of closed lists, numbers and keys only. Whatever else a message says (names, free text, UIDs, dates) goes into
the erasable part.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dicom_node.core.feedback import REASONS, Claim, Context, Region, Statement
from dicom_node.feedback.readers import Reader

#: Worklists whose cases are answered under a context of their own: the kind of the task is the context.
CONTEXTS_OF_TASKS = (Context.GOLDEN_CASE, Context.RANDOM_AUDIT)
_LABELS = ("present", "absent", "unsure")
#: Codes as their schemes make them (PS3.16, table 8-1). Any other "code" may be a patient's number: the log is never erased.
_CODES = {
    "SCT": re.compile(r"[1-9]\d{5,17}"),
    "SRT": re.compile(r"[A-Z]\d?-[0-9A-F]{4,6}"),
    "LN": re.compile(r"(LA)?\d{1,6}-\d"),
    "DCM": re.compile(r"\d{6}"),
    "RADLEX": re.compile(r"RID\d{1,6}"),
    **dict.fromkeys(("I10", "I10C", "I11"), re.compile(r"[A-Z0-9]{2,4}(\.[A-Z0-9]{1,4})?")),
}


@dataclass(frozen=True)
class Result:
    """The result that is answered, as far as the log keeps it."""

    run_key: str
    study_key: str
    bundle_hash: str = ""
    policy_hash: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)  # by finding; under "": the whole result


def ordered_id(now_utc: float) -> str:
    """Return a UUID of version 7 (RFC 9562, 5.7): 48 bits of milliseconds, then random ones."""
    value = (int(now_utc * 1000) & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def source_text(claim: Claim, finding: str) -> str:
    """Return what makes a statement one: its channel, its message, its finding. The same again is the same statement."""
    return "|".join((claim.channel, claim.source.replace("|", "%7c"), finding))


def context_of(claim: Claim, reader: Reader, open_tasks: tuple[str, ...]) -> Context:
    """Return the context: of a case that was put before this reader for a reason, that reason.

    Parameters
    ----------
    open_tasks
        Kinds of the open tasks on this result that are meant for the reader; none for one who has answered it before.
    """
    if claim.context is Context.ADJUDICATION or not reader.pseudonym:
        return claim.context
    return next((context for context in CONTEXTS_OF_TASKS if context in open_tasks), claim.context)


def columns_of(claim: Claim, statement: Statement, reader: Reader, result: Result, context: Context) -> dict[str, Any]:
    """Return the columns of one row, without its number, keys and hashes."""
    return {
        "said_utc": float(claim.at.timestamp()),
        "run_key": result.run_key,
        "study_key": result.study_key,
        "finding": statement.finding,
        "verdict": statement.verdict.value,
        "strength": reader.strength.value,
        "channel": claim.channel.value,
        "context": context.value,
        "reader": reader.pseudonym,
        "reader_role": reader.role,
        "experience_years": reader.experience_years,
        "bundle_hash": result.bundle_hash,
        "policy_hash": result.policy_hash,
        "ai_shown": bool(claim.ai_shown),
        "ai_shown_utc": float(claim.ai_shown_at.timestamp()) if claim.ai_shown_at else None,
        "label_before": result.labels.get(statement.finding, ""),
        "label_after": statement.label_after if is_label(statement.label_after) else "",
        "assessment": _within(statement.assessment, 0.0, 1.0),
        "confidence": statement.confidence if statement.confidence in range(1, 6) else None,
        "map_relevant": statement.map_relevant if statement.map_relevant in ("yes", "no", "unsure") else "",
        "reason": claim.reason if claim.reason in REASONS else "",
        "seconds_spent": _within(claim.seconds_spent, 0.0, math.inf),
        "reference_standard": claim.reference_standard.value,
        "reference_value": claim.reference_value if claim.reference_value in ("positive", "negative") else "",
    }


def is_label(text: str) -> bool:
    """Say whether a label may stand in the log: a word of the list, or a code^scheme of a scheme whose codes name no person."""
    value, _, scheme = text.partition("^")
    return text in _LABELS or (scheme in _CODES and _CODES[scheme].fullmatch(value) is not None)


def private_part(claim: Claim, finding: str | None, *, first: bool, run_key: str = "") -> dict[str, Any]:
    """Return the erasable part of one row as JSON has it.

    Keys: ``source, channel, run_key, reader {kind, identity, name}, targets {sop_instance_uids, tracking_uids, identifiers,
    accession_number}, digest, reference_date``, with the first row of a claim also ``comment, evidence, reason_said, labels_said``;
    ``regions``: those of this finding, and with the first row those of no finding that the claim speaks of.

    Parameters
    ----------
    finding
        ``None``: the claim makes no statement, all of it is evidence.
    """
    targets = claim.targets
    spoken_of = {statement.finding for statement in claim.statements}
    content: dict[str, Any] = {
        "source": claim.source,
        "channel": claim.channel.value,
        "run_key": run_key,
        "reader": {name: str.__str__(getattr(claim.reader, name)) for name in ("kind", "identity", "name")},
        "targets": {
            "sop_instance_uids": list(targets.sop_instance_uids),
            "tracking_uids": list(targets.tracking_uids),
            "identifiers": [str.__str__(value) for value in targets.identifiers],
            "accession_number": str.__str__(targets.accession_number),
        },
        "digest": claim.digest,
        "reference_date": claim.reference_date,
        "regions": [
            _region(one)
            for one in claim.regions
            if finding is None or one.finding == finding or (first and one.finding not in spoken_of)
        ],
    }
    if first:
        labels = [[one.finding, one.label_after] for one in claim.statements if one.label_after and not is_label(one.label_after)]
        content |= {"comment": str.__str__(claim.comment), "evidence": {k: str.__str__(v) for k, v in claim.evidence.items()}}
        content |= {"reason_said": "" if claim.reason in REASONS else claim.reason, "labels_said": labels}
    # once through JSON, so that what is hashed is what the database gives back; PostgreSQL's JSON has no room for NUL
    plain: dict[str, Any] = json.loads(json.dumps(content).replace("\\u0000", ""))
    return plain


def _region(region: Region) -> dict[str, Any]:
    return asdict(region) | {"points": [[float(x), float(y)] for x, y in region.points]}


def _within(value: float | None, low: float, high: float) -> float | None:
    if value is None or not math.isfinite(value) or not low <= value <= high:
        return None
    return float(value)
