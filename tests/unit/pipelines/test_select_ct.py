"""Which CT series is read, and what becomes of bad input: by headers, and through to the volume."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.core.abstentions import REASONS
from dicom_node.core.errors import StudyError
from dicom_node.core.phi import Phi
from dicom_node.core.study import Instance, Study
from dicom_node.imaging.slice_header import ENHANCED_CT
from dicom_node.imaging.volume import hounsfield_volume
from pipelines.blocks.ct_stack import has_contrast, is_lung_kernel
from pipelines.blocks.select_ct import FLAG_TEXTS, SeriesLimits, header_flags, select_series, why_chosen
from tests.factories import ct_series as ct
from tests.factories.header_studies import CT_IMAGE, DOSE_SR, instance, study

LIMITS = SeriesLimits(most_pixel_mm=10)


def scan(series: int = 1, *, count: int = 250, spacing: float = 1.25, **facts: Any) -> list[Instance]:
    """Return a thin lung series of an adult's chest, headers only; the first slice is sent last."""
    made = []
    for n in range(count):
        header = {
            "series_number": str(series),
            "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
            "modality": "CT",
            "view_position": "",
            "rows": 512,
            "columns": 512,
            "pixel_spacing_mm": (0.7, 0.7),
            "image_orientation": ct.AXIAL,
            "image_position_mm": (-180.0, -180.0, n * spacing),  # every slice its own, unless told otherwise
            "frame_of_reference_uid": "1.2.9",
            "slice_thickness_mm": spacing,
            "kernel": ("B60f",),
            "manufacturer": "SIEMENS",
            "contrast_agent": "NONE",
            "series_description": "Thorax",
            "acquisition_datetime": "20240301120000.000000",
            "instance_number": str(count - n),
            **facts,
        }
        one = instance(series * 10_000 + n, CT_IMAGE, **header)
        made.append(dataclasses.replace(one, series_instance_uid=f"1.2.3.{series}"))
    return made[::-1]


def read_series(*groups: list[Instance]) -> str:
    chosen = select_series(study(*(one for group in groups for one in group)))
    assert chosen.read
    assert len({one.series_instance_uid for one in chosen.read}) == 1
    left = {n.sop_instance_uid for n in chosen.not_read}
    assert left | {one.sop_instance_uid for one in chosen.read} == {one.sop_instance_uid for group in groups for one in group}
    assert all(n.reason in REASONS for n in chosen.not_read)
    return chosen.read[0].facts.series_number


def test_slices_are_read_from_feet_to_head_whatever_their_numbers_say() -> None:
    chosen = select_series(study(*scan()))
    heights = [one.facts.image_position_mm[2] for one in chosen.read]
    assert heights == sorted(heights)
    assert len(heights) == 250
    assert not chosen.not_read
    assert why_chosen(chosen.read) == "Series 1: axial, 1.2 mm slices, lung kernel B60f, without contrast agent, 31 cm."
    assert header_flags(chosen.read, SeriesLimits()) == ()


BETTER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "thin before thick": ({}, {"count": 60, "spacing": 5.0}),
    "5 mm before 7 mm": ({"count": 62, "spacing": 5.0}, {"count": 45, "spacing": 7.0}),
    "lung kernel before soft": ({}, {"kernel": ("B30f",)}),
    "lung kernel of 3 mm before soft of 1 mm": ({"count": 100, "spacing": 3.0}, {"kernel": ("B30f",), "spacing": 1.0}),
    "without contrast agent before with": ({}, {"contrast_agent": "Ultravist"}),
    "whole before interpolated": ({}, {"gap": True}),
    "larger coverage": ({}, {"count": 200}),
    "the newest": ({"acquisition_datetime": "20240301120500.000000"}, {}),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", BETTER)
