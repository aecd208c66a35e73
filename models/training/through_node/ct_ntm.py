"""Whose chests ``ct_ntm`` reads here: patients drawn as the recipe's who come and external ones are, some scanned otherwise.

Age and sex stand in the header, smear and species in results of a laboratory, in its words. Who is missing what is the recipe's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from dicom_node.core.findings import Findings
from dicom_node.core.study import LabValue
from models.bundle import Bundle
from models.training.hitl.phantom_cohort import FIRST_SEED, as_learned, scanned
from models.training.hitl.phantom_cohort import patient as drawn_patient
from models.training.through_node.drawn import Patient
from models.training.through_node.figures import Cohort
from pipelines.blocks.classify import classify, session_for
from pipelines.blocks.clinical import Clinical, encoded
from pipelines.blocks.prepare_ct import PreparedVolume

INTERNAL, EXTERNAL = FIRST_SEED + 5_200_000, FIRST_SEED + 5_300_000  # no cohort of the recipe holds one of these
THIN = (100, 320)  # 3 mm slices and 1.2 mm pixels: nearer to what scanners write than the recipe's grid
THICK = (60, 320)  # 5 mm slices
STUDY_DAY = dt.date(2026, 11, 20)  # of ``ct_dicom``
WORDS = (
    "The recipe's scans are coarse: slices of 4 to 7 mm, each one plane or the mean of two, and pixels of 3 to 4 mm. A scanner's "
    "pixels are finer, so that the border of the lungs looks otherwise: the last two scans show what that does to the same network."
)
SMEARS = ("Negative", "1+", "2+", "3+", "4+")
SPECIES = {
    "avium_complex": "Mycobacterium avium complex",
    "abscessus": "Mycobacterium abscessus",
    "kansasii": "Mycobacterium kansasii",
    "other": "Mycobacterium gordonae",
}


def patient(seed: int, external: bool = False, grid: tuple[int, int] | None = None, slab: int | None = None) -> Patient:
    """Return the patient of this seed; ``grid`` and ``slab`` as ``phantom_cohort.scanned``."""
    about = drawn_patient(seed, external)
    clinical: Clinical = about["clinical"]
    missing = list(clinical.missing())
    return Patient(
        seed,
        int(about["label"]),
        scanned(seed, about, external, grid, slab),
        labs=laboratory(clinical),
        header=header(clinical),
        heard=partial(_heard, missing),
    )


def header(clinical: Clinical) -> dict[str, Any]:
    """Return birth date and sex as every image tells them; unknown ones are empty."""
    age = clinical.age_years
    born = "" if age is None else (STUDY_DAY - dt.timedelta(days=round(age * 365.25))).strftime("%Y%m%d")
    return {"PatientBirthDate": born, "PatientSex": clinical.sex}


def laboratory(clinical: Clinical) -> tuple[LabValue, ...]:
    """Return smear and culture of the week before the scan, as far as they are known."""
    week_before = dt.datetime.combine(STUDY_DAY, dt.time(9), dt.UTC).timestamp() - 7 * 86_400
    smear = () if clinical.smear_grade is None else (LabValue("11545-1^LN", SMEARS[clinical.smear_grade], week_before),)
    return (*smear, *((LabValue("543-9^LN", SPECIES[clinical.species], week_before),) if clinical.species else ()))


def as_the_recipe_prepares(external: bool, seed: int, bundle: Bundle) -> float:
    """Return the probability of the patient whose scan never was a file: drawn, prepared and encoded as in training."""
    about = drawn_patient(seed, external)
    image = as_learned(scanned(seed, about, external), bundle.config["preprocessing"])["image"].astype(np.float32)
    shape = (image.shape[0], image.shape[1], image.shape[2])
    prepared = PreparedVolume(image[None, None], (1.0, 1.0, 1.0), (0, 0, 0), shape)
    session = session_for(bundle.model, bundle.sha256, 1, "cpu")
    said = classify(prepared, bundle, session, {"clinical": encoded(about["clinical"])[None]})
    return float(said.probabilities[str(bundle.config["outputs"][0]["key"])])


def _heard(missing: list[str], found: Findings) -> bool:
    told: Mapping[str, Any] = found.provenance["clinical"]
    return bool(told["missing"] == missing)


_thin, _thick = partial(patient, grid=THIN, slab=1), partial(patient, grid=THICK, slab=2)
_internal, _external = partial(as_the_recipe_prepares, False), partial(as_the_recipe_prepares, True)
COHORTS = (
    Cohort("internal, whoever comes", "as the recipe scans", INTERNAL, patient, _internal),
    Cohort("external", "as the recipe scans", EXTERNAL, partial(patient, external=True), _external),
    Cohort("internal, whoever comes", "slices of 3 mm, pixels of 1.2 mm", INTERNAL, _thin, _internal, 0.5),
    Cohort(
        "internal, whoever comes", "slices of 5 mm, each a mean of two, pixels of 1.2 mm", INTERNAL,
        _thick, _internal, 0.5,
    ),
)  # fmt: skip
