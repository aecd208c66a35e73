"""FHIR R4 Observations of a laboratory: what each says, and of whom. Pure.

What is not as the standard has it may raise ``ValueError`` or ``TypeError``.

======================================  ===========================================================================
status                                  what it does
======================================  ===========================================================================
final, corrected, amended               the value counts, and replaces what older versions of the resource said
entered-in-error, cancelled             what older versions of the resource said is taken back
registered, preliminary, unknown        nothing
======================================  ===========================================================================

Which version is older, and what counts where several resources and messages speak of one test: ``standing_values``.

Read are valueCodeableConcept, valueString, valueInteger and valueQuantity. The code is every coding with a system; ``code^scheme``
has the system as HL7 names it (LN, SCT), else its URI.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dicom_node.core.fhir_names import CODE_SYSTEMS
from dicom_node.core.identifiers import plain
from dicom_node.core.phi import Phi
from dicom_node.orders.laboratory import Value
from dicom_node.orders.people import Identifier
from dicom_node.orders.standing_values import WITHDRAWN

Json = dict[str, Any]


class Times(NamedTuple):
    """Seconds since 1970, UTC; ``None``: not said."""

    stated_utc: float | None
    version_utc: float | None


_STATUS = {"final": "F", "corrected": "C", "amended": "C", "entered-in-error": "W", "cancelled": "W"}
_SCHEMES = {uri: scheme for scheme, uri in CODE_SYSTEMS.items()}
_LONGEST = 200
_MOST_CODINGS = 20


def values_of(observation: Json, timezone: dt.tzinfo) -> tuple[Value, ...] | None:
    """Return what an Observation says, once under each of its codes; ``None`` where its status says nothing.

    One without a code: it holds no value (any more), so what it said before does not hold either.

    Parameters
    ----------
    timezone
        Of the site, for a date without time: that is its noon.
    """
    status = _STATUS.get(str(observation.get("status")), "")
    value, unit = _value(observation)
    if not status:
        return None
    observed = _observed(observation, timezone)
    codes = _codes(observation) if value or status in WITHDRAWN else ()
    return tuple(Value(code, value, unit, status, observed) for code in codes) or (Value("", "", "", status, None),)


def times_of(observation: Json, timezone: dt.tzinfo) -> Times:
    """Return when an Observation was said; of what is taken back ``issued`` is not asked, it may be that of the value."""
    version = _moment(_object(observation.get("meta")).get("lastUpdated"), timezone)
    issued = _moment(observation.get("issued"), timezone)
    taken_back = _STATUS.get(str(observation.get("status"))) in WITHDRAWN
    return Times(version if taken_back or issued is None else issued, version)


def patients_of(patient: Json, systems: Mapping[str, str]) -> tuple[Identifier, ...]:
    """Return the numbers of a Patient that images may carry, each with the issuer that they name beside it; not those marked old.

    Parameters
    ----------
    systems
        URI of an identifier's system -> Issuer of Patient ID of the same numbers in images; empty: the images name none.
    """
    found = []
    for one in _objects(patient.get("identifier")):
        system, number = one.get("system"), one.get("value")
        if system in systems and isinstance(number, str) and number.strip() and one.get("use") != "old":
            found.append(Identifier(Phi(_text(number)), Phi(systems[str(system)])))
    return tuple({one.key: one for one in found}.values())


def subject_name(observation: Json) -> str:
    """Return the reference to the patient as ``Patient/17`` or ``#p``; empty where none is named."""
    reference = _object(observation.get("subject")).get("reference")
    text = reference.partition("/_history")[0] if isinstance(reference, str) else ""
    if text.startswith("#"):
        return text
    name = "/".join(text.split("/")[-2:])
    return name if name.startswith("Patient/") else ""


def subject_within(observation: Json, others: Sequence[Json] = ()) -> Json | None:
    """Return the patient as far as the resource, or what came with it, says who it is; ``None``: the server must be asked.

    A reference that leads somewhere counts before an identifier that stands beside it.
    """
    name = subject_name(observation)
    if name.startswith("#"):
        inside = (one for one in _objects(observation.get("contained")) if one.get("resourceType") == "Patient")
        return next((one for one in inside if one.get("id") == name[1:]), None)
    if name:
        same = (one for one in others if one.get("resourceType") == "Patient" and f"Patient/{one.get('id')}" == name)
        return next(same, None)
    identifier = _object(observation.get("subject")).get("identifier")
    return {"resourceType": "Patient", "identifier": [identifier]} if isinstance(identifier, dict) else None


