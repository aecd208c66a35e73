"""Only a radiologist whom the channel vouches for is strong; who cannot be told is nobody."""

from __future__ import annotations

import pytest

from dicom_node.core.feedback import ReaderClaim, Strength
from dicom_node.feedback.readers import Reader, identify
from dicom_node.feedback.settings import ReaderSettings
from tests.factories.answer_log import READERS


def token(purpose: str, text: str) -> str:
    return f"<{purpose} {text}>"


RAO = "rd_<reader rao^asha^^dr.>"


@pytest.mark.parametrize(
    ("claim", "pseudonym", "role", "strong"),
    [
        (ReaderClaim("login", "rao", authenticated=True), RAO, "radiologist", True),
        (ReaderClaim("hl7", "4711", authenticated=True), RAO, "radiologist", True),
        (ReaderClaim("fhir", "Practitioner/17", authenticated=True), RAO, "radiologist", True),
        (ReaderClaim("fhir", "Practitioner/17/_history/3", authenticated=True), RAO, "radiologist", True),
        (ReaderClaim("dicom", "rao^asha^^DR.", authenticated=True), RAO, "radiologist", True),
        (ReaderClaim("dicom", "Rao^A^^^=x^y", authenticated=True), RAO, "radiologist", True),
        (ReaderClaim("ae_title", "WS_RAO"), RAO, "radiologist", True),
        # known, but nobody vouches; known, but no radiologist
        (ReaderClaim("hl7", "4711"), RAO, "radiologist", False),
        (ReaderClaim("dicom", "Rao^Asha^^Dr."), RAO, "radiologist", False),
        (ReaderClaim("login", "koch", authenticated=True), "rd_<reader koch^eva>", "technologist", False),
        # not in the settings: one unknown person is told from another; a workstation is none
        (ReaderClaim("hl7", "99", authenticated=True), "rd_<reader hl7|99>", "", False),
        (ReaderClaim("login", "RAO", authenticated=True), "rd_<reader login|rao>", "", False),
        (ReaderClaim("fhir", "http://elsewhere/Practitioner/17", authenticated=True), "*", "", False),
        (ReaderClaim("login", "4711", authenticated=True), "*", "", False),
        (ReaderClaim("ae_title", "WS_2", authenticated=True), "", "", False),
        (ReaderClaim("hl7", " ", authenticated=True), "", "", False),
        (ReaderClaim("login", "", authenticated=True), "", "", False),
        (ReaderClaim(), "", "", False),
    ],
)
def test_who_answers(claim: ReaderClaim, pseudonym: str, role: str, strong: bool) -> None:
    found = identify(claim, READERS, token)
    assert found.role == role
    assert found.strength is (Strength.STRONG if strong else Strength.WEAK)
    assert found.pseudonym == pseudonym or (pseudonym == "*" and found.pseudonym not in ("", RAO))


def test_who_fits_two_entries_is_nobody() -> None:
    twins = tuple(ReaderSettings(name="Li^Wei", role="radiologist", hl7_ids=(number,)) for number in ("1", "2"))
    assert identify(ReaderClaim("dicom", "Li^Wei", authenticated=True), twins, token) == Reader()


def test_a_name_without_letters_is_told_by_its_other_groups() -> None:
    """An empty alphabetic group is nobody's: it fits no other empty one."""
    sites = (ReaderSettings(name="=山田^太郎", role="radiologist"), ReaderSettings(name="Abe^Shinzo=安倍^晋三", role="radiologist"))

    def reader(name: str) -> Reader:
        return identify(ReaderClaim("dicom", name, authenticated=True), sites, token)

    assert reader("=山田^太郎=やまだ^たろう").strength is Strength.STRONG
    for stranger in ("=佐藤^花子", "^^", "==", "^", "=^="):
        assert reader(stranger).strength is Strength.WEAK, stranger
        assert not reader(stranger).role


def test_only_who_is_vouched_for_is_named() -> None:
    assert identify(ReaderClaim("hl7", "4711", authenticated=True), READERS, token).name == "Rao^Asha^^Dr."
    assert identify(ReaderClaim("hl7", "4711"), READERS, token).name == ""
