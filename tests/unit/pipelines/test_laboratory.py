"""Which laboratory results count for a study, what a person said of it, and what nobody need wait for."""

from __future__ import annotations

import datetime as dt

import pytest

from dicom_node.core.study import LabValue
from pipelines.blocks.clinical import SPECIES, Clinical
from pipelines.blocks.laboratory import FORM, NAMES, LabCodes, inputs, taken, understood, with_labs

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


def test_not_known_hides_nothing() -> None:
    assert known(*LABS, LabValue(SMEAR, "", None, FORM)) == (3, "")
    assert known(LabValue(SMEAR, "", None, FORM)) == (None, "")


@pytest.mark.parametrize(
    ("labs", "open_parts"),
    [
        ((), {"smear", "species"}),
        (LABS, {"species"}),
        ((*LABS, LabValue(CULTURE, "", None, FORM)), set()),
        ((LabValue(CULTURE, "No growth", DAY), LabValue(SMEAR, "see comment", DAY)), {"smear", "species"}),
        ((LabValue(SMEAR, "2+", DAY - 400 * 86_400),), {"smear", "species"}),
        ((LabValue(SMEAR, "", None, FORM), LabValue(CULTURE, "M. avium", DAY)), set()),
    ],
)
def test_a_part_is_settled_when_it_is_understood_or_said_to_be_unknown(labs: tuple[LabValue, ...], open_parts: set[str]) -> None:
    found = inputs(labs, "20261120", LabCodes())
    assert {one.part for one in found} == set(NAMES)
    assert {one.part for one in found if not one.settled} == open_parts


def test_every_choice_of_the_form_is_understood_as_what_it_says() -> None:
    smear, species = inputs((), "20261120", LabCodes(smear=("A^L", SMEAR)))
    assert smear.codes == ("A^L", SMEAR)
    assert [understood("smear", LabValue(SMEAR, value, None, FORM)) for value, _ in smear.choices] == [0, 1, 2, 3, 4]
    assert [understood("species", LabValue(CULTURE, value, None, FORM)) for value, _ in species.choices] == list(SPECIES)
    assert understood("species", LabValue(CULTURE, "kansasii or other", None, FORM)) is None
