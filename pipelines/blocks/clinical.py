"""Age, sex, acid-fast smear and mycobacterial species as the eleven numbers that a network takes, known or not.

    age / 80, sex (1 female), smear grade / 4, species one-hot (M. avium complex, M. abscessus, M. kansasii, other),
    and four indicators: 1 where age, sex, smear, species is missing. What is missing is 0.

Age and sex stand in the header. Smear and species come from laboratory messages where the node hears them; laboratories name and
word their results in their own ways, so what cannot be understood with certainty is missing, and the result says so.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from dicom_node.core.age import age_years, parse_date
from dicom_node.core.study import HeaderFacts, LabValue

NUMBERS = 11
SPECIES = ("avium_complex", "abscessus", "kansasii", "other")
PARTS = ("age", "sex", "smear", "species")

_SPECIES_WORDS = (
    ("avium_complex", re.compile(r"avium|intracellulare|chimaera|\bMAC\b", re.IGNORECASE)),
    ("abscessus", re.compile(r"abscessus|massiliense|bolletii", re.IGNORECASE)),
    ("kansasii", re.compile(r"kansasii", re.IGNORECASE)),
)
_TUBERCULOSIS = re.compile(r"tubercul|bovis|africanum|\bMTBC?\b", re.IGNORECASE)
_OTHER_SPECIES = re.compile(r"(mycobacterium |\bM\. ?)(?!spec|isol|detect|grow|cult)[a-z]{4,}", re.IGNORECASE)
_NOTHING = re.compile(r"\bno\b|\bnot\b|negative|none|without", re.IGNORECASE)
_GRADE = re.compile(r"(?<![\d.])([1-4]) ?\+")
_PLUSES = re.compile(r"(?<!\S)(\+{1,4})(?!\S)")
_SCANTY = re.compile(r"scanty|rare|few", re.IGNORECASE)


@dataclass(frozen=True)
class Clinical:
    """What is known of a patient. ``sex``: F, M or "" (unknown). ``smear_grade``: 0..4. ``species``: one of ``SPECIES`` or ""."""

    age_years: float | None = None
    sex: str = ""
    smear_grade: int | None = None
    species: str = ""

    def missing(self) -> tuple[str, ...]:
        """Return the parts that nobody knows, in the order of ``PARTS``."""
        known = (self.age_years is not None, self.sex in ("F", "M"), self.smear_grade is not None, self.species in SPECIES)
        return tuple(part for part, there in zip(PARTS, known, strict=True) if not there)


class LabCodes(BaseModel):
    """Which laboratory results say what, as the laboratory's messages code them (OBX-3)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    smear: tuple[str, ...] = Field(
        default=("11545-1^LN",), description="Codes of an acid-fast smear, as code^scheme. Default: LOINC 11545-1."
    )
    species: tuple[str, ...] = Field(
        default=("543-9^LN",), description="Codes of the mycobacterium that a culture identified. Default: LOINC 543-9."
    )
    most_days: float = Field(default=365, gt=0, description="Results further from the study than this, in days, do not count.")


def encoded(clinical: Clinical) -> NDArray[np.float32]:
    """Return float32 (11,), as above."""
    numbers = np.zeros(NUMBERS, np.float32)
    missing = clinical.missing()
    if clinical.age_years is not None:
        numbers[0] = clinical.age_years / 80
    numbers[1] = float(clinical.sex == "F")
    if clinical.smear_grade is not None:
        numbers[2] = clinical.smear_grade / 4
    if "species" not in missing:
        numbers[3 + SPECIES.index(clinical.species)] = 1
    numbers[7:] = [float(part in missing) for part in PARTS]
    return numbers


def from_header(facts: HeaderFacts) -> Clinical:
    """Return age and sex; sex ``O`` is unknown to a network that learned from two."""
    years = age_years(facts.birth_date.reveal(), facts.patient_age, facts.study_date)
    return Clinical(years, facts.patient_sex if facts.patient_sex in ("F", "M") else "")


def with_labs(clinical: Clinical, labs: Sequence[LabValue], study_date: str, codes: LabCodes) -> Clinical:
    """Return what the laboratory knows beside it: of each test the latest result near the study that can be understood.

    ``labs``: oldest first. ``study_date``: DA; of an unknown date no result is near.
    """
    day = parse_date(study_date)
    if day is None:
        return clinical
    noon = dt.datetime.combine(day, dt.time(12), dt.UTC).timestamp()
    near = [lab for lab in labs if lab.observed_utc is not None and abs(lab.observed_utc - noon) <= codes.most_days * 86_400]
    grades = (smear_grade(lab.value) for lab in near if lab.code in codes.smear)
    species = (species_of(lab.value) for lab in near if lab.code in codes.species)
    return replace(clinical, smear_grade=_last(g for g in grades if g is not None), species=_last(s for s in species if s) or "")


def smear_grade(text: str) -> int | None:
    """Return 0..4 of what a laboratory writes: ``negative``, ``2+``, ``+++``, ``scanty`` (1), ``3``; ``None``: not understood."""
    value = text.strip()
    if value in ("0", "1", "2", "3", "4"):
        return int(value)
    if match := _GRADE.search(value):
        return int(match[1])
    if match := _PLUSES.search(value):
        return len(match[1])
    if _NOTHING.search(value):
        return 0
    return 1 if _SCANTY.search(value) else None


def species_of(text: str) -> str:
    """Return one of ``SPECIES``; "" for a culture without growth, for tuberculosis, several species, or what is not understood."""
    if _NOTHING.search(text) or _TUBERCULOSIS.search(text):
        return ""
    found = [name for name, words in _SPECIES_WORDS if words.search(text)]
    if len(found) > 1:
        return ""
    return found[0] if found else "other" if _OTHER_SPECIES.search(text) else ""


def _last(values: Iterable[Any]) -> Any:
    kept = list(values)
    return kept[-1] if kept else None