def test_the_better_series_is_read(case: str, turned: bool) -> None:
    better, worse = BETTER[case]
    good, poor = (8, 3) if turned else (3, 8)
    gap = dict(worse).pop("gap", False)
    others = scan(poor, **{k: v for k, v in worse.items() if k != "gap"})
    others = [one for one in others if one.facts.instance_number != "77"] if gap else others
    assert read_series(scan(good, **better), others) == str(good)
    assert read_series(others, scan(good, **better)) == str(good)


OUT: dict[str, tuple[str, dict[str, Any]]] = {
    "a localizer": ("localizer", {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER"), "image_orientation": ct.CORONAL, "count": 2}),
    "a topogram by name": ("localizer", {"series_description": "Topogram 0.6", "count": 1}),
    "a scout that is called chest CT": (
        "not_axial",
        {"image_orientation": ct.CORONAL, "count": 1, "series_description": "Chest CT"},
    ),
    "coronal slices": ("not_axial", {"image_orientation": ct.CORONAL}),
    "oblique slices": ("not_axial", {"image_orientation": ct.tilted(12), "along": ct.tilted(12)}),
    "a coronal reformat by name": ("reformatted", {"series_description": "Lung COR 2mm"}),
    "a MIP by Image Type": ("reformatted", {"image_type": ("DERIVED", "SECONDARY", "AXIAL", "MIP")}),
    "an MPR by Image Type": ("reformatted", {"image_type": ("DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MPR")}),
    "derived": ("derived_image", {"image_type": ("DERIVED", "PRIMARY", "AXIAL")}),
    "secondary": ("derived_image", {"image_type": ("ORIGINAL", "SECONDARY", "AXIAL")}),
    "colour": ("derived_image", {"samples_per_pixel": 3, "photometric": "RGB"}),
    "8 bits": ("not_hounsfield", {"bits_stored": 8}),
    "another modality": ("unsupported_object", {"modality": "PT"}),
    "no pixels": ("unreadable_pixels", {"has_pixel_data": False}),
    "a head": ("not_chest", {"body_part": "HEAD", "series_description": "Routine"}),
    "10 mm": ("thick_slices", {"count": 30, "spacing": 10.0}),
    "a short stack": ("short_coverage", {"count": 100}),
    "one slice": ("too_few_slices", {"count": 1}),
    "two slices": ("too_few_slices", {"count": 2}),
    "a huge matrix": ("matrix_size", {"rows": 4096, "columns": 4096}),
    "facts of an older node": ("mixed_geometry", {"image_orientation": ()}),
    "positions beyond every scanner": ("mixed_geometry", {"image_position_mm": (1e300, -1e300, 1e308)}),
    "directions that are none": ("mixed_geometry", {"image_orientation": (1e200,) * 6}),
    "a pixel spacing of nothing": ("short_coverage", {"pixel_spacing_mm": (0.0, 0.0), "count": 20}),
    "two unlike stacks at one place": ("duplicate_slices", {"twice": True}),
}


def refused(case: str) -> tuple[str, list[Instance]]:
    code, changes = OUT[case]
    facts = {k: v for k, v in changes.items() if k not in ("along", "twice")}
    images = scan(5, **facts)
    if "along" in changes:  # positions go along the normal, as a reformat's do
        normal = np.cross(changes["along"][:3], changes["along"][3:])
        images = [
            dataclasses.replace(i, facts=dataclasses.replace(i.facts, image_position_mm=tuple(normal * n * 1.25)))
            for n, i in enumerate(images)
        ]
    if changes.get("twice"):
        images += [dataclasses.replace(one, sop_instance_uid=f"{one.sop_instance_uid}.2") for one in images]
    return code, images


@pytest.mark.parametrize("case", OUT)
def test_what_is_no_chest_series_is_left_with_a_reason(case: str) -> None:
    code, images = refused(case)
    alone = select_series(study(*images))
    assert (alone.read, alone.refusal) == ((), code)
    beside = select_series(study(*scan(1), *images))
    assert {one.facts.series_number for one in beside.read} == {"1"}
    assert {n.reason for n in beside.not_read} == {code}
    assert len(beside.not_read) == len(images)
    assert all(n.detail for n in beside.not_read)


def test_reports_and_our_own_objects_are_no_series() -> None:
    dose = instance(7, DOSE_SR, modality="SR", has_pixel_data=False)
    ours = instance(8, "1.2.840.10008.5.1.4.1.1.7", made_by_this_node=True)
    chosen = select_series(study(*scan(), dose, ours))
    assert [(n.reason, n.sop_instance_uid) for n in chosen.not_read] == [("unsupported_object", dose.sop_instance_uid)]
    assert select_series(study(dose)).refusal == "no_image"


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"birth_date": Phi("20100101")}, "too_young"),
        ({"birth_date": Phi(""), "patient_age": "007Y"}, "too_young"),
        ({"birth_date": Phi("")}, "age_unknown"),
    ],
)
def test_only_adults_are_read(facts: dict[str, Any], code: str) -> None:
    chosen = select_series(study(*scan(**facts)))
    assert (chosen.read, chosen.refusal, len(chosen.not_read)) == ((), code, 250)


