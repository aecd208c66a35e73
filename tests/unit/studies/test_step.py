"""From arrivals to a study that is ready, unchanged or held: the sentences of the clinic's rules."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless, RLELossless

from dicom_node.core.errors import UsageError
from dicom_node.reception.intake import Intake
from dicom_node.store import tables
from dicom_node.store.connect import reading
from dicom_node.studies import account, repository, step
from dicom_node.studies.files import clean_store, object_path
from dicom_node.studies.patients import hold_for_correction
from dicom_node.studies.step import Settlement
from tests.factories.received_objects import CT, SR, other_pixels, radiograph, recompressed
from tests.unit.studies.conftest import Home


def test_a_study_is_due_after_ten_quiet_seconds_and_each_arrival_begins_them_anew(home: Home) -> None:
    key = home.receive(radiograph("pa"))
    home.now += 9
    assert home.due() == []
    home.receive(radiograph("lateral", ViewPosition="LL"))
    home.now += 9
    assert home.due() == []
    home.now += 1
    assert home.due() == [key]
    home.route(key)
    assert home.due() == []
    assert home.story(key)["state"] == "routed"


def test_a_rule_that_could_apply_sets_the_quiet_time(home: Home) -> None:
    hinted = partial(step.record_arrival, settings=home.settings, quiet_hints=(2, 30))
    home.intake = Intake(home.path, home.database, hinted, clock=lambda: home.now)
    key = home.receive(radiograph())
    home.now += 29
    assert home.due() == []
    home.now += 1
    assert home.due() == [key]


def test_a_study_with_ct_waits_sixty_seconds_even_after_a_later_scout_radiograph(home: Home) -> None:
    key = home.receive(radiograph("slice", SOPClassUID=CT, Modality="CT"))
    home.receive(radiograph("scout"))
    home.now += 59
    assert home.due() == []
    home.now += 1
    assert home.due() == [key]


def test_a_study_that_never_gets_quiet_starts_at_the_ceiling(home: Home) -> None:
    key = home.receive(radiograph("0"))
    for number in range(1, 150):
        home.now += 6
        home.receive(radiograph(str(number)))
    assert home.now < 1000 + 900
    assert home.due() == []
    home.now = 1000 + 900
    assert home.due() == [key]


def test_the_deadline_survives_a_restart(home: Home, tmp_path: Path) -> None:
    key = home.receive(radiograph())
    home.database.dispose()
    again = Home(tmp_path, home.database, now=1011)
    assert again.due() == [key]


def test_an_object_that_comes_while_the_study_is_being_routed_is_not_lost(home: Home) -> None:
    key = home.receive(radiograph("pa"))
    home.now += 10
    swept_at = home.now
    assert home.settle(key) is Settlement.READY
    home.now += 0.5
    home.receive(radiograph("late"))
    with home.database.begin() as connection:
        assert not step.mark_routed(connection, key, swept_at)
    home.now += 10
    assert home.due() == [key]
    assert len(home.load(key).instances) == 2


def test_an_object_that_comes_after_the_ceiling_while_the_study_is_being_routed_is_not_lost(home: Home) -> None:
    key = home.receive(radiograph("pa"))
    home.now += 2000
    swept_at = home.now
    assert home.settle(key) is Settlement.READY
    home.now += 0.5
    home.receive(radiograph("late"))
    with home.database.begin() as connection:
        assert not step.mark_routed(connection, key, swept_at)
    assert home.due() == [key]


def test_a_late_object_opens_a_routed_study_again(home: Home) -> None:
    key = home.receive(radiograph("pa"))
    home.now += 10
    home.route(key)
    home.now += 90
    home.receive(radiograph("lateral", ViewPosition="LL"))
    home.now += 10
    assert home.due() == [key]
    assert home.settle(key) is Settlement.READY
    assert home.events(key) == ["study.opened", "study.reopened"]
    assert home.load(key).revision == 1


def test_same_bytes_again_change_nothing(home: Home) -> None:
    key = home.receive(radiograph())
    home.now += 10
    home.route(key)
    before = home.story(key)
    home.receive(radiograph())
    assert home.story(key) == before
    assert len(list((home.path / "store").rglob("*.dcm"))) == 1
    assert home.due() == []


def test_an_object_that_an_older_node_took_comes_again_as_a_twin_and_runs_nothing(home: Home) -> None:
    """Rows of schema 1 have another digest of the same bytes: they are compared, not taken for other pixels."""
    key = home.receive(radiograph())
    home.now += 10
    home.route(key)
    with home.database.begin() as connection:
        connection.execute(sa.update(tables.instance).values(digest="sha256:" + "0" * 64))
    home.receive(radiograph())
    home.now += 10
    assert home.settle(key) is Settlement.UNCHANGED
    assert home.states(key) == ["superseded", "current"]
    assert home.due() == []


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, RLELossless])
def test_a_losslessly_compressed_twin_keeps_the_newest_header_and_runs_nothing(home: Home, syntax: str) -> None:
    original = radiograph()
    key = home.receive(original)
    home.now += 10
    home.route(key)
    home.receive(recompressed(original, syntax))
    home.now += 10
    assert home.due() == [key]
    assert home.settle(key) is Settlement.UNCHANGED
    assert home.due() == []
    study = home.load(key)
    assert study.revision == 1
    assert [instance.transfer_syntax_uid for instance in study.instances] == [syntax]
    assert home.states(key) == ["superseded", "current"]
    assert home.story(key)["state"] == "routed"


def test_a_twin_that_comes_before_the_first_run_lets_the_study_run_once(home: Home) -> None:
    key = home.receive(radiograph())
    home.receive(radiograph(StudyDescription="THORAX"))
    home.now += 10
    assert home.settle(key) is Settlement.READY
    assert home.load(key).instances[0].facts.study_description == "THORAX"
    assert home.load(key).revision == 1


@pytest.mark.parametrize(
    "change", [{"PatientID": "PID-2"}, {"PatientName": "ROE^JANE"}, {"AccessionNumber": "ACC-2"}, {"PatientBirthDate": "19710101"}]
)
def test_a_corrected_patient_or_order_gives_revision_two(home: Home, change: dict[str, str]) -> None:
    key = home.receive(radiograph())
    home.now += 10
    home.route(key)
    home.receive(radiograph(**change))
    home.now += 10
    assert home.settle(key) is Settlement.READY
    assert home.due() == [key]
    study = home.load(key)
    assert study.revision == 2
    assert len(study.instances) == 1
    assert home.states(key) == ["superseded", "current"]
    home.route(key)
    assert home.load(key).revision == 2


def test_a_patient_corrected_in_two_images_of_a_study_is_one_revision_and_no_conflict(home: Home) -> None:
    key = home.receive(radiograph("pa"))
    home.receive(radiograph("lateral"))
    home.now += 10
    home.route(key)
    home.receive(radiograph("pa", PatientID="PID-2"))
    home.now += 5
    home.receive(radiograph("lateral", PatientID="PID-2"))
    home.now += 9
    assert home.due() == []
    home.now += 1
    assert home.settle(key) is Settlement.READY
    assert home.load(key).revision == 2
    assert {instance.facts.patient_id.reveal() for instance in home.load(key).instances} == {"PID-2"}


def test_changed_pixels_hold_the_study_and_keep_both_versions(home: Home) -> None:
    key = home.receive(radiograph())
    home.now += 10
    home.route(key)
    home.receive(radiograph(PixelData=other_pixels()))
    home.now += 10
    assert home.settle(key) is Settlement.HELD
    story = home.story(key)
    assert (story["state"], story["hold_reason"]) == ("held", "changed_pixels")
    assert home.states(key) == ["current", "held"]
    assert all(object_path(home.path, instance["storage_key"]).exists() for instance in story["instances"])
    assert home.due() == []


def test_the_same_numbers_under_inverted_grey_scale_are_other_pixels(home: Home) -> None:
    key = home.receive(radiograph())
    home.receive(radiograph(PhotometricInterpretation="MONOCHROME1"))
    home.now += 10
    assert home.settle(key) is Settlement.HELD


def test_pixels_that_cannot_be_decoded_are_not_taken_for_the_same(home: Home) -> None:
    key = home.receive(radiograph())
    home.receive(radiograph(PixelData=b"\0" * 100, PatientID="PID-2"))
    home.now += 10
    assert home.settle(key) is Settlement.HELD


def test_a_document_that_comes_again_with_another_header_runs_nothing(home: Home) -> None:
    def document(**changes: str) -> object:
        return radiograph("sr", SOPClassUID=SR, Modality="SR", PixelData=None, **changes)

    key = home.receive(document())  # type: ignore[arg-type]
    home.now += 10
    home.route(key)
    home.receive(document(SeriesDescription="again"))  # type: ignore[arg-type]
    home.now += 10
    assert home.settle(key) is Settlement.UNCHANGED


def test_two_patients_in_one_study_hold_it_and_whatever_comes_later_waits_too(home: Home) -> None:
    key = home.receive(radiograph("pa"))
    home.receive(radiograph("other", PatientID="PID-2", PatientName="ROE^JANE"))
    home.now += 10
    assert home.settle(key) is Settlement.HELD
    assert home.story(key)["hold_reason"] == "patient_conflict"
    home.receive(radiograph("third"))
    home.now += 1000
    assert home.due() == []
    assert home.states(key) == ["current", "current", "held"]
    assert home.events(key)[-2:] == ["study.held", "instance.held"]


def test_doe_john_and_doe_john_with_empty_components_are_one_patient(home: Home) -> None:
    key = home.receive(radiograph("pa"))
    home.receive(radiograph("lateral", PatientName="Doe^John^^"))
    home.receive(radiograph("third", PatientName="", PatientID=""))
    home.now += 10
    assert home.settle(key) is Settlement.READY


def test_a_study_held_by_a_rule_is_looked_at_again_when_another_object_comes(home: Home) -> None:
    key = home.receive(radiograph("sr", SOPClassUID=SR, Modality="SR", PixelData=None))
    home.now += 10
    with home.database.begin() as connection:
        step.hold(connection, key, "no_rule")
    home.receive(radiograph("pa"))
    home.now += 10
    assert home.due() == [key]
    assert home.settle(key) is Settlement.READY


def test_a_twin_does_not_open_a_study_that_a_rule_holds(home: Home) -> None:
    key = home.receive(radiograph())
    home.now += 10
    with home.database.begin() as connection:
        step.hold(connection, key, "hold_rule")
    home.receive(radiograph(StudyDescription="again"))
    home.now += 10
    assert home.settle(key) is Settlement.HELD
    assert home.due() == []
    assert home.story(key)["hold_reason"] == "hold_rule"


def test_our_own_result_that_comes_back_moves_no_deadline_and_is_told_once(home: Home) -> None:
    key = home.receive(radiograph("pa"))
    home.now += 5
    home.receive(radiograph("overlay", ManufacturerModelName="dicom-node"))
    home.receive(radiograph("report", ManufacturerModelName="dicom-node"))
    home.receive(radiograph("overlay", ManufacturerModelName="dicom-node", PatientID="coerced"))
    home.now += 5
    assert home.due() == [key]
    assert home.states(key) == ["current", "ours", "ours"]
    assert home.events(key).count("result.returned") == 1
    assert len(home.load(key).instances) == 1
    home.route(key)
    home.receive(radiograph("third", ManufacturerModelName="dicom-node"))
    assert home.story(key)["state"] == "routed"
    assert home.story(key)["deadline_utc"] is None


def test_our_own_result_is_known_by_its_uid_although_an_archive_changed_its_equipment(home: Home) -> None:
    overlay = radiograph("overlay", Manufacturer="ARCHIVE")
    key = home.receive(radiograph("pa"))
    with home.database.begin() as connection:
        connection.execute(
            sa.insert(tables.run).values(
                run_key="rn_1", study_key=key, pipeline="p", rule="r", revision=1, state="analysed", request={}, requested_utc=1.0
            )
        )
        connection.execute(
            sa.insert(tables.artifact).values(
                artifact_id="ar_1",
                run_key="rn_1",
                role="secondary_capture",
                media_type="application/dicom",
                identifier=overlay.SOPInstanceUID,
                storage_key="x",
                sha256="0",
            )
        )
    home.receive(overlay)
    assert home.states(key) == ["current", "ours"]


def test_our_own_result_in_a_study_never_received_starts_nothing_until_an_image_comes(home: Home) -> None:
    key = home.receive(radiograph("overlay", ManufacturerModelName="dicom-node"))
    home.now += 5000
    assert home.due() == []
    home.receive(radiograph("pa"))
    assert home.due() == []  # the ceiling counts from the first image, not from our own object
    home.now += 10
    assert home.due() == [key]


def test_an_object_under_a_uid_of_another_study_is_told_and_both_studies_stand(home: Home) -> None:
    first, second = radiograph("pa", study="one"), radiograph("pa", study="two")
    second.SOPInstanceUID = first.SOPInstanceUID
    one, two = home.receive(first), home.receive(second)
    home.now += 10
    assert home.due() == sorted([one, two])
    assert home.events(two) == ["study.opened", "instance.shared"] or home.events(two) == ["instance.shared", "study.opened"]
    assert home.events(one) == ["study.opened"]


def test_a_new_version_that_comes_while_pixels_are_compared_is_compared_later(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision is about what was compared, never about what came in between."""
    key = home.receive(radiograph())
    home.receive(radiograph(StudyDescription="second"))
    home.now += 10
    compare = step.compare

    def slow(*args: Any) -> Any:
        outcome = compare(*args)
        home.receive(radiograph(PixelData=other_pixels()))
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(step, "compare", slow)
        assert home.settle(key) is Settlement.WAITING
    assert home.states(key) == ["current", "pending", "pending"]
    home.now += 10
    assert home.settle(key) is Settlement.HELD
    assert home.states(key) == ["superseded", "current", "held"]


