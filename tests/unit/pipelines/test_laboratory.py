"""Which laboratory results count for a study, what a person said of it, and what nobody need wait for."""

from __future__ import annotations

import datetime as dt

import pytest

from dicom_node.core.study import LabValue
from pipelines.blocks.clinical import SPECIES, Clinical
from pipelines.blocks.laboratory import FORM, NAMES, LabCodes, inputs, said_otherwise, taken, understood, with_labs

DAY = dt.datetime(2026, 11, 20, tzinfo=dt.UTC).timestamp()
SMEAR, CULTURE = "11545-1^LN", "543-9^LN"
LABS = (
    LabValue(SMEAR, "1+", DAY - 90 * 86_400),
    LabValue(SMEAR, "3+", DAY - 10 * 86_400),
    LabValue(SMEAR, "pending", DAY),
    LabValue(CULTURE, "Mycobacterium kansasii", DAY - 700 * 86_400),
    LabValue("718-7^LN", "2+", DAY),
    LabValue(CULTURE, "M. avium", None),
)


def known(*labs: LabValue, date: str = "20261120", **codes: object) -> tuple[int | None, str]:
    found = with_labs(Clinical(50.0, "F"), taken(labs, date, LabCodes(**codes)))  # type: ignore[arg-type]
    assert (found.age_years, found.sex) == (50.0, "F")
    return found.smear_grade, found.species


def test_the_latest_result_near_the_study_that_can_be_understood_counts() -> None:
    assert known(*LABS) == (3, "")
    assert known(*LABS, most_days=1000) == (3, "kansasii")
    assert known(*LABS, date="") == (None, "")
    assert known(*LABS, smear=("718-7^LN",)) == (2, "")


def test_what_a_person_said_of_the_study_counts_before_messages_and_needs_no_moment() -> None:
    assert known(*LABS, LabValue(SMEAR, "0", None, FORM), LabValue(CULTURE, "abscessus", None, FORM), date="") == (0, "abscessus")
    assert known(*LABS, LabValue(SMEAR, "0", None, FORM)) == (0, "")


def test_several_species_of_one_moment_are_none_and_the_last_one_is_not_taken_for_the_whole() -> None:
    """A laboratory tells each species in a line of its own; the same one in other words is one; a later result stands alone."""
    both = (LabValue(CULTURE, "M. avium", DAY), LabValue(CULTURE, "M. abscessus", DAY))
    assert known(*both) == (None, "")
    assert said_otherwise(both, "20261120", LabCodes()) == {"species"}
    assert known(LabValue(CULTURE, "M. avium", DAY), LabValue(CULTURE, "M. intracellulare", DAY)) == (None, "avium_complex")
    assert known(*both, LabValue(CULTURE, "M. kansasii", DAY + 60)) == (None, "kansasii")
    assert known(*both, LabValue(CULTURE, "abscessus", None, FORM)) == (None, "abscessus")
    assert said_otherwise((*both, LabValue(CULTURE, "abscessus", None, FORM)), "20261120", LabCodes()) == set()


def test_a_species_that_is_known_is_not_hidden_by_a_later_culture_without_growth() -> None:
    labs = (LabValue(CULTURE, "M. kansasii", DAY - 60), LabValue(CULTURE, "No growth", DAY))
    assert known(*labs) == (None, "kansasii")
    assert said_otherwise(labs, "20261120", LabCodes()) == set()


def test_not_known_hides_nothing() -> None:
    assert known(*LABS, LabValue(SMEAR, "", None, FORM)) == (3, "")
    assert known(LabValue(SMEAR, "", None, FORM)) == (None, "")


@pytest.mark.parametrize(
    ("labs", "open_parts"),
    [
        ((), {"smear", "species"}),
        (LABS, {"species"}),
        ((*LABS, LabValue(CULTURE, "", None, FORM)), set()),
        ((LabValue(CULTURE, "No growth", DAY), LabValue(SMEAR, "Negative", DAY)), set()),
        ((LabValue(CULTURE, "113861009^M. tuberculosis^SCT", DAY), LabValue(SMEAR, "see comment", DAY)), {"smear"}),
        ((LabValue(CULTURE, "M. avium", DAY), LabValue(CULTURE, "M. abscessus", DAY), LabValue(SMEAR, "2+", DAY)), set()),
        ((LabValue(CULTURE, "No growth to date", DAY), LabValue(SMEAR, "Not performed", DAY)), {"smear", "species"}),
        ((LabValue(CULTURE, "No growth", DAY - 700 * 86_400), LabValue(SMEAR, "1+", DAY)), {"species"}),
        ((LabValue(SMEAR, "2+", DAY - 400 * 86_400),), {"smear", "species"}),
        ((LabValue(SMEAR, "", None, FORM), LabValue(CULTURE, "M. avium", DAY)), set()),
    ],
)
def test_a_part_is_settled_when_a_result_is_there_or_said_to_be_unknown(labs: tuple[LabValue, ...], open_parts: set[str]) -> None:
    found = inputs(labs, "20261120", LabCodes())
    assert {one.part for one in found} == set(NAMES)
    assert {one.part for one in found if not one.settled} == open_parts


def test_every_choice_of_the_form_is_understood_as_what_it_says() -> None:
    smear, species = inputs((), "20261120", LabCodes(smear=("A^L", SMEAR)))
    assert smear.codes == ("A^L", SMEAR)
    assert [understood("smear", LabValue(SMEAR, value, None, FORM)) for value, _ in smear.choices] == [0, 1, 2, 3, 4]
    assert [understood("species", LabValue(CULTURE, value, None, FORM)) for value, _ in species.choices] == list(SPECIES)
    assert understood("species", LabValue(CULTURE, "kansasii or other", None, FORM)) is None
