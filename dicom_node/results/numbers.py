"""Under which numbers receivers know a result: what an answer by HL7 or FHIR will name. Pure.

The message as a whole is known by its artifact's identifier; a person's system keeps the numbers inside: filler numbers (OBR-3),
and the identifiers of reports and observations.
"""

from __future__ import annotations

import json

from dicom_node.core.artifact import FHIR, HL7, Artifact
from dicom_node.core.fhir_names import OBSERVATION_SYSTEM, REPORT_SYSTEM

_RESULTS = ("oru_message", "diagnostic_report")


def numbers_of(artifact: Artifact) -> tuple[str, ...]:
    """Return them, each once; none for what is no message about a result."""
    if artifact.kind not in _RESULTS:
        return ()
    found = {HL7: _of_message, FHIR: _of_bundle}[artifact.media_type](artifact.data)
    return tuple(dict.fromkeys(number for number in found if number))


def _of_message(data: bytes) -> list[str]:
    segments = (segment.split("|") for segment in data.decode().split("\r"))
    return [fields[3].partition("^")[0] for fields in segments if fields[0] == "OBR" and len(fields) > 3]


def _of_bundle(data: bytes) -> list[str]:
    resources = [entry["resource"] for entry in json.loads(data)["entry"]]
    identifiers = (one for resource in resources for one in resource.get("identifier", ()))
    return [one["value"] for one in identifiers if one.get("system") in (REPORT_SYSTEM, OBSERVATION_SYSTEM)]
