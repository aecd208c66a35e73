"""Whose images are these?"""

from __future__ import annotations

import pytest

from dicom_node.core.phi import Phi
from dicom_node.core.study import HeaderFacts
from dicom_node.studies.identity import any_conflict, patients_conflict, same_identity


def facts(patient_id: str = "1", name: str = "DOE^JOHN", issuer: str = "", **more: str) -> HeaderFacts:
    values = {key: Phi(value) for key, value in more.items()}
    return HeaderFacts(patient_id=Phi(patient_id), patient_name=Phi(name), issuer_of_patient_id=Phi(issuer), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        facts(name="Doe^John^^"),
        facts(name="doe^john"),
        facts(name="DOE ^ JOHN "),
        facts(name=""),
        facts(patient_id=""),
        facts(issuer="HOSPITAL"),
        facts(name="DOE^JOHN=山田^太郎"),
        facts(name="ＤＯＥ^ＪＯＨＮ"),
    ],
)
def test_doe_john_and_doe_john_written_otherwise_are_one_patient(other: HeaderFacts) -> None:
    assert not patients_conflict(facts(), other)
    assert not patients_conflict(other, facts())


@pytest.mark.parametrize("other", [facts(patient_id="2"), facts(name="DOE^JANE"), facts(name="DOE^JOHN^M")])
def test_another_id_or_another_name_is_another_patient(other: HeaderFacts) -> None:
    assert patients_conflict(facts(), other)
    assert patients_conflict(other, facts())


def test_the_same_id_of_two_issuers_is_two_patients() -> None:
    assert patients_conflict(facts(issuer="A"), facts(issuer="B"))


def test_ideographic_names_are_compared_where_both_headers_have_them() -> None:
    assert patients_conflict(facts(name="=山田^太郎"), facts(name="=鈴木^太郎"))
    assert not patients_conflict(facts(name="YAMADA^TAROU=山田^太郎"), facts(name="Yamada^Tarou"))


def test_a_header_without_identity_does_not_hide_the_conflict_of_two_others() -> None:
    unknown = facts(patient_id="", name="")
    assert not any_conflict([facts(), unknown, facts()])
    assert any_conflict([facts(), unknown, facts(patient_id="2")])
    assert any_conflict([unknown, facts(name=""), facts(patient_id="", name="ROE^JANE"), facts(name="DOE^JOHN")])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (facts(name="Doe^John^^"), True),
        (facts(patient_id="2"), False),
        (facts(patient_id=""), False),
        (facts(accession_number="A2"), False),
        (facts(birth_date="19700101"), False),
    ],
)
def test_a_result_stays_addressed_right_only_while_patient_and_order_are_the_same(other: HeaderFacts, same: bool) -> None:
    assert same_identity(facts(), other) is same