def test_settling_twice_changes_nothing_more(home: Home) -> None:
    key = home.receive(radiograph())
    home.receive(radiograph(PatientID="PID-2"))
    home.now += 10
    assert home.settle(key) is Settlement.READY
    before = home.story(key)
    assert home.settle(key) is Settlement.READY
    assert home.story(key) == before
    assert before["revision"] == 2


def test_images_keep_their_place_when_a_newer_header_replaces_one(home: Home) -> None:
    key = home.receive(radiograph("first"))
    home.receive(radiograph("second"))
    home.receive(radiograph("first", StudyDescription="newer"))
    home.now += 10
    home.settle(key)
    assert [instance.facts.study_description for instance in home.load(key).instances] == ["newer", ""]


def test_the_story_is_plain_json_without_anything_that_names_the_patient(home: Home) -> None:
    ds = radiograph()
    key = home.receive(ds)
    with home.database.begin() as connection:
        by_uid = account.study_story(connection, ds.StudyInstanceUID)
        listed = account.list_studies(connection, 10)
    text = json.dumps([by_uid, listed])
    assert by_uid["study_key"] == listed[0]["study_key"] == key
    assert listed[0]["counts"] == [{"modality": "CR", "state": "current", "count": 1}]
    for secret in ("DOE", "PID-1", "ACC-1", "19700101", ds.StudyInstanceUID, ds.SOPInstanceUID):
        assert secret not in text


