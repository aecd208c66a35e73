"""Which image of a study is read: decided by headers alone, one reason for each image that is not."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.core.run import Selection
from dicom_node.core.study import HeaderFacts, Instance, Study
from pipelines.blocks.select_cxr import CR, DX_FOR_PRESENTATION, DX_FOR_PROCESSING, companion_word, select_frontal

GOOD: dict[str, Any] = {
    "modality": "DX", "body_part": "CHEST", "view_position": "PA", "has_pixel_data": True, "rows": 2000, "columns": 2000,
    "photometric": "MONOCHROME2", "samples_per_pixel": 1, "acquisition_datetime": "20261120101500.000000",
    "image_type": ("DERIVED", "PRIMARY"),
}  # fmt: skip


def image(uid: str, sop_class: str = DX_FOR_PRESENTATION, **facts: Any) -> Instance:
    return Instance(sop_class, uid, "1.1", "1", "1.2.840.10008.1.2.1", "0" * 64, "/nowhere", HeaderFacts(**{**GOOD, **facts}))


def select(*instances: Instance, accept_ap: bool = False) -> Selection:
    return select_frontal(Study("st_x", "1", instances), accept_ap=accept_ap, least=256, most=10_000)


def read(selection: Selection) -> list[str]:
    return [i.sop_instance_uid for i in selection.read]


def reasons(selection: Selection) -> dict[str, str]:
    return {n.sop_instance_uid: n.reason for n in selection.not_read}


def test_derived_primary_is_normal_for_radiographs() -> None:
    assert read(select(image("1.2"))) == ["1.2"]


def test_for_presentation_beats_for_processing_and_processing_alone_is_refused() -> None:
    raw = image("1.3", DX_FOR_PROCESSING, presentation_intent="FOR PROCESSING")
    both = select(image("1.2", source_instances=("1.3",)), raw)
    assert read(both) == ["1.2"]
    assert reasons(both) == {"1.3": "for_processing"}
    assert select(raw).refusal == "unsupported_object"


@pytest.mark.parametrize(
    "mark",
    [
        {"irradiation_event_uid": "1.9"},
        {"acquisition_datetime": "20261120101545.000000", "station_name": "R1"},
        {"source_instances": ("1.7",)},
    ],
)
def test_two_images_of_one_exposure_count_once(mark: dict[str, Any]) -> None:
    other = {} if "acquisition_datetime" in mark else {"acquisition_datetime": "20261120101600.000000"}
    chosen = select(image("1.2", **mark, content_datetime="2"), image("1.3", **{**other, **mark}, content_datetime="1"))
    assert read(chosen) == ["1.3"]  # the first that was made: a copy that comes later changes nothing
    assert reasons(chosen) == {"1.2": "same_exposure"}


def test_an_acquisition_without_a_time_joins_nothing() -> None:
    midnight = {"acquisition_datetime": "20261120000000.000000"}
    assert set(reasons(select(image("1.2", **midnight), image("1.3", **midnight))).values()) == {"older_repeat"}


def test_of_several_repeats_the_newest_is_read_and_pa_goes_before_ap() -> None:
    old, new = image("1.2"), image("1.3", acquisition_datetime="20261120111500.000000")
    bedside = image("1.4", view_position="AP", acquisition_datetime="20261120121500.000000")
    chosen = select(old, new, bedside, accept_ap=True)
    assert read(chosen) == ["1.3"]
    assert reasons(chosen) == {"1.2": "older_repeat", "1.4": "older_repeat"}
    assert reasons(select(old, new, bedside))["1.4"] == "ap_view"


def test_an_image_that_names_itself_as_its_source_is_read() -> None:
    assert read(select(image("1.2", source_instances=("1.2",)))) == ["1.2"]


@pytest.mark.parametrize(
    ("facts", "companion"),
    [
        ({"series_description": "Bone Suppressed"}, True),
        ({"series_description": "Chest PA - Dual Energy soft tissue"}, True),
        ({"series_description": "inverted"}, True),
        ({"derivation_description": "Annotated by reader"}, True),
        ({"image_type": ("DERIVED", "PRIMARY", "", "BONE_SUPPRESSION")}, True),
        ({"image_type": ("DERIVED", "SECONDARY")}, True),
        ({"series_description": "Tube visualization"}, True),
        ({"series_description": "Tuberculosis screening PA"}, False),
        ({"series_description": "Thorax p.a."}, False),
        ({"image_type": ("ORIGINAL", "PRIMARY", "")}, False),
    ],
)
def test_companions_are_known_by_their_words_and_screening_for_tuberculosis_is_none(facts: dict[str, Any], companion: bool) -> None:
    assert bool(companion_word(image("1.2", **facts))) is companion


@pytest.mark.parametrize(
    ("instances", "refusal"),
    [
        ((), "no_image"),
        ((image("1.2", "1.2.840.10008.5.1.4.1.1.88.33", has_pixel_data=False, modality="SR"),), "no_image"),
        ((image("1.2", "1.2.840.10008.5.1.4.1.1.7"),), "unsupported_object"),
        ((image("1.2", "1.2.840.10008.5.1.4.1.1.2", modality="CT"),), "unsupported_object"),
        ((image("1.2", has_pixel_data=False),), "unreadable_pixels"),
        ((image("1.2", view_position="LL"), image("1.3", body_part="HIP")), "not_frontal"),
        ((image("1.2", view_position="LL"), image("1.3", view_position="AP")), "ap_view"),
        ((image("1.2", series_description="bone suppressed"), image("1.3", view_position="LL")), "derived_image"),
        ((image("1.2", rows=100, columns=100),), "matrix_size"),
        ((image("1.2", samples_per_pixel=3, photometric="RGB"),), "not_grayscale"),
        ((image("1.2", frames=12),), "multi_frame"),
        ((image("1.2", quality_control_image="YES"),), "phantom"),
    ],
)
def test_a_study_without_a_usable_image_gets_the_reason_of_the_closest_one(instances: tuple[Instance, ...], refusal: str) -> None:
    selection = select(*instances)
    assert (selection.read, selection.refusal) == ((), refusal)
    assert set(reasons(selection)) == {i.sop_instance_uid for i in instances}


def test_without_view_or_body_part_every_image_is_a_candidate_the_likeliest_first() -> None:
    lateral = image("1.2", view_position="", series_description="Lat", acquisition_datetime="20261120131500.000000")
    frontal = image("1.3", CR, modality="CR", view_position="", series_description="Thorax")
    assert read(select(lateral, frontal)) == ["1.3", "1.2"]


def test_a_stated_frontal_chest_leaves_unstated_images_unread() -> None:
    chosen = select(image("1.2"), image("1.3", view_position="", acquisition_datetime="20261120131500.000000"))
    assert read(chosen) == ["1.2"]
    assert reasons(chosen) == {"1.3": "not_needed"}


def test_our_own_results_are_no_candidates() -> None:
    assert reasons(select(image("1.2"), image("1.3", made_by_this_node=True))) == {}


def test_an_object_of_another_kind_is_named_in_the_words_of_the_standard() -> None:
    """A CT says CT Image; a private class says that the standard does not list it."""
    ct = select(image("1.2", "1.2.840.10008.5.1.4.1.1.2", modality="CT"))
    assert (ct.refusal, ct.detail) == ("unsupported_object", "CT Image")
    own = select(image("1.2", "1.3.6.1.4.1.9"))
    assert own.detail == "Object of a kind that the standard does not list, modality DX"
