"""Input gates: each says pass, flag, reject or unknown, with a code, and is a pure function of header facts or of the picture.

Unknown means "the header does not say": a gate on the pixels then decides, nothing is guessed. Rejections carry a key of
``core/abstentions.py``, flags the key of a ``core.findings.Flag``.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.age import age_years
from dicom_node.core.study import HeaderFacts


class Outcome(enum.StrEnum):
    """What a gate says."""

    PASS = "pass"
    FLAG = "flag"  # goes on; the result is not called normal
    REJECT = "reject"  # a coded refusal
    UNKNOWN = "unknown"  # the header is silent: the pixels decide


@dataclass(frozen=True)
class Gate:
    """One gate's answer. ``detail`` names facts, never an identifier."""

    name: str
    outcome: Outcome
    code: str = ""
    detail: str = ""


_CHEST = frozenset({"CHEST", "THORAX", "LUNG", "LUNGS", "THORACIC"})
# SNOMED CT Chest, Thoracic structure, Lung; and the SNOMED-RT codes that they replace (PS3.16 CID 4031 and its retired codes)
_CHEST_CODES = frozenset({"816094009", "51185008", "39607008", "T-D3000", "T-28000"})
_PA, _AP = frozenset({"PA", "POSTEROANTERIOR", "POSTERO-ANTERIOR"}), frozenset({"AP", "ANTEROPOSTERIOR", "ANTERO-POSTERIOR"})
_PA_CODES = frozenset({"272479007", "R-10214"})  # PS3.16 CID 4010
_AP_CODES = frozenset({"399348003", "R-10206"})
_FRONTAL_CODES = frozenset({"260421001"})  # frontal, side not said
_NOT_SAID = frozenset({"", "FRONTAL", "UNKNOWN", "OTHER", "NONE", "FREE", "UNDEFINED", "UNSPECIFIED"})


def body_part_gate(facts: HeaderFacts) -> Gate:
    """Chest by Body Part Examined or Anatomic Region Sequence passes; another part is rejected; silence is unknown."""
    words = set(re.split(r"[^A-Z]+", facts.body_part)) - {""}
    if words & _CHEST and not words & {"ABDOMEN", "PELVIS"}:
        return Gate("body_part", Outcome.PASS, detail=facts.body_part)
    if any(code in _CHEST_CODES for code in facts.anatomic_regions):
        return Gate("body_part", Outcome.PASS, detail="anatomic region code")
    if facts.body_part and facts.body_part not in _NOT_SAID:
        return Gate("body_part", Outcome.REJECT, "not_chest", f"Body Part Examined is {facts.body_part[:32]}")
    if facts.anatomic_regions:
        return Gate("body_part", Outcome.REJECT, "not_chest", "Anatomic Region Sequence names another region")
    return Gate("body_part", Outcome.UNKNOWN)


def view_of(facts: HeaderFacts) -> str:
    """Return ``PA``, ``AP``, ``other`` or ``""`` (the header does not say)."""
    position = facts.view_position
    if position in _PA:
        return "PA"
    if position in _AP:
        return "AP"
    if position not in _NOT_SAID:
        return "other"
    codes = set(facts.view_codes)
    if codes & _PA_CODES:
        return "PA"
    if codes & _AP_CODES:
        return "AP"
    return "other" if codes - _FRONTAL_CODES else ""


def view_gate(facts: HeaderFacts, *, accept_ap: bool) -> Gate:
    """PA passes; AP is flagged where it is accepted, else rejected; laterals and obliques are rejected; silence is unknown."""
    view = view_of(facts)
    if view == "PA":
        return Gate("view", Outcome.PASS, detail="PA")
    if view == "AP" and accept_ap:
        return Gate("view", Outcome.FLAG, "ap_view", "AP view")
    if view == "AP":
        return Gate("view", Outcome.REJECT, "ap_view")
    if view == "other":
        return Gate(
            "view", Outcome.REJECT, "not_frontal", f"View Position is {facts.view_position[:16]}" if facts.view_position else ""
        )
    return Gate("view", Outcome.UNKNOWN)


def age_gate(facts: HeaderFacts, *, youngest: float, accept_unknown: bool) -> Gate:
    """Younger than the intended use is rejected; unknown is rejected unless the rule allows it, then flagged."""
    years = age_years(facts.birth_date.reveal(), facts.patient_age, facts.study_date)
    if years is None:
        if accept_unknown:
            return Gate("age", Outcome.FLAG, "age_unknown", "patient age unknown")
        return Gate("age", Outcome.REJECT, "age_unknown", "neither Birth Date nor Patient Age gives an age")
    if years < youngest:
        return Gate("age", Outcome.REJECT, "too_young", f"younger than {youngest:g} years")
    return Gate("age", Outcome.PASS)


def matrix_gate(rows: int | None, columns: int | None, *, least: int, low: int, most: int) -> Gate:
    """A short side below ``least`` or a long side above ``most`` pixels is rejected, below ``low`` flagged; unknown if not said."""
    if rows is None or columns is None:
        return Gate("matrix", Outcome.UNKNOWN)
    size = f"{rows} x {columns} pixels"
    if min(rows, columns) < least or max(rows, columns) > most:
        return Gate("matrix", Outcome.REJECT, "matrix_size", size)
    if min(rows, columns) < low:
        return Gate("matrix", Outcome.FLAG, "low_resolution", size)
    return Gate("matrix", Outcome.PASS, detail=size)


def spacing_gate(facts: HeaderFacts, *, least_mm: float, most_mm: float) -> Gate:
    """A field of view that no adult chest radiograph has is flagged; without a spacing above 0 it is unknown."""
    spacing = facts.imager_pixel_spacing_mm or facts.pixel_spacing_mm
    if len(spacing) < 2 or min(spacing[:2]) <= 0 or not facts.rows or not facts.columns:
        return Gate("field_of_view", Outcome.UNKNOWN)
    height, width = spacing[0] * facts.rows, spacing[1] * facts.columns
    detail = f"{height:.0f} x {width:.0f} mm"
    if not least_mm <= height <= most_mm or not least_mm <= width <= most_mm:
        return Gate("field_of_view", Outcome.FLAG, "odd_field_of_view", detail)
    return Gate("field_of_view", Outcome.PASS, detail=detail)


def contrast_gate(values: NDArray[np.float32], *, saturated: float) -> Gate:
    """An empty or two-valued picture is rejected; clipped white over more than ``saturated`` of the middle is flagged.

    ``values``: float32 (rows, columns), 0..1.
    """
    rows, columns = values.shape
    step = max(1, min(rows, columns) // 500)
    middle = values[rows // 10 : rows - rows // 10 : step, columns // 10 : columns - columns // 10 : step]
    low, high = np.percentile(middle, (2, 98))
    if high - low < 0.02 or np.unique((middle * 255).astype(np.uint8)).size < 8:
        return Gate("contrast", Outcome.REJECT, "poor_quality", "the picture is empty or has almost no grey levels")
    white = float((middle >= 0.999).mean())
    if white > saturated:
        return Gate("contrast", Outcome.FLAG, "saturated", f"{white:.0%} of the middle of the picture is clipped to white")
    return Gate("contrast", Outcome.PASS)
