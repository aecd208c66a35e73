"""Small FHIR R4 pieces: codings, identifiers, date-times, entries of a transaction."""

from __future__ import annotations

import datetime as dt
import urllib.parse
import uuid
import warnings
from typing import Any

from dicom_node.core.codes import Code
from dicom_node.core.fhir_names import CODE_SYSTEMS
from dicom_node.core.identifiers import NAMESPACE

Json = dict[str, Any]

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
DICOM_UID = "urn:dicom:uid"  # system of DICOM UIDs as FHIR identifiers (FHIR R4, Identifier registry)

#: "Artificial Intelligence asserted" (HL7 v3 ObservationValue): machines made this.
AI_ASSERTED = {"system": f"{TERMINOLOGY}/v3-ObservationValue", "code": "AIAST", "display": "Artificial Intelligence asserted"}


def coding(code: Code) -> Json:
    """Return a Coding. A LOINC code goes without display: DICOM's meaning of it is not LOINC's own wording."""
    made = {"system": CODE_SYSTEMS[code.scheme], "code": code.value}
    return made if code.scheme == "LN" else {**made, "display": code.meaning}


def concept(*codes: Code, text: str = "") -> Json:
    """Return a CodeableConcept; the first coding is ours to mean."""
    made: Json = {"coding": [coding(code) for code in codes]}
    if text:
        made["text"] = text
    return made


def term(system: str, code: str, display: str) -> Json:
    """Return a CodeableConcept of HL7's own terminology, e.g. ``term("v2-0074", "RAD", "Radiology")``."""
    return {"coding": [{"system": f"{TERMINOLOGY}/{system}", "code": code, "display": display}]}


def uid_identifier(uid: str) -> Json:
    """Return a DICOM UID as an Identifier."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def full_url(run_key: str, *parts: str) -> str:
    """Return the name of an entry within its transaction; it depends on its arguments alone."""
    return f"urn:uuid:{uuid.uuid5(NAMESPACE, '|'.join((run_key, *parts)))}"


def moment(value: dt.datetime) -> str:
    """Return a date-time with its zone; seconds are enough."""
    assert value.tzinfo is not None, "a FHIR date-time with a time carries a zone"
    return value.isoformat(timespec="seconds")


def identifier_query(identifier: Json) -> str:
    """Return the search that finds a resource by this identifier."""
    token = f"{identifier.get('system', '')}|{identifier['value']}"
    return "identifier=" + urllib.parse.quote(token, safe=":/")


def create_once(url: str, resource: Json) -> Json:
    """Return an entry that creates the resource unless one has its first identifier (FHIR R4, 3.1.0.8.1)."""
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": identifier_query(resource["identifier"][0])}
    return {"fullUrl": url, "resource": resource, "request": request}


def create_or_update(url: str, resource: Json) -> Json:
    """Return an entry that updates the resource that has its first identifier, or creates it (FHIR R4, 3.1.0.4.3)."""
    query = identifier_query(resource["identifier"][0])
    return {"fullUrl": url, "resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}?{query}"}}


def put(url: str, resource: Json) -> Json:
    """Return an entry that writes the resource under its own id."""
    return {
        "fullUrl": url,
        "resource": resource,
        "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
    }


def check_bundle(bundle: Json) -> None:
    """Check all that we send with the R4B models of ``fhir.resources``, which differ from R4 in none of the elements used.

    Raises
    ------
    ValueError
        The resources are not valid (a defect).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the models' own deprecations
        from fhir.resources.R4B.bundle import Bundle  # late: half a second that only a FHIR destination should cost

        Bundle.model_validate(bundle)
