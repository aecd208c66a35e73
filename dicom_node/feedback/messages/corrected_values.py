"""What a corrected value says of a finding, in a message or a FHIR resource: present, absent, unsure, or a code. Pure.

Closed tables of codes and English words; what is not in them gives no label, and the answer is kept without one.
"""

from __future__ import annotations

import math
import re

from dicom_node.core.fhir_names import CODE_SYSTEMS
from dicom_node.feedback.reports.assessment_codes import LABELS

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
#: FHIR's name of a code system -> the designator that HL7 v2 and DICOM use.
_SCHEMES = {url: scheme for scheme, url in CODE_SYSTEMS.items()} | {
    f"{_TERMINOLOGY}/v3-ObservationInterpretation": "HL70078",
    f"{_TERMINOLOGY}/v2-0078": "HL70078",
    f"{_TERMINOLOGY}/v2-0136": "HL70136",
}
#: Beside the codes of our own reports: SNOMED CT qualifiers, LOINC answers, HL7 tables 0078 and 0136.
_CODES = {
    **dict.fromkeys((("52101004", "SCT"), ("10828004", "SCT"), ("LA9633-4", "LN"), ("LA6576-8", "LN")), "present"),
    **dict.fromkeys((("POS", "HL70078"), ("A", "HL70078"), ("Y", "HL70136")), "present"),
    **dict.fromkeys((("2667000", "SCT"), ("260385009", "SCT"), ("LA9634-2", "LN"), ("LA6577-6", "LN")), "absent"),
    **dict.fromkeys((("NEG", "HL70078"), ("N", "HL70078"), ("N", "HL70136")), "absent"),
    **dict.fromkeys((("IND", "HL70078"), ("LA11884-6", "LN")), "unsure"),
}
_WORDS = {
    **dict.fromkeys(("present", "positive", "abnormal", "yes", "true"), "present"),
    **dict.fromkeys(("absent", "negative", "normal", "no", "false"), "absent"),
    **dict.fromkeys(("unsure", "indeterminate", "equivocal", "undetermined", "uncertain"), "unsure"),
}
_PLAIN = re.compile(r"[A-Za-z0-9._:/+-]{1,64}")


def scheme_of(system: str) -> str:
    """Return the designator of a FHIR code system; the system itself where it has none."""
    return _SCHEMES.get(system, system)


def label_of_code(value: str, scheme: str) -> str:
    """Return the label of a code, else the code as ``code^scheme``; empty where it is none."""
    known = LABELS.get((value, scheme)) or _CODES.get((value, {"L": "", "LOINC": "LN", "SNOMED": "SCT"}.get(scheme, scheme)))
    if known:
        return known
    return f"{value}^{scheme}" if _PLAIN.fullmatch(value) and _PLAIN.fullmatch(scheme) else ""


def label_of_text(text: str) -> str:
    """Return the label of a single word; empty for any other text: sentences are not read."""
    return _WORDS.get(text.strip().casefold(), "")


def label_of_number(number: float) -> tuple[str, float | None]:
    """Return label and assessment of a corrected probability: only 1 and 0 are labels, the rest says how likely it is held."""
    if not math.isfinite(number) or not 0 <= number <= 1:
        return "", None
    return {0.0: "absent", 1.0: "present"}.get(number, ""), number


def same_number(one: float, other: float) -> bool:
    """Say whether two numbers are the same as they are written: four decimals."""
    return round(one, 4) == round(other, 4)
