"""By what a FHIR server knows resources of this node, and how a version that we wrote is told from one that somebody else did.

A resource that we update carries a tag with a digest of what we wrote. When the server's version no longer has the content that its
tag tells, somebody else changed it. The digest leaves out what a server may rewrite by itself: id, meta, narrative and the targets
of references.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dicom_node.core.codes import PRIVATE_SCHEME
from dicom_node.core.identifiers import derived_uid

Json = dict[str, Any]

REPORT_SYSTEM = "urn:oid:" + derived_uid("fhir-system", "report")
RUN_SYSTEM = "urn:oid:" + derived_uid("fhir-system", "run")
OBSERVATION_SYSTEM = "urn:oid:" + derived_uid("fhir-system", "observation")
#: A RiskAssessment has the number of the Observation that it stands on, in a system of its own.
RISK_SYSTEM = "urn:oid:" + derived_uid("fhir-system", "risk-assessment")
DIGEST_SYSTEM = "urn:oid:" + derived_uid("fhir-system", "content-digest")

#: Code systems of FHIR by DICOM's Coding Scheme Designator.
CODE_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    PRIVATE_SCHEME: "urn:oid:" + derived_uid("coding-scheme", PRIVATE_SCHEME),
}

_LEFT_TO_THE_SERVER = frozenset({"id", "meta", "text"})


def content_digest(resource: Json) -> str:
    """Return a digest of what the resource says, the same before and after a server has stored it."""
    said = {key: value for key, value in resource.items() if key not in _LEFT_TO_THE_SERVER}
    text = json.dumps(_plain(said), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "reference"}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return value


def written_by_us(resource: Json) -> bool:
    """Say whether the server's version is, in content, the one that we wrote last."""
    return content_digest(resource) in digests(resource)


def digests(resource: Json) -> set[str]:
    """Return the digests that its tags carry: of what we wrote."""
    return {tag.get("code", "") for tag in resource.get("meta", {}).get("tag", ()) if tag.get("system") == DIGEST_SYSTEM}
