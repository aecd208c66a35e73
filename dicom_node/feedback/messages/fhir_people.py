"""Who is named in a FHIR resource as responsible for it. Pure.

Only people count: organisations, devices and care teams hold no opinion. The reference (``Practitioner/17``) is what ``readers``
knows a person by, or an identifier as ``system|value``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dicom_node.core.product import PRODUCT_NAME

Json = dict[str, Any]

_PERSON = re.compile(r"(?:^|/)((?:Practitioner|PractitionerRole)/[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?$")
_PEOPLE = ("Practitioner", "PractitionerRole")
#: Agents of a Provenance that take responsibility for what they signed (FHIR R4, provenance-agent-type).
_RESPONSIBLE = frozenset(("verifier", "author", "attester", "legal", "LA", "AUT", "VRF"))


@dataclass(frozen=True)
class Someone:
    """A person as a resource names them. ``identity`` is empty where only a name is given."""

    identity: str = ""
    name: str = ""


def people_of(resource: Json, element: str) -> tuple[Someone, ...]:
    """Return the people that an element (a reference or a list of them) names, each once."""
    named = resource.get(element) or ()
    references = [named] if isinstance(named, dict) else list(named)
    found = [_someone(one, resource) for one in references if isinstance(one, dict)]
    return tuple(dict.fromkeys(one for one in found if one is not None))


def verifiers(resource: Json, provenances: Iterable[Json]) -> tuple[Someone, ...]:
    """Return who verified or wrote exactly this version, by Provenances that name it."""
    version = str(resource.get("meta", {}).get("versionId", ""))
    this = f"{resource.get('resourceType')}/{resource.get('id')}/_history/{version}"
    found: list[Someone] = []
    for provenance in provenances:
        targets = [str(one.get("reference", "")) for one in provenance.get("target", ())]
        if not version or not any(target == this or target.endswith("/" + this) for target in targets):
            continue
        for agent in provenance.get("agent", ()):
            if _RESPONSIBLE & {coding.get("code") for coding in agent.get("type", {}).get("coding", ())}:
                found += people_of(agent, "who")
    return tuple(dict.fromkeys(found))


def subject_of(resource: Json) -> tuple[str, tuple[str, ...]]:
    """Return the patient that a resource is about: ``Patient/…`` (empty: no such reference), and the numbers that stand there."""
    subject = resource.get("for" if resource.get("resourceType") == "Task" else "subject")
    if not isinstance(subject, dict):
        return "", ()
    name = "/".join(str(subject.get("reference") or "").partition("/_history")[0].split("/")[-2:])
    return name if name.startswith("Patient/") else "", numbers_of_patient({"identifier": [subject.get("identifier")]})


def numbers_of_patient(patient: Json) -> tuple[str, ...]:
    """Return the values of a Patient's identifiers."""
    found = patient.get("identifier")
    identifiers = found if isinstance(found, list) else []
    return tuple(str(one["value"]) for one in identifiers if isinstance(one, dict) and one.get("value"))


def _someone(reference: Json, resource: Json) -> Someone | None:
    text, name = str(reference.get("reference") or ""), str(reference.get("display") or "")
    if text.startswith("#"):
        return _contained(text[1:], name, resource)
    match = _PERSON.search(text)
    if match is not None:
        return Someone(match[1], name)
    if text or reference.get("type", "Practitioner") not in _PEOPLE:
        return None
    identity = _number(reference.get("identifier"))
    if identity or (name and not name.startswith(PRODUCT_NAME)):  # our own performer is a display, too
        return Someone(identity, name)
    return None


def _contained(name: str, display: str, resource: Json) -> Someone | None:
    for one in resource.get("contained", ()):
        if one.get("id") == name and one.get("resourceType") in _PEOPLE:
            numbers = [_number(identifier) for identifier in one.get("identifier", ())]
            return Someone(next((number for number in numbers if number), ""), display or "contained")
    return None


def _number(identifier: Any) -> str:
    if not isinstance(identifier, dict) or not identifier.get("value"):
        return ""
    return f"{identifier.get('system', '')}|{identifier['value']}"