def test_an_unknown_study_is_said_to_be_unknown(home: Home) -> None:
    with home.database.begin() as connection, pytest.raises(UsageError, match="not received"):
        account.study_story(connection, "st_nothing")


def test_the_clean_up_removes_what_no_row_names_and_nothing_else(home: Home) -> None:
    key = home.receive(radiograph())
    kept = Path(home.load(key).instances[0].path)
    unfinished, orphan = kept.with_name("0.part"), kept.with_name("1.dcm")
    unfinished.write_bytes(b"x")
    orphan.write_bytes(b"x")
    assert clean_store(home.database, home.path, older_than_utc=0) == (0, 0)
    assert clean_store(home.database, home.path, older_than_utc=kept.stat().st_mtime + 3600) == (1, 1)
    assert kept.exists()
    assert not unfinished.exists()
    assert not orphan.exists()
    assert (home.path / "unclaimed" / orphan.relative_to(home.path / "store")).read_bytes() == b"x"  # moved, never removed


def test_a_storage_key_never_leads_out_of_the_store(home: Home) -> None:
    for key in ("../../etc/passwd", "a/../../b", "/etc/passwd"):
        with pytest.raises(ValueError, match="out of the store"):
            object_path(home.path, key)


def test_a_store_on_another_disk_is_read_through_its_link(home: Home, tmp_path: Path) -> None:
    (tmp_path / "other disk").mkdir()
    (home.path / "store").symlink_to(tmp_path / "other disk")
    key = home.receive(radiograph())
    assert Path(home.load(key).instances[0].path).read_bytes()


