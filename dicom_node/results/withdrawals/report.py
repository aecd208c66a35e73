"""The FHIR transaction that takes a result back: the same resources in a new version, ``entered-in-error``.

R4 has two words. ``cancelled`` says that a report was never completed; ``entered-in-error`` that it must not be used although it
was there, which is what happened. What a careless reader could still take for a result (conclusion, codes, interpretation, the
page) is taken out; the values stay, as the standard wants it, for whoever has to explain them.
"""

from __future__ import annotations

import json
from typing import Any

from dicom_node.core.artifact import FHIR, Artifact
from dicom_node.core.withdrawal import REPORT
from dicom_node.results.withdrawals.withdrawal import Withdrawal

_STATUS = "entered-in-error"


def build(withdrawal: Withdrawal) -> Artifact:
    """Build the transaction from the one that was sent; whoever sends it updates what the server has and creates nothing."""
    sent = withdrawal.of(FHIR)[0]
    bundle = json.loads(sent.data)
    words = f"WITHDRAWN. {withdrawal.cause.sentence}"
    at = withdrawal.at.isoformat(timespec="seconds")
    entries = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] != "Provenance"]
    for entry in entries:
        resource: dict[str, Any] = entry["resource"]
        kind = resource["resourceType"]
        if kind not in ("DiagnosticReport", "Observation", "RiskAssessment"):
            continue
        resource["status"] = _STATUS
        if kind != "RiskAssessment":  # it has no such element
            resource["issued"] = at
        if kind == "DiagnosticReport":
            resource["conclusion"] = words
            for name in ("conclusionCode", "presentedForm"):
                resource.pop(name, None)
        else:
            resource.pop("interpretation", None)
            for prediction in resource.get("prediction", ()):
                prediction.pop("rationale", None)
            resource["note"] = [{"text": words}, *resource.get("note", [])]
    data = json.dumps({**bundle, "entry": entries}, ensure_ascii=False, indent=1).encode()
    return Artifact(withdrawal.run_key, REPORT, FHIR, sent.identifier, data)
