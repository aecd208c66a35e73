"""Whom a study's results are addressed to, and which studies are of one patient."""

from __future__ import annotations

import pytest

from dicom_node.store.story import tell
from dicom_node.studies.patients import addressed, same_order, same_patient, studies_of
from models.phantoms.dicom import as_radiograph
from tests.unit.studies.conftest import Home


def image(seed: str, **elements: str) -> object:
    """Return a small radiograph."""
    import numpy as np

    return as_radiograph(np.zeros((8, 8), dtype=np.uint16), seed=seed, modality="CR", **elements)


def test_headers_are_put_together_and_a_release_is_about_its_reason(home: Home) -> None:
    """What one object leaves out another may say; only a release from doubt about the patient counts as one."""
    home.receive(image("a", PatientID="", IssuerOfPatientID="", AccessionNumber="A1", SOPInstanceUID="1.2.1"))  # type: ignore[arg-type]
    key = home.receive(image("a", PatientID=" P1", IssuerOfPatientID="HERE", AccessionNumber="A2", SOPInstanceUID="1.2.2"))  # type: ignore[arg-type]
    with home.database.begin() as connection:
        tell(connection, key, "studies", "study.released", "Incomplete.", "incomplete_study")
        whom = addressed(connection, key)
        assert whom is not None
        assert (whom.patient_id.reveal().strip(), whom.issuer.reveal(), whom.revision) == ("P1", "HERE", 1)
        assert [number.reveal() for number in whom.accession_numbers] == ["A1", "A2"]
        assert whom.released_utc == 0.0
        tell(connection, key, "studies", "study.released", "Looked at.", "patient_merged")
        again = addressed(connection, key)
        assert again is not None
        assert again.released_utc > 0
        assert addressed(connection, "st_nobody") is None
    assert "P1" not in repr(whom)


def test_studies_of_a_patient(home: Home) -> None:
    """By number as it is compared, with the issuer that each header names, and not older than asked."""
    keys = [
        home.receive(image(seed, PatientID=number, IssuerOfPatientID="HERE"))
        for seed, number in (("a", "P1"), ("b", "p1 "), ("c", "P2"))
    ]  # type: ignore[arg-type]
    with home.database.begin() as connection:
        found = {key: issuer.reveal() for key, issuer in studies_of(connection, "P1", 0.0)}
        assert found == dict.fromkeys(keys[:2], "HERE")
        assert studies_of(connection, "P1", home.now + 1) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("P1", "A"), (" p1", "a "), True),
        (("P1", ""), ("P1", "A"), True),
        (("", "A"), ("P1", "A"), True),
        (("P1", "A"), ("P1", "B"), False),
        (("P1", "A"), ("P2", "A"), False),
    ],
)
def test_the_same_patient(one: tuple[str, str], other: tuple[str, str], same: bool) -> None:
    """Empty is unknown and no contradiction."""
    assert same_patient(*one, *other) is same


def test_the_same_order() -> None:
    """One of the study's numbers, or nothing said on either side."""
    said = [
        same_order(numbers, number)
        for numbers, number in ((("A1", "A2"), "a2 "), ((), "A1"), (("", " "), "A1"), (("A1",), ""), (("A1",), "A2"))
    ]
    assert said == [True, True, True, True, False]
