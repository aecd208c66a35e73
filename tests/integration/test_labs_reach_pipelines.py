"""Laboratory values that the hospital's messages told reach a pipeline with the study, those of this patient alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.core.identifiers import study_key
from dicom_node.stages.people import with_known_age, with_known_labs
from dicom_node.studies import step as studies
from models.phantoms.ct import thorax
from models.phantoms.ct_dicom import as_series
from pipelines.ct_ntm import Settings, known_of, select_images
from tests.factories.hl7_messages import adt, lab
from tests.integration.in_process import InProcessNode
from tests.integration.test_orders import hear


def test_a_sex_that_the_header_has_not_is_taken_from_messages_and_told(tmp_path: Path) -> None:
    node = InProcessNode(tmp_path)
    for number, sex in (("P1", ""), ("P2", "F")):
        series = as_series(thorax(5, slices=48, size=24), seed=f"sex {number}", PatientID=number, PatientSex=sex)
        for one in series[:3]:
            node.receive(one)
        hear(node, adt("A08", number, sex="M"))
        key = study_key(str(series[0].StudyInstanceUID))
        with node.rooms.database.connect() as connection:
            study, notes = with_known_age(connection, studies.load_study(connection, key, node.rooms.home.path))
        expected = ("M", ("patient_sex",), 1) if not sex else ("F", (), 0)
        assert ({one.facts.patient_sex for one in study.instances}, study.told, len(notes)) == ({expected[0]}, *expected[1:])
    node.rooms.database.dispose()


def test_what_the_laboratory_told_before_the_run_is_known_to_it(tmp_path: Path) -> None:
    node = InProcessNode(tmp_path)
    phantom = thorax(5, slices=48, size=24)
    series = as_series(phantom, seed="labs", PatientID="P1", IssuerOfPatientID="", PatientSex="F")
    for one in series:
        node.receive(one)
    key = study_key(str(series[0].StudyInstanceUID))
    with node.rooms.database.connect() as connection:
        before = with_known_labs(connection, studies.load_study(connection, key, node.rooms.home.path))
    assert before.labs == ()
    at = "20261101080000"
    hear(node, lab("543-9^Culture^LN", "1^Mycobacterium kansasii^SCT", "F", patient="P1", at=at))
    hear(node, lab("543-9^Culture^LN", "2^Mycobacterium abscessus^SCT", "F", patient="P2", at=at))
    hear(node, lab("11545-1^Smear^LN", "2+", "F", patient="P1", at=at, kind="ST"))
    with node.rooms.database.connect() as connection:
        after = with_known_labs(connection, studies.load_study(connection, key, node.rooms.home.path))
    assert [value.code for value in after.labs] == ["543-9^LN", "11545-1^LN"]
    settings = Settings(allow_synthetic=True)
    selection = select_images(after, settings)
    assert selection.read, selection.detail
    known, origins = known_of(after, selection, settings)
    assert known.sex == "F"
    assert known.age_years == pytest.approx(56.6, abs=0.1)
    assert (known.species, known.smear_grade) == ("kansasii", 2)
    assert origins["species"] == {"source": "hl7", "observed": "2026-11-01T08:00:00+00:00"}
    node.rooms.database.dispose()