def test_an_unknown_age_is_read_where_it_is_allowed_and_told() -> None:
    limits = SeriesLimits(accept_age_unknown=True)
    chosen = select_series(study(*scan(birth_date=Phi(""))), limits)
    assert [gate.code for gate in header_flags(chosen.read, limits)] == ["age_unknown"]


@pytest.mark.parametrize(
    ("facts", "flag"),
    [
        ({"contrast_agent": "OMNIPAQUE 350"}, "contrast_agent"),
        ({"contrast_agent": "", "series_description": "Thorax KM"}, "contrast_agent"),
        ({"contrast_agent": ""}, ""),
        ({"kernel": ("B30f",)}, "no_lung_kernel"),
        ({"kernel": ()}, "no_lung_kernel"),
        ({"count": 50, "spacing": 6.0}, "thick_slices"),
        ({"pixel_spacing_mm": (2.0, 2.0)}, "odd_pixel_spacing"),
        ({"body_part": ""}, "part_not_stated"),
        ({"body_part": "ABDOMEN", "series_description": "Chest-Abdomen"}, "part_not_stated"),
        ({"modality": ""}, ""),
        ({"image_type": ("DERIVED", "PRIMARY", "AXIAL"), "lossy": "01"}, ""),  # the volume flags the loss
        ({"body_part": "CHESTABDPELVIS"}, ""),
    ],
)
def test_what_a_reader_must_know_is_flagged(facts: dict[str, Any], flag: str) -> None:
    chosen = select_series(study(*scan(**facts)))
    codes = [gate.code for gate in header_flags(chosen.read, SeriesLimits())]
    assert codes == ([flag] if flag else [])
    assert set(codes) <= set(FLAG_TEXTS)


def test_two_scans_in_one_series_are_told_apart() -> None:
    again = [
        dataclasses.replace(
            one, sop_instance_uid=f"{one.sop_instance_uid}.2", facts=dataclasses.replace(one.facts, acquisition_number="2")
        )
        for one in scan()
    ]
    chosen = select_series(study(*scan(acquisition_number="1"), *again))
    assert len(chosen.read) == 250
    assert {n.reason for n in chosen.not_read} == {"other_series"}


def test_a_tilted_gantry_is_read_and_told() -> None:
    chosen = select_series(study(*scan(image_orientation=ct.tilted(15), gantry_tilt_degrees=15.0)))
    assert len(chosen.read) == 250
    assert [gate.code for gate in header_flags(chosen.read, SeriesLimits())] == ["gantry_tilt"]


