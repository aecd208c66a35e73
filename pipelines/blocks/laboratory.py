"""Which of a patient's laboratory results say smear and species of this study, and which of the two nobody has told yet.

Of each test the latest result near the study that can be understood counts; where a culture's latest results name several species,
none does. What a person said for this study on the node's page comes before it: that person has seen what the laboratory wrote.

A negative smear is grade 0, a value like others. A culture without growth, with tuberculosis or with several species names none of
the species that the network takes: it stays unknown, but the result is there, and nobody waits for it any more. "Not known" by
a person hides nothing, it only ends the waiting.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from dicom_node.core.age import parse_date
from dicom_node.core.laboratory import LabInput
from dicom_node.core.study import LabValue
from pipelines.blocks.clinical import SPECIES, Clinical, ends_without_species, smear_grade, species_of

FORM = "form"
NAMES = {"smear": "acid-fast smear", "species": "mycobacterial species"}
_CHOICES = {
    "smear": (("0", "negative"), ("1", "scanty or 1+"), ("2", "2+"), ("3", "3+"), ("4", "4+")),
    "species": tuple(zip(SPECIES, ("M. avium complex", "M. abscessus", "M. kansasii", "another nontuberculous one"), strict=True)),
}


class LabCodes(BaseModel):
    """Which laboratory results say what, as the laboratory's messages code them (OBX-3, Observation.code)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    smear: tuple[str, ...] = Field(
        default=("11545-1^LN",),
        min_length=1,
        description="Codes of an acid-fast smear, as code^scheme; by FHIR the scheme may be a URI. Default: LOINC 11545-1.",
    )
    species: tuple[str, ...] = Field(
        default=("543-9^LN",),
        min_length=1,
        description="Codes of the mycobacterium that a culture identified. Default: LOINC 543-9.",
    )
    most_days: float = Field(default=365, gt=0, description="Results further from the study than this, in days, do not count.")

    def of(self, part: str) -> tuple[str, ...]:
        """Return the codes of ``smear`` or ``species``."""
        return self.smear if part == "smear" else self.species


def taken(labs: Sequence[LabValue], study_date: str, codes: LabCodes) -> dict[str, LabValue]:
    """Return part -> the result that counts; a part without one is left out.

    Parameters
    ----------
    labs
        Oldest first, those of a form last.
    study_date
        DA; of an unknown date no result is near, and only a form speaks of the study.
    """
    found: dict[str, LabValue] = {}
    for part in NAMES:
        known = [lab for lab in _near(part, labs, study_date, codes) if understood(part, lab) is not None]
        if known and not _several_species(part, known):
            found[part] = known[-1]
    return found


def with_labs(clinical: Clinical, found: Mapping[str, LabValue]) -> Clinical:
    """Return what the results of ``taken`` say beside age and sex."""
    said = {part: understood(part, lab) for part, lab in found.items()}
    smear, species = said.get("smear"), said.get("species")
    return replace(
        clinical, smear_grade=smear if isinstance(smear, int) else None, species=species if isinstance(species, str) else ""
    )


def understood(part: str, lab: LabValue) -> int | str | None:
    """Return the smear's grade 0..4, or one of ``SPECIES``; ``None``: not understood, or said to be not known."""
    if part == "smear":
        return smear_grade(lab.value)
    if lab.source == FORM:
        return lab.value if lab.value in SPECIES else None
    return species_of(lab.value) or None


def said_unknown(labs: Sequence[LabValue], codes: LabCodes) -> set[str]:
    """Return the parts of which a person said on the form that nobody knows them."""
    return {part for part in NAMES for lab in labs if lab.source == FORM and not lab.value and lab.code in codes.of(part)}


def said_otherwise(labs: Sequence[LabValue], study_date: str, codes: LabCodes) -> set[str]:
    """Return the parts of which the laboratory's result is there and is none that a network takes; parameters as of ``taken``."""
    near = _near("species", labs, study_date, codes)
    known = [lab for lab in near if understood("species", lab) is not None]
    told = any(lab.source != FORM and ends_without_species(lab.value) for lab in near)
    return {"species"} if (told and not known) or _several_species("species", known) else set()


def inputs(labs: Sequence[LabValue], study_date: str, codes: LabCodes) -> tuple[LabInput, ...]:
    """Return what is taken from a laboratory, and of what nothing need be waited for any more."""
    settled = {*taken(labs, study_date, codes), *said_otherwise(labs, study_date, codes), *said_unknown(labs, codes)}
    return tuple(LabInput(part, name, codes.of(part), part in settled, _CHOICES[part]) for part, name in NAMES.items())


def _near(part: str, labs: Sequence[LabValue], study_date: str, codes: LabCodes) -> list[LabValue]:
    """Return the results of one part that are near the study, in their order."""
    day = parse_date(study_date)
    noon = None if day is None else dt.datetime.combine(day, dt.time(12), dt.UTC).timestamp()

    def is_near(lab: LabValue) -> bool:
        if lab.source == FORM:
            return True
        return noon is not None and lab.observed_utc is not None and abs(lab.observed_utc - noon) <= codes.most_days * 86_400

    return [lab for lab in labs if lab.code in codes.of(part) and is_near(lab)]


def _several_species(part: str, known: Sequence[LabValue]) -> bool:
    """Say whether a culture's latest results, of one moment, name different species: each may be told in a line of its own."""
    if part != "species" or not known or known[-1].source == FORM:
        return False
    return len({understood(part, lab) for lab in known if lab.observed_utc == known[-1].observed_utc}) > 1