def test_the_orders_of_a_study_are_named_once_each(home: Home) -> None:
    """Of many slices with the same order; of a request that holds two; not of images that name none."""
    key = home.receive(radiograph("pa", AccessionNumber="A1"))
    patient = home.load(key).instances[0].facts.patient_id.reveal()
    home.receive(radiograph("again", AccessionNumber="A1"))
    first, second = Dataset(), Dataset()
    first.AccessionNumber, second.AccessionNumber = "B2", "C 3"
    home.receive(radiograph("lateral", AccessionNumber="", RequestAttributesSequence=[first, second]))
    home.receive(radiograph("no order", AccessionNumber=""))
    with reading(home.database) as connection:
        named = step.orders_named(connection, key)
    assert [number for number, _, _ in named] == ["A1", "B2", "C 3"]
    assert {who for _, who, _ in named} == {patient}


def test_a_clock_that_was_set_back_makes_no_study_wait_until_it_has_caught_up(home: Home) -> None:
    """What arrived "in the future" waits its quiet time from now on; a deadline beyond the longest wait is brought forward."""
    home.now = 100_000.0
    key = home.receive(radiograph())
    quiet = home.story(key)["deadline_utc"] - home.now
    home.now -= 3600

    def mend() -> int:
        with home.database.begin() as connection:
            return step.clock_was_set_back(connection, home.now, 900.0)

    assert mend() == 1
    assert home.story(key)["deadline_utc"] == pytest.approx(home.now + quiet)
    assert mend() == 0
    with home.database.begin() as connection:
        step.put_off(connection, key, home.now + 2 * quiet, 1800.0, "Put off.")
    assert mend() == 1
    assert home.story(key)["deadline_utc"] == pytest.approx(home.now + 900.0)
    home.now += 900
    assert home.due() == [key]


def test_a_hold_that_comes_while_a_study_is_being_started_stands(home: Home) -> None:
    """Ready, then the hospital merges the patient, then the runs are to be requested: they are not."""
    key = home.receive(radiograph())
    home.now += 100
    assert home.settle(key) is Settlement.READY
    with home.database.begin() as connection:
        row = repository.locked_study(connection, key)
        assert row is not None
        hold_for_correction(connection, row, "patient_merged", "Merged.")
    with home.database.begin() as connection:
        assert step.mark_routed(connection, key, home.now) is False
    assert home.settle(key) is Settlement.HELD
    story = home.story(key)
    assert (story["state"], story["hold_reason"], home.due()) == ("held", "patient_merged", [])