@pytest.mark.parametrize(
    ("maker", "kernel", "lung"),
    [
        ("SIEMENS", ("B70f",), True),
        ("SIEMENS", ("Bl57d", "3"), True),
        ("Siemens Healthineers", ("Br40d", "3"), False),
        ("SIEMENS", ("B30f",), False),
        ("GE MEDICAL SYSTEMS", ("LUNG",), True),
        ("GE MEDICAL SYSTEMS", ("BONEPLUS",), True),
        ("GE MEDICAL SYSTEMS", ("STANDARD",), False),
        ("Philips", ("L",), True),
        ("Philips", ("YC",), True),
        ("Philips", ("B",), False),
        ("TOSHIBA", ("FC51",), True),
        ("CANON", ("FC13-H",), False),
        ("Somebody", ("Lung sharp",), True),
        ("Somebody", ("B60f",), True),
        ("Somebody", ("L",), False),
        ("SIEMENS", (), None),
    ],
)
def test_lung_kernels_by_maker(maker: str, kernel: tuple[str, ...], lung: bool | None) -> None:
    assert is_lung_kernel(maker, kernel) is lung


SOFT: dict[str, Any] = {"kernel": ("B30f",)}


@pytest.mark.parametrize(
    ("marked", "read"),
    [
        ({**SOFT}, "1.2.3.1"),  # mapped by position: a lung kernel is what models were made with
        ({**SOFT, "count": 63, "spacing": 5.0}, "1.2.3.1"),
        ({"count": 63, "spacing": 5.0}, "1.2.3.2"),  # thick, with a lung kernel: the very slices that were marked
        ({**SOFT, "frame_of_reference_uid": "1.2.8"}, "1.2.3.2"),
        ({**SOFT, "acquisition_number": "2"}, "1.2.3.2"),
        ({**SOFT, "irradiation_event_uid": "1.5"}, "1.2.3.1"),
    ],
)
def test_marks_choose_the_series_that_shows_them(marked: dict[str, Any], read: str) -> None:
    """Itself marked, or by position where it is of the same scan; with a lung kernel rather than without."""
    other = scan(2, **{"acquisition_number": "1", **marked})
    images = (*scan(1, acquisition_number="1"), *other)
    marks = ((other[20].sop_instance_uid, None),)
    for turned in (images, images[::-1]):
        chosen = select_series(study(*turned), marks=marks)
        assert {one.series_instance_uid for one in chosen.read} == {read}
        assert chosen.marked == marks


def test_a_series_that_does_not_reach_the_mark_is_not_preferred() -> None:
    """The marked place lies above the last slice of the better series."""
    low, high = scan(1), scan(2, count=300, **SOFT)
    marks = ((high[0].sop_instance_uid, None),)  # the last slice first
    assert {one.series_instance_uid for one in select_series(study(*low, *high), marks=marks).read} == {"1.2.3.2"}
    marks = ((high[-1].sop_instance_uid, None),)
    assert {one.series_instance_uid for one in select_series(study(*low, *high), marks=marks).read} == {"1.2.3.1"}


def test_without_marks_the_choice_is_by_quality_alone() -> None:
    """A thin series without a lung kernel comes before a thick one with it."""
    chosen = select_series(study(*scan(1, **SOFT), *scan(2, count=63, spacing=5.0)))
    assert {one.series_instance_uid for one in chosen.read} == {"1.2.3.1"}


def test_contrast_agent_is_what_the_header_says() -> None:
    facts = scan(count=1)[0].facts

    def said(agent: str, description: str) -> bool | None:
        return has_contrast(dataclasses.replace(facts, contrast_agent=agent, series_description=description))

    assert said("APPLIED", "") is True
    assert said("no contrast", "CTA") is False
    assert said("", "CHEST WITHOUT CONTRAST") is False
    assert said("", "PE ANGIO 1.0") is True
    assert said("", "Lung") is None


# the whole way, with files: headers choose, pixels are read, every outcome is a code or a flag


def with_value(keyword: str, value: Any, only: int | None = None) -> ct.Change:
    def change(n: int, ds: Dataset) -> Dataset:
        if only in (None, n):
            setattr(ds, keyword, value)
        return ds

    return change


def without(keyword: str) -> ct.Change:
    def change(n: int, ds: Dataset) -> Dataset:
        del ds[keyword]
        return ds

    return change


