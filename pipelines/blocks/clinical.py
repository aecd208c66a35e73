"""Age, sex, acid-fast smear and mycobacterial species as the eleven numbers that a network takes, known or not.

    age / 80, sex (1 female), smear grade / 4, species one-hot (M. avium complex, M. abscessus, M. kansasii, other),
    and four indicators: 1 where age, sex, smear, species is missing. What is missing is 0.

Age and sex stand in the header. Smear and species come from the laboratory (``laboratory.py``), which words its results in its own
ways: what cannot be understood with certainty is missing, and the result says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.age import age_years
from dicom_node.core.study import HeaderFacts

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
#: Nobody looked: this is no negative result.
_NOT_EXAMINED = re.compile(
    r"\bnot (?:done|performed|tested|examined|processed|received|requested|reported|available|applicable)"
    r"|\bno (?:specimen|sample|material|sputum|result)|cancel|insufficient|inadequate|unsuitable|rejected",
    re.IGNORECASE,
)
#: More is to come of this culture, or nothing can.
_UNDECIDED = re.compile(
    r"pending|to follow|in progress|preliminary|interim|to date|so far|\byet\b|not identified|contaminat", re.IGNORECASE
)
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


def smear_grade(text: str) -> int | None:
    """Return 0..4 of what a laboratory writes: ``negative``, ``2+``, ``+++``, ``scanty`` (1), ``3``.

    ``None``: not understood, or nobody looked.
    """
    value = text.strip()
    if value in ("0", "1", "2", "3", "4"):
        return int(value)
    if match := _GRADE.search(value):
        return int(match[1])
    if match := _PLUSES.search(value):
        return len(match[1])
    if _NOT_EXAMINED.search(value):
        return None
    if _NOTHING.search(value):
        return 0
    return 1 if _SCANTY.search(value) else None


def species_of(text: str) -> str:
    """Return one of ``SPECIES``; "" for a culture without growth, for tuberculosis, several species, or what is not understood."""
    if _NOTHING.search(text) or _TUBERCULOSIS.search(text):
        return ""
    found = _groups(text)
    if len(found) > 1:
        return ""
    return found[0] if found else "other" if _OTHER_SPECIES.search(text) else ""


def ends_without_species(text: str) -> bool:
    """Say whether a culture's result is there and names none of ``SPECIES``: no growth, tuberculosis, several species.

    What nobody examined, or what more is to come of, is no such result; nor is a text that names one of ``SPECIES`` and denies
    something: which of the two it denies only a person can tell.
    """
    if _NOT_EXAMINED.search(text) or _UNDECIDED.search(text):
        return False
    groups, nothing = _groups(text), _NOTHING.search(text)
    if nothing and len(groups) == 1:
        return False
    return bool(nothing or _TUBERCULOSIS.search(text) or len(groups) > 1)


def _groups(text: str) -> list[str]:
    return [name for name, words in _SPECIES_WORDS if words.search(text)]
