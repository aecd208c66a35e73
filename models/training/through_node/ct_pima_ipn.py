"""Whose chests ``ct_pima_ipn`` reads here: whole ones of patients as the recipe's are, marked on the lesion's three widest slices.

Training and test slices of the recipe are drawn 5 mm thick, with the lungs as drawn.
"""

from __future__ import annotations

import numpy as np

from dicom_node.core.findings import Findings
from models.phantoms.ct import PIMA, thorax
from models.training.slices.phantom_cohort import MARKED, who
from models.training.through_node.drawn import Patient
from models.training.through_node.figures import Cohort

FIRST_SEED = 1_200_000  # neither the recipe's training nor its test part holds one of these
SLICES, SIZE = 60, 384  # 300 mm of chest at 5 mm; 1 mm in plane
WORDS = "The recipe draws five slices of 5 mm about the lesion, with the lungs as drawn; these are whole chests of other patients."


def patient(seed: int, slices: int = SLICES, size: int = SIZE) -> Patient:
    """Return a whole chest of the patient of this seed."""
    about = who(seed)
    chest = thorax(
        seed,
        slices=slices,
        size=size,
        nodules=(about.kind,),
        clarity=about.clarity,
        kernel=about.kernel,
        noise_hu=about.noise_hu,
    )
    lesion = chest.nodules[0]
    areas = lesion.mask.sum((1, 2), dtype=np.int64)
    marked = tuple(int(n) + lesion.box[0].start for n in np.argsort(-areas, kind="stable")[:MARKED] if areas[n])
    return Patient(seed, int(about.kind == PIMA), chest, marked, heard=_marks_were_read)


def _marks_were_read(found: Findings) -> bool:
    return {one.how for one in found.slices} == {"marked"}


COHORTS = (Cohort("drawn chests", "5 mm slices, 1 mm pixels", FIRST_SEED, patient),)