def names_another(observation: Json, numbers: Sequence[Identifier], systems: Mapping[str, str]) -> bool:
    """Say whether an identifier beside the reference is none of these numbers: then nobody knows which of the two is meant."""
    beside = patients_of({"identifier": [_object(observation.get("subject")).get("identifier")]}, systems)
    return any(one.key not in {known.key for known in numbers} for one in beside)


def code_tokens(codes: Sequence[str]) -> str:
    """Return codes as a search parameter has them, ``system|code``, joined by commas; a scheme without a URI is left out."""
    found = []
    for one in codes:
        code, _, scheme = one.partition("^")
        system = CODE_SYSTEMS.get(scheme, scheme if ":" in scheme else "")
        if system:
            found.append(f"{escaped(system)}|{escaped(code)}")
    return ",".join(found)


def escaped(text: str) -> str:
    """Return a value as a search parameter may hold it (FHIR R4, 3.1.1.4.0)."""
    for letter in "\\$,|":
        text = text.replace(letter, "\\" + letter)
    return text


def is_number(patient: Json, system: str, number: str) -> bool:
    """Say whether a Patient has exactly this number in this system; a server's search alone is not believed."""
    named = _objects(patient.get("identifier"))
    return any(one.get("system") == system and plain(str(one.get("value", ""))) == plain(number) for one in named)


def _codes(observation: Json) -> tuple[str, ...]:
    found = []
    for coding in _objects(_object(observation.get("code")).get("coding"))[:_MOST_CODINGS]:
        system, code = coding.get("system"), coding.get("code")
        if isinstance(system, str) and isinstance(code, str) and system and code:
            found.append(_text(f"{code}^{_SCHEMES.get(system, system)}"))
    return tuple(dict.fromkeys(found))


def _value(observation: Json) -> tuple[str, str]:
    """Return value and unit as HL7 messages have them: a code as ``code^text^scheme``."""
    concept, quantity = observation.get("valueCodeableConcept"), observation.get("valueQuantity")
    if isinstance(concept, dict):
        coding = next(iter(_objects(concept.get("coding"))), {})
        text = concept.get("text") or coding.get("display") or ""
        system = str(coding.get("system") or "")
        parts = (coding.get("code") or "", text, _SCHEMES.get(system, system))
        return _text("^".join(str(part) for part in parts).rstrip("^")), ""
    if isinstance(quantity, dict) and isinstance(quantity.get("value"), int | float):
        number = f"{quantity['value']:.10g}"
        return _text(f"{quantity.get('comparator') or ''}{number}"), _text(str(quantity.get("unit") or quantity.get("code") or ""))
    if isinstance(observation.get("valueString"), str):
        return _text(observation["valueString"].strip()), ""
    whole = observation.get("valueInteger")
    return (str(whole), "") if isinstance(whole, int) and not isinstance(whole, bool) else ("", "")


def _observed(observation: Json, timezone: dt.tzinfo) -> float | None:
    """Return when it was observed, else issued."""
    period = _object(observation.get("effectivePeriod"))
    stated = [observation.get(name) for name in ("effectiveDateTime", "effectiveInstant")]
    stated += [period.get("start"), period.get("end"), observation.get("issued")]
    return _moment(next((one for one in stated if isinstance(one, str) and one), ""), timezone)


def _moment(text: Any, timezone: dt.tzinfo) -> float | None:
    """Return a moment in seconds since 1970, UTC; ``None``: not said, or to the month only."""
    if not isinstance(text, str):
        return None
    try:
        if len(text) == 10:
            return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(12), timezone).timestamp()
        at = dt.datetime.fromisoformat(text) if len(text) > 10 else None
        return None if at is None else (at if at.tzinfo else at.replace(tzinfo=timezone)).timestamp()
    except (ValueError, OverflowError):
        return None


def _text(value: str) -> str:
    """Return text that a database can keep; ``ValueError`` where it cannot."""
    if "\0" in value:
        raise ValueError("a NUL character")
    value.encode()  # half a character raises UnicodeEncodeError, which is a ValueError
    return value[:_LONGEST]


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
