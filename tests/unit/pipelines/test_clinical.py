"""Clinical data as numbers: what is known, what is missing, what a laboratory wrote."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.core.phi import Phi
from dicom_node.core.study import HeaderFacts
from pipelines.blocks.clinical import Clinical, encoded, ends_without_species, from_header, smear_grade, species_of
from pipelines.blocks.key_slices import key_slices


def test_known_and_missing_values_stand_at_their_places() -> None:
    whole = encoded(Clinical(60.0, "F", 3, "abscessus"))
    assert whole.dtype == np.float32
    assert whole.tolist() == pytest.approx([0.75, 1, 0.75, 0, 1, 0, 0, 0, 0, 0, 0])
    assert encoded(Clinical()).tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert encoded(Clinical(40.0, "M", 0, "other")).tolist() == pytest.approx([0.5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    assert Clinical(40.0, "M").missing() == ("smear", "species")


def test_the_header_gives_age_and_one_of_two_sexes() -> None:
    facts = HeaderFacts(birth_date=Phi("19661120"), study_date="20261120", patient_sex="F")
    assert from_header(facts) == Clinical(60.0, "F")
    assert from_header(HeaderFacts(patient_sex="O")) == Clinical()


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Negative", 0), ("No acid-fast bacilli seen", 0), ("0", 0), ("scanty", 1), ("1+", 1), ("AFB 3 +", 3), ("++", 2),
        ("4+^AFB 4+^L", 4), ("2", 2), ("pending", None), ("", None), ("11+", None), ("see comment", None),
        ("No AFB seen", 0), ("acid-fast bacilli not detected", 0), ("Negative, culture to follow", 0),
        ("Not performed", None), ("No specimen received", None), ("Test cancelled", None), ("2+, insufficient for culture", 2),
    ],
)  # fmt: skip
def test_smear_grades_are_read_as_laboratories_write_them(text: str, grade: int | None) -> None:
    assert smear_grade(text) == grade


@pytest.mark.parametrize(
    ("text", "species"),
    [
        ("113858008^Mycobacterium avium complex^SCT", "avium_complex"), ("M. intracellulare", "avium_complex"),
        ("Mycobacterium abscessus subsp. massiliense", "abscessus"), ("Mycobacterium kansasii", "kansasii"),
        ("Mycobacterium xenopi", "other"),
        ("MYCOBACTERIUM ABSCESSUS", "abscessus"), ("Mycobacterium species isolated", ""),
        ("No growth", ""), ("Mycobacterium tuberculosis complex", ""),
        ("M. avium and M. abscessus", ""), ("Aspergillus fumigatus", ""), ("", ""),
    ],
)  # fmt: skip
def test_species_are_read_and_what_is_uncertain_is_unknown(text: str, species: str) -> None:
    assert species_of(text) == species


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("No growth", True), ("264868006^No growth^SCT", True), ("Mycobacteria not isolated after 8 weeks", True),
        ("113861009^Mycobacterium tuberculosis complex^SCT", True), ("M. bovis BCG", True), ("M. avium and M. abscessus", True),
        ("No growth to date", False), ("Pending", False), ("Mycobacterium species isolated, not yet identified", False),
        ("Not performed", False), ("No specimen received", False), ("No result, contaminated", False), ("see comment", False),
        ("Mycobacterium species isolated", False), ("", False), ("M. kansasii", False),
        ("M. avium. M. tuberculosis not isolated", False), ("M. avium and M. tuberculosis", True),
    ],
)  # fmt: skip
def test_a_culture_may_be_over_without_a_species_that_the_network_takes(text: str, ends: bool) -> None:
    """What was not examined, or is not over, is no result."""
    assert ends_without_species(text) is ends
    assert not (ends and species_of(text))


def test_key_slices_hold_most_and_lie_apart() -> None:
    energy = [0, 1, 5, 4, 3, 0, 2, 2]
    assert key_slices(energy, [True] * 8, 3, apart=2) == (2, 4, 6)
    assert key_slices(energy, [True, True, False, True, True, True, True, True], 2, apart=1) == (3, 4)
    assert key_slices([0.0] * 8, [True] * 8) == ()