def cut_off(n: int, ds: Dataset) -> Dataset:
    if n == 20:
        ds["PixelData"].value = ds.PixelData[:1000]
    return ds


def eight_bits(n: int, ds: Dataset) -> Dataset:
    ct.set_pixels(ds, (np.frombuffer(ds.PixelData, np.uint16) // 8).astype(np.uint8).reshape(ct.SIZE, ct.SIZE))
    return ds


def at_height(height: Callable[[int], float]) -> ct.Change:
    def change(n: int, ds: Dataset) -> Dataset:
        ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], height(n)]
        return ds

    return change


BAD: dict[str, tuple[str, ct.Change]] = {
    "one slice": ("refused too_few_slices", lambda n, ds: ds if n == 3 else None),
    "two slices": ("refused too_few_slices", lambda n, ds: ds if n in (3, 4) else None),
    "duplicate positions": ("refused duplicate_slices", at_height(lambda n: 5.0 * (n if n != 20 else 19))),
    "a gap": ("flag interpolated_slices", lambda n, ds: ds if n != 20 else None),
    "a long gap": ("refused incomplete_series", lambda n, ds: ds if n not in (20, 21, 22) else None),
    "a coronal slice among the axial": ("left not_axial", with_value("ImageOrientationPatient", list(ct.CORONAL), only=39)),
    "Modality missing": ("read", without("Modality")),
    "spacing not uniform": ("refused uneven_spacing", at_height(lambda n: 5.0 * n + 1.5 * max(0, n - 19))),
    "8 bits": ("refused not_hounsfield", eight_bits),
    "contrast agent": ("flag contrast_agent", with_value("ContrastBolusAgent", "Ultravist 370")),
    "a coronal reformat": ("refused reformatted", with_value("SeriesDescription", "Thorax coronal 3.0")),
    "a scout tagged as chest CT": ("refused localizer", with_value("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])),
    "a head": ("refused not_chest", lambda n, ds: renamed(ds, "HEAD", "Routine 5.0")),
    "one slice cut off": ("refused unreadable_pixels", cut_off),
    "a child": ("refused too_young", with_value("PatientBirthDate", "20150101")),
    "no rescale": ("refused not_hounsfield", without("RescaleIntercept")),
}


def renamed(ds: Dataset, part: str, description: str) -> Dataset:
    ds.BodyPartExamined, ds.SeriesDescription = part, description
    return ds


def outcome(of: Study) -> set[str]:
    selection = select_series(of, LIMITS)
    left = {f"left {n.reason}" for n in selection.not_read}
    if not selection.read:
        assert REASONS[selection.refusal].text
        return {f"refused {selection.refusal}"}
    try:
        volume = hounsfield_volume(selection.read)
    except StudyError as error:
        return {f"refused {REASONS[error.code].key}"}
    flags = {*volume.flags, *(gate.code for gate in header_flags(selection.read, LIMITS))}
    assert flags <= set(FLAG_TEXTS)
    return {"read"} | left | {f"flag {flag}" for flag in flags}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_a_code_or_a_flag(tmp_path: Path, case: str) -> None:
    expected, change = BAD[case]
    assert expected in outcome(ct.study_of(ct.series(tmp_path, at=ct.positions(40), change=change)))


def test_tilt_is_flagged_and_read(tmp_path: Path) -> None:
    tilt = ct.tilted(12)
    found = outcome(ct.study_of(ct.series(tmp_path, orientation=tilt, at=ct.positions(40, 5, tilt))))
    assert "flag gantry_tilt" in found


def test_an_enhanced_object_is_chosen_like_a_series(tmp_path: Path) -> None:
    slices = [ct.ct_slice(n + 1, ct.AXIAL, p) for n, p in enumerate(ct.positions(40))]
    of = ct.study_of([ct.written(ct.multi_frame(slices, ENHANCED_CT), tmp_path)])
    assert outcome(of) == {"read"}
    assert why_chosen(of.instances) == "Series 2: axial, 5.0 mm slices, lung kernel B60f, contrast agent not stated, 20 cm."
