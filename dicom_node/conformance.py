"""The tables of the conformance statement, from the code: ``python -m dicom_node.conformance`` writes them into the document.

The document holds each table between ``<!-- table: NAME -->`` and ``<!-- end -->``; a test compares the two.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom.uid import UID

from dicom_node.archive import query_status
from dicom_node.archive.settings import ArchiveSettings
from dicom_node.core import abstentions, codes, product
from dicom_node.core.artifact import DICOM
from dicom_node.core.delivery import Outcome
from dicom_node.core.feedback import ASSESSMENT, HIDE_NOTE
from dicom_node.core.withdrawal import NOTE
from dicom_node.delivery.commitment import failure_rows as commitment_failures
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.feedback.settings import AnswerAeSettings
from dicom_node.network import dimse_status, requestor
from dicom_node.plugins import known_kinds, load_kind
from dicom_node.reception import admission, presentation_contexts, status
from dicom_node.reception.settings import ReceptionSettings
from dicom_node.results.assessments import report as assessment
from dicom_node.results.withdrawals import rejection_note
from dicom_node.web.stow_parts import NO_SUCH_CLASS, NO_SUCH_SYNTAX

DOCUMENT = Path(__file__).resolve().parents[1] / "conformance_statement.md"
_TABLE = re.compile(r"(<!-- table: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _received() -> str:
    rows = [("Verification SOP Class", presentation_contexts.VERIFICATION)]
    rows += [(name, uid) for uid, name in presentation_contexts.STORAGE_SOP_CLASSES.items()]
    return _markdown(("SOP class", "UID"), rows)


def _transfer_syntaxes() -> str:
    return _markdown(("Transfer syntax", "UID"), [(name, uid) for uid, name in presentation_contexts.TRANSFER_SYNTAXES.items()])


def dicom_outputs() -> dict[str, tuple[str, ...]]:
    """Return the DICOM outputs by kind with the SOP classes that they make."""
    modules = {kind: load_kind("output", kind) for kind in known_kinds("output")}
    return {kind: tuple(module.SOP_CLASS_UIDS) for kind, module in modules.items() if module.MEDIA_TYPE == DICOM}


def _sent() -> str:
    made = {**dicom_outputs(), ASSESSMENT: (assessment.SOP_CLASS_UID,)}
    made |= {f"{HIDE_NOTE}, {NOTE}": (rejection_note.SOP_CLASS_UID,)}
    rows = [(kind, UID(uid).name, uid) for kind, uids in made.items() for uid in uids]
    return _markdown(("Output", "SOP class", "UID"), rows)


def _identity() -> str:
    rows = [
        ("Implementation Class UID", product.IMPLEMENTATION_CLASS_UID),
        ("Implementation Version Name", product.IMPLEMENTATION_VERSION_NAME),
        ("Manufacturer's Model Name of created objects", product.PRODUCT_NAME),
    ]
    return _markdown(("Item", "Value"), rows)


_RESULT = {1: "permanent", 2: "transient"}
_SOURCE = {1: "service user", 2: "service provider, ACSE", 3: "service provider, presentation"}
_REASON = {  # by source (PS3.8, table 9-21)
    (1, 1): "no reason given",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


def _rejections() -> str:
    made = [value for value in vars(admission).values() if isinstance(value, admission.Rejection)]
    rows = [(r.text, _RESULT[r.result], _SOURCE[r.source], f"{_REASON[r.source, r.reason]} ({r.reason})") for r in made]
    return _markdown(("Rejected because", "Result", "Source", "Reason"), rows)


_LIMITS = (
    "max_associations",
    "max_associations_per_peer",
    "max_pdu_bytes",
    "max_object_bytes",
    "network_timeout_seconds",
    "dimse_timeout_seconds",
    "idle_seconds",
)


def _limits() -> str:
    fields = ReceptionSettings.model_fields
    rows = [(f"`reception.{name}`", str(fields[name].default), fields[name].description or "") for name in _LIMITS]
    return _markdown(("Limit", "Default", "Meaning"), rows)


def _waits() -> str:
    deliver, query = DestinationSettings.model_fields["timeout_seconds"], ArchiveSettings.model_fields
    settings = (
        f"`timeout_seconds`: Deliver {deliver.default:g}, Query {query['timeout_seconds'].default:g}; "
        f"`fetch_timeout_seconds` {query['fetch_timeout_seconds'].default:g}"
    )
    rows = [
        ("the connection; the TLS handshake; the answer to the association request; each DIMSE answer; the release", settings),
        ("a PDU that was begun, either way, until it is whole", "the same"),
        ("a whole message, until it has left", f"{requestor.MOST_SENDING_SECONDS:g}"),
        ("everything that is answered or sent on one association", f"{requestor.MOST_SECONDS:g}"),
    ]
    return _markdown(("Waits for", "Longest, in seconds"), rows)


def _store_answers() -> str:
    rows = [(f"0x{row.code:04X}", row.meaning, row.source) for row in (*status.ALL, *status.OF_ANSWERS)]
    return _markdown(("Status", "When", "Source"), rows)


def _answer_ae_titles() -> str:
    fields = AnswerAeSettings.model_fields
    names = ("accept", "reject", "amend")
    rows = [(f"`feedback.answer_ae.{name}`", str(fields[name].default), fields[name].description or "") for name in names]
    return _markdown(("Setting", "Default", "Meaning"), rows)


def _store_statuses() -> str:
    does = {
        Outcome.DELIVERED: "delivered, or sent until it is proven",
        Outcome.WARNING: "the same, with a warning that is told",
        Outcome.RETRY: "tried again",
        Outcome.REJECT: "parked",
    }
    rows = [(codes_, meaning.text or "success", does[meaning.outcome]) for codes_, meaning in dimse_status.table()]
    return _markdown(("Status of the peer", "Meaning", "What this node does"), rows)


def _query_statuses() -> str:
    return _markdown(("Status of the archive", "Meaning"), query_status.table())


def _stow_answers() -> str:
    rows = [row for row in (*status.ALL, NO_SUCH_CLASS, NO_SUCH_SYNTAX) if row.code]
    return _markdown(("Failure Reason", "When", "Source"), [(f"0x{row.code:04X}", row.meaning, row.source) for row in rows])


def _commitment_failures() -> str:
    return _markdown(("Failure Reason", "Meaning", "What this node does"), commitment_failures())


def _private_codes() -> str:
    named = [value for value in vars(codes).values() if isinstance(value, codes.Code) and value.scheme == codes.PRIVATE_SCHEME]
    refusals = [r.code for r in abstentions.REASONS.values() if r.code.scheme == codes.PRIVATE_SCHEME]
    return _markdown(("Code value", "Code meaning"), [(code.value, code.meaning) for code in (*named, *refusals)])


def _refusals() -> str:
    rows = [(r.text, r.code.value, r.code.scheme, r.code.meaning) for r in abstentions.REASONS.values()]
    return _markdown(("Not analysed, because", "Code value", "Scheme", "Code meaning"), rows)


TABLES = {
    "received-sop-classes": _received,
    "received-transfer-syntaxes": _transfer_syntaxes,
    "sent-sop-classes": _sent,
    "identity": _identity,
    "rejections": _rejections,
    "reception-limits": _limits,
    "requestor-waits": _waits,
    "store-answers": _store_answers,
    "answer-ae-titles": _answer_ae_titles,
    "store-statuses": _store_statuses,
    "query-statuses": _query_statuses,
    "stow-answers": _stow_answers,
    "commitment-failures": _commitment_failures,
    "private-codes": _private_codes,
    "refusals": _refusals,
}


def rendered(text: str) -> str:
    """Return the document with every table as the code has it now.

    Raises
    ------
    KeyError
        The document names a table that there is not.
    """
    return _TABLE.sub(lambda match: match.group(1) + TABLES[match.group("name")]() + match.group(3), text)


def main() -> int:
    """Rewrite the document; 0 when it was up to date already, else 1."""
    before = DOCUMENT.read_text(encoding="utf-8")
    after = rendered(before)
    DOCUMENT.write_text(after, encoding="utf-8")
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
